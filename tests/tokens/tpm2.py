"""A TPM 2.0 in software (swtpm) behind tpm2-pkcs11; token and keys are made through the module."""

from __future__ import annotations

import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from tokens.device import Device, Server, find_library, free_port
from tokens.softhsm import SO_PIN

PACKAGES = "swtpm libtpm2-pkcs11-1 libtss2-tcti-swtpm0 opensc"


def find_tpm2() -> Path | None:
    """tpm2-pkcs11's module on this machine, or None; swtpm and pkcs11-tool must be there too."""
    if shutil.which("swtpm") is None or shutil.which("pkcs11-tool") is None:
        return None
    if find_library("libtss2-tcti-swtpm.so.0") is None:
        return None
    return find_library("libtpm2_pkcs11.so.1", "pkcs11/libtpm2_pkcs11.so")


@dataclass
class Tpm(Device):
    """The device with its TPM, which a test may end and start again."""

    directory: Path = Path()
    port: int = 0

    def start_tpm(self) -> Server:
        """Start the TPM with the state that one before it left."""
        command = "swtpm socket --tpm2 --flags not-need-init,startup-clear"
        command += f" --tpmstate dir={self.directory / 'state'}"
        # It takes one connection at a time, so whether it listens is asked of the other port.
        control = self.port + 1
        for option, port in (("--server", self.port), ("--ctrl", control)):
            command += f" {option} type=tcp,port={port},bindaddr=127.0.0.1"
        self.servers = [Server(command.split(), self.directory / "log", lambda: _listens(control))]
        return self.servers[0]


def make_tpm2(directory: Path, module: Path) -> Tpm:
    """A TPM of its own at two ports of the loopback interface, with the keys ec and rsa."""
    port = free_port(2)
    for name in ("state", "store"):
        (directory / name).mkdir()
    device = Tpm(
        "tpm2-pkcs11 with swtpm",
        module,
        "vaxpass tpm",
        {"ec": "ec", "rsa": "rsa"},
        environment={
            "TPM2_PKCS11_TCTI": f"swtpm:host=127.0.0.1,port={port}",
            "TPM2_PKCS11_BACKEND": "esysdb",
            "TPM2_PKCS11_STORE": str(directory / "store"),
            "TPM2_PKCS11_LOG_LEVEL": "0",
            "TSS2_LOG": "all+NONE",
        },
        directory=directory,
        port=port,
    )
    device.start_tpm()
    try:
        _fill(device)
    except BaseException:
        device.close()
        raise
    return device


def _fill(device: Device) -> None:
    tool = ("pkcs11-tool", "--module", str(device.module))
    on_token = (*tool, "--token-label", device.token, "--login")
    # A process for each step: the TPM has room for three objects, and the module keeps some of
    # them for as long as its process lives.
    device.run(
        *tool, "--init-token", "--slot-index", "0", "--label", device.token, "--so-pin", SO_PIN
    )
    so = ("--login-type", "so", "--so-pin", SO_PIN)
    device.run(*on_token, *so, "--init-pin", "--new-pin", device.pin)
    for number, (kind, label) in enumerate(device.keys.items(), start=1):
        what = "EC:prime256v1" if kind == "ec" else "rsa:2048"
        make = ("--keypairgen", "--key-type", what, "--label", label, "--id", f"0{number}")
        device.run(*on_token, "--pin", device.pin, *make, "--usage-sign")


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
