"""A remote HSM: a SoftHSM behind p11-kit's server, reached over a socket by p11-kit's client module."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tokens.device import Device, Server, find_library
from tokens.softhsm import SoftHsm

PACKAGES = "p11-kit p11-kit-modules softhsm2"


def find_p11kit() -> Path | None:
    """p11-kit's client module on this machine, or None; the server must be there too."""
    if shutil.which("p11-kit") is None:
        return None
    return find_library("pkcs11/p11-kit-client.so")


@dataclass
class RemoteHsm(Device):
    """The device with its server, which a test may end and start again."""

    directory: Path = Path()
    hsm: SoftHsm | None = None

    def start_server(self) -> Server:
        """Start the server in the place of one that has ended."""
        assert self.hsm is not None
        path = self.directory / "socket"
        path.unlink(missing_ok=True)  # one that was killed leaves it
        self.servers = [
            Server(
                [
                    *("p11-kit", "server", "--foreground", "--name", str(path)),
                    *("--provider", str(self.hsm.module), f"pkcs11:token={quote(self.token)}"),
                ],
                self.directory / "log",
                path.is_socket,
                {"SOFTHSM2_CONF": str(self.hsm.conf)},
            )
        ]
        return self.servers[0]


def make_p11kit(directory: Path, module: Path, hsm: SoftHsm) -> RemoteHsm:
    """A server for the main token of ``hsm``, and a device that reaches it."""
    device = RemoteHsm(
        "p11-kit client and server",
        module,
        hsm.token,
        {"ec": "ec", "rsa": "rsa"},
        pin=hsm.pin,
        environment={"P11_KIT_SERVER_ADDRESS": f"unix:path={directory / 'socket'}"},
        public={kind: key.public_key() for kind, key in hsm.keys.items()},
        directory=directory,
        hsm=hsm,
    )
    device.start_server()
    return device
