"""A SoftHSM installation of its own for the tests, with tokens and keys made by its own tool.

The keys are made by cryptography and imported by softhsm2-util, so that the tests know them from
somewhere else than the code under test. Every PIN here is a test's.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

MODULES = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/pkcs11/libsofthsm2.so"),
    Path("/usr/local/lib/softhsm/libsofthsm2.so"),
)
PIN = "vaxpass-pin-4711"
SO_PIN = "vaxpass-so-8822"

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def find_softhsm() -> Path | None:
    """SoftHSM's module on this machine, or None."""
    return next((module for module in MODULES if module.is_file()), None)


@dataclass
class SoftHsm:
    """One SoftHSM token directory; ``token`` is the label of its main token.

    The main token holds ``ec`` (P-256, id a1) and ``rsa`` (2048 bits, id a2); ``keys`` has the
    same private keys, so that signatures can be checked without the token.
    """

    directory: Path
    module: Path
    token: str = "vaxpass test"
    pin: str = PIN
    so_pin: str = SO_PIN
    keys: dict[str, PrivateKey] = field(default_factory=dict)

    @property
    def conf(self) -> Path:
        return self.directory / "softhsm2.conf"

    def uri(self, label: str | None = None, **attributes: str) -> str:
        """A URI of the main token with this module; ``label`` is the key's."""
        path = {"token": self.token, **({} if label is None else {"object": label}), **attributes}
        pairs = (f"{name.replace('_', '-')}={quote(value)}" for name, value in path.items())
        return f"pkcs11:{';'.join(pairs)}?module-path={quote(str(self.module))}"

    def add_token(self, label: str) -> None:
        """Initialise one more token, with the same PINs."""
        self._util(
            "--init-token", "--free", "--label", label, "--pin", self.pin, "--so-pin", self.so_pin
        )

    def import_key(
        self, key: PrivateKey, label: str, id_hex: str, token: str | None = None
    ) -> None:
        """Put a private key and its public half on a token."""
        pem = self.directory / "import.pem"
        pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        where = ("--token", token or self.token, "--pin", self.pin)
        # --force lets several keys bear the same id, which some tests want.
        self._util("--import", str(pem), *where, "--label", label, "--id", id_hex, "--force")
        pem.unlink()

    def _util(self, *arguments: str) -> None:
        done = subprocess.run(
            ["softhsm2-util", *arguments],
            env={**os.environ, "SOFTHSM2_CONF": str(self.conf)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"softhsm2-util {arguments[0]}: {done.stdout}{done.stderr}"


def make_softhsm(directory: Path, module: Path) -> SoftHsm:
    """A fresh installation below ``directory``, with its main token and the keys ec and rsa."""
    hsm = SoftHsm(directory, module)
    (directory / "tokens").mkdir(parents=True)
    hsm.conf.write_text(
        f"directories.tokendir = {directory / 'tokens'}\n"
        "objectstore.backend = file\n"
        "log.level = ERROR\n"
        "slots.removable = false\n"
    )
    hsm.add_token(hsm.token)
    hsm.keys["ec"] = ec.generate_private_key(ec.SECP256R1())
    hsm.keys["rsa"] = rsa.generate_private_key(65537, 2048)
    hsm.import_key(hsm.keys["ec"], "ec", "a1")
    hsm.import_key(hsm.keys["rsa"], "rsa", "a2")
    return hsm
