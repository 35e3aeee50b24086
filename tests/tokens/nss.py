"""NSS softokn, the token in Firefox: a second implementation, which wants a string at C_Initialize.

The database is made by NSS's certutil, the keys by the library itself (``new_key``).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tokens.device import Device, find_library

PACKAGES = "libnss3 libnss3-tools"


def find_nss() -> Path | None:
    """The softokn module on this machine, or None; certutil must be there too."""
    if shutil.which("certutil") is None:
        return None
    return find_library("libsoftokn3.so", "nss/libsoftokn3.so")


def make_nss(directory: Path, module: Path) -> Device:
    """A fresh database below ``directory`` with the keys ec and rsa."""
    database = directory / "database"
    database.mkdir()
    device = Device(
        "NSS softokn",
        module,
        "NSS Certificate DB",
        {"ec": "ec", "rsa": "rsa"},
        reserved=f"configdir='sql:{database}' certPrefix='' keyPrefix='' secmod='secmod.db' flags= ",
    )
    pin = directory / "pin"
    pin.touch(0o600)
    pin.write_text(device.pin + "\n")
    device.run("certutil", "-N", "-d", f"sql:{database}", "-f", str(pin))
    pin.unlink()
    for kind, label in device.keys.items():
        made = device.probe(do="new-key", uri=device.uri(label), kind=kind)
        assert "checked" in made, made
    return device
