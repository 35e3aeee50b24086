"""The six independent modules: each device is made when it is first asked for, and ended together.

``MODULES`` says what is missing when one can't be made, by its Debian packages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tokens.device import Device
from tokens.nss import PACKAGES as NSS_PACKAGES
from tokens.nss import find_nss, make_nss
from tokens.opencryptoki import PACKAGES as OPENCRYPTOKI_PACKAGES
from tokens.opencryptoki import find_opencryptoki, make_opencryptoki
from tokens.p11kit import PACKAGES as P11KIT_PACKAGES
from tokens.p11kit import find_p11kit, make_p11kit
from tokens.piv import PACKAGES as PIV_PACKAGES
from tokens.piv import find_piv, make_piv
from tokens.softhsm import SoftHsm, find_softhsm, make_softhsm
from tokens.tpm2 import PACKAGES as TPM2_PACKAGES
from tokens.tpm2 import find_tpm2, make_tpm2


class Missing(Exception):  # noqa: N818 (what is missing is no error)
    """A module is not on this machine; the text says what to install."""


@dataclass(frozen=True)
class Kind:
    """How a device of one module is found and made."""

    find: Callable[[], Path | None]
    make: Callable[[Path, Path], Device]
    packages: str


def make_soft(directory: Path, module: Path, mechanisms: str = "ALL") -> Device:
    """A SoftHSM with its keys; ``mechanisms`` as in softhsm2.conf(5)."""
    hsm = make_softhsm(directory, module)
    return _device_of(hsm, mechanisms)


def _device_of(hsm: SoftHsm, mechanisms: str) -> Device:
    conf = hsm.conf.read_text()
    hsm.conf.write_text(f"{conf}slots.mechanisms = {mechanisms}\n")
    return Device(
        "SoftHSM",
        hsm.module,
        hsm.token,
        {"ec": "ec", "rsa": "rsa"},
        pin=hsm.pin,
        environment={"SOFTHSM2_CONF": str(hsm.conf)},
        public={kind: key.public_key() for kind, key in hsm.keys.items()},
    )


def _find_remote() -> Path | None:
    return find_p11kit() if find_softhsm() else None


def make_remote(directory: Path, module: Path) -> Device:
    """A SoftHSM of its own behind p11-kit's server."""
    softhsm = find_softhsm()
    assert softhsm is not None
    return make_p11kit(directory, module, make_softhsm(directory / "hsm", softhsm))


MODULES = {
    "softhsm": Kind(find_softhsm, make_soft, "softhsm2"),
    "nss": Kind(find_nss, make_nss, NSS_PACKAGES),
    "p11kit": Kind(_find_remote, make_remote, P11KIT_PACKAGES),
    "piv": Kind(find_piv, make_piv, PIV_PACKAGES),
    "tpm2": Kind(find_tpm2, make_tpm2, TPM2_PACKAGES),
    "opencryptoki": Kind(find_opencryptoki, make_opencryptoki, OPENCRYPTOKI_PACKAGES),
}


@dataclass
class Devices:
    """The devices below one directory."""

    directory: Path
    _made: dict[str, Device] = field(default_factory=dict)

    def get(self, name: str) -> Device:
        """The device of that name, the same each time. Raises: Missing."""
        if name not in self._made:
            self._made[name] = self.make(name, name)
        return self._made[name]

    def make(self, name: str, folder: str) -> Device:
        """A new one in a folder of its own; the caller closes it. Raises: Missing."""
        kind = MODULES[name]
        module = kind.find()
        if module is None:
            raise Missing(f"{name}'s module (Debian, as root: apt-get install {kind.packages})")
        directory = self.directory / folder
        directory.mkdir()
        return kind.make(directory, module)

    def close(self) -> None:
        """End what was started."""
        for device in self._made.values():
            device.close()
        self._made.clear()
