"""openCryptoki's software token, for RSA: release 3.8 has no EC.

Its folders are fixed (/etc/opencryptoki, /var/lib/opencryptoki, /run, /dev/shm), and so are the keys of
its shared memory. So its daemon runs in namespaces of its own (unshare(1)), with folders of the tests
in their places, and what uses the token enters them (nsenter(1)); nothing of the machine's is changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from tokens.device import Device, Server, find_library

PACKAGES = "opencryptoki"
PIN = "47114711"
SO_PIN = "88228822"
"""Eight characters at most."""
_FIRST_SO_PIN = "87654321"
"""What each new token of openCryptoki has."""

_ENTER = 'for f in etc/opencryptoki var/lib/opencryptoki run dev/shm; do mount --bind "$0/$f" "/$f"; done; exec "$@"'


def find_opencryptoki() -> Path | None:
    """openCryptoki's module, or None; its daemon must be there, and namespaces be allowed."""
    tools = ("pkcsslotd", "pkcsconf", "unshare", "nsenter")
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    if any(shutil.which(tool, path=path) is None for tool in tools) or not _may_unshare():
        return None
    return find_library("opencryptoki/libopencryptoki.so.0", "libopencryptoki.so.0")


@cache
def _may_unshare() -> bool:
    return subprocess.run(["unshare", "-m", "-i", "true"], capture_output=True).returncode == 0


def make_opencryptoki(directory: Path, module: Path) -> Device:
    """A token of its own with the key rsa, and the daemon that it needs."""
    etc, lib, run = (
        directory / name for name in ("etc/opencryptoki", "var/lib/opencryptoki", "run")
    )
    for folder in (etc, lib / "swtok" / "TOK_OBJ", run / "lock" / "opencryptoki" / "swtok"):
        folder.mkdir(parents=True)
    (directory / "dev" / "shm").mkdir(parents=True)
    (etc / "opencryptoki.conf").write_text(
        "version opencryptoki-3.1\nslot 3\n{\nstdll = libpkcs11_sw.so\n}\n"
    )
    for folder in (lib, run / "lock"):
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, group="pkcs11")
            path.chmod(0o770)
    environment = {"PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
    command = ["unshare", "-m", "-i", "sh", "-ec", _ENTER, str(directory), "pkcsslotd", "-f"]
    ready = (run / "pkcsslotd.socket").is_socket
    daemon = Server(command, directory / "log", ready, environment)
    device = Device(
        "openCryptoki's software token",
        module,
        "vaxpass ock",
        {"rsa": "rsa"},
        pin=PIN,
        # Into the daemon's namespaces.
        wrapper=("nsenter", "-t", str(daemon.pid), "-m", "-i", "--"),
        environment=environment,
        servers=[daemon],
    )
    try:
        _fill(device)
    except BaseException:
        device.close()
        raise
    return device


def _fill(device: Device) -> None:
    first_pin = "11112222"
    device.run("pkcsconf", "-c", "3", "-I", text=f"{_FIRST_SO_PIN}\n{device.token}\n")
    device.run("pkcsconf", "-c", "3", "-P", "-S", _FIRST_SO_PIN, "-n", SO_PIN)
    device.run("pkcsconf", "-c", "3", "-u", "-S", SO_PIN, "-n", first_pin)
    device.run("pkcsconf", "-c", "3", "-p", "-U", first_pin, "-n", device.pin)
    made = device.probe(do="new-key", uri=device.uri("rsa"), kind="rsa")
    assert "checked" in made, made
