"""A slow smart card: OpenSC, pcscd and vsmartcard's vpcd reader before the PIV card of piv_card.py.

Everything is this device's own: pcscd's socket and reader, OpenSC's settings, and the card, which
listens at two ports of the loopback interface.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tokens import piv_card
from tokens.device import Device, Server, find_library, free_port

PACKAGES = "opensc opensc-pkcs11 pcscd vsmartcard-vpcd"
DRIVER = Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
PCSCD = Path("/usr/sbin/pcscd")
DELAY_S = 0.1

# A listening socket is handed to pcscd as systemd does it (sd_listen_fds(3)), so that it serves
# this one and not the machine's. LISTEN_PID must be the process's own.
START = """
import os, sys
os.environ["LISTEN_PID"] = str(os.getpid())
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.execv(sys.argv[2], sys.argv[2:])
"""


def find_piv() -> Path | None:
    """OpenSC's module on this machine, or None; pcscd and vpcd must be there too."""
    if not (DRIVER.is_file() and PCSCD.is_file() and os.geteuid() == 0):
        return None  # pcscd keeps its files in /run/pcscd, which is root's
    return find_library("opensc-pkcs11.so", "pkcs11/opensc-pkcs11.so")


@dataclass
class SmartCard(Device):
    """The device with its reader, which a test may take away and bring back."""

    directory: Path = Path()

    def start_reader(self) -> Server:
        """Start pcscd, in the place of one that has ended.

        vpcd 3.3 aborts now and then when the card lets its connection go at that very moment.
        """
        for _ in range(4):
            try:
                return self._start_reader()
            except AssertionError:
                time.sleep(0.3)
        return self._start_reader()

    def _start_reader(self) -> Server:
        path = self.directory / "pcscd.comm"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            listening.listen(16)
            number = listening.fileno()
            command = [
                str(PCSCD),
                "--foreground",
                "--info",
                "--config",
                str(self.directory / "readers"),
            ]
            log = self.directory / "pcscd.log"
            log.unlink(missing_ok=True)
            reader = Server(
                [sys.executable, "-c", START, str(number), *command],
                log,
                lambda: b"Card ATR" in log.read_bytes(),
                {"LISTEN_FDS": "1"},
                pass_fds=[number],
            )
        self.servers = [*self.servers[:1], reader]
        return reader


def make_piv(directory: Path, module: Path) -> SmartCard:
    """A card in a reader; its keys are of the card's own making."""
    port = free_port(2)
    (directory / "readers").mkdir()
    (directory / "readers" / "vpcd").write_text(
        'FRIENDLYNAME "Virtual PCD"\n'
        f"DEVICENAME 127.0.0.1:{port:#x}\n"
        f"LIBPATH {DRIVER}\n"
        f"CHANNELID {port:#x}\n"
    )
    (directory / "opensc.conf").write_text(
        'app default { card_drivers = PIV-II; ignored_readers = "Virtual PCD 00 01"; }\n'
    )
    device = SmartCard(
        "OpenSC with a PIV card",
        module,
        "PIV 9A",
        {"ec": "PIV AUTH key", "rsa": "KEY MAN key", "PIN always": "SIGN key"},
        pin=piv_card.PIN,
        environment={
            "OPENSC_CONF": str(directory / "opensc.conf"),
            "PCSCLITE_CSOCK_NAME": str(directory / "pcscd.comm"),
        },
        directory=directory,
    )
    card = [sys.executable, piv_card.__file__, str(directory), str(port), str(DELAY_S)]
    ready = directory / "ready"
    device.servers.append(Server(card, directory / "card.log", ready.exists))
    try:
        device.start_reader()
    except BaseException:
        device.close()
        raise
    for kind, slot in (("ec", "9a"), ("rsa", "9d"), ("PIN always", "9c")):
        device.public[kind] = load_pem_public_key((directory / f"{slot}.pem").read_bytes())
    return device
