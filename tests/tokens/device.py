"""A PKCS#11 token that the tests made, whichever module it is behind, and the servers it needs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tokens.softhsm import PIN

PROBE = Path(__file__).with_name("probe.py")
LIBRARIES = ("/usr/lib/*-linux-gnu*", "/usr/lib64", "/usr/lib", "/usr/local/lib")

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


def find_library(*names: str) -> Path | None:
    """The first of these files below the folders for libraries, or None."""
    for pattern in LIBRARIES:
        for folder in sorted(Path("/").glob(pattern.lstrip("/"))):
            for name in names:
                if (folder / name).is_file():
                    return folder / name
    return None


def free_port(count: int = 1) -> int:
    """The first of ``count`` ports in a row that nobody listens at on the loopback interface."""
    for _ in range(100):
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = first.getsockname()[1]
        try:
            for number in range(port, port + count):
                socket.create_server(("127.0.0.1", number)).close()
        except OSError:
            continue
        return port
    raise AssertionError("no free ports were found on the loopback interface")


class Server:
    """A process that a token needs; it and the children that it starts are one group."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        is_ready: Callable[[], bool],
        environment: dict[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
                pass_fds=pass_fds,
            )
        give_up_at = time.monotonic() + 15
        while not is_ready():
            if self._process.poll() is not None or time.monotonic() > give_up_at:
                self.stop()
                raise AssertionError(f"{command[0]} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        """The process's id, which is its group's too."""
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and its children."""
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End it as a power cut does."""
        self.signal(signal.SIGKILL)
        self._process.wait(10)

    def stop(self) -> None:
        """End it, politely first."""
        for number in (signal.SIGCONT, signal.SIGTERM, signal.SIGKILL):
            try:
                self.signal(number)
            except ProcessLookupError:
                break
            if number == signal.SIGTERM:
                try:
                    self._process.wait(3)
                except subprocess.TimeoutExpired:
                    continue
        self._process.wait(10)


@dataclass
class Device:
    """One token with its module; ``keys`` names its key of each kind, ``ec`` and ``rsa``.

    A kind that the token can't have is left out. ``public`` has the public halves as far as they
    are known from elsewhere than the module.
    """

    name: str
    module: Path
    token: str
    keys: dict[str, str]
    pin: str = PIN
    reserved: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    public: dict[str, PublicKey] = field(default_factory=dict)
    servers: list[Server] = field(default_factory=list)
    wrapper: tuple[str, ...] = ()
    """What a command that uses the token is put behind."""

    def uri(self, label: str | None = None) -> str:
        """The URI of the token, or of a key on it."""
        path = f"token={quote(self.token)}" + (f";object={quote(label)}" if label else "")
        reserved = f"&x-init-reserved={quote(self.reserved)}" if self.reserved else ""
        return f"pkcs11:{path}?module-path={quote(str(self.module))}{reserved}"

    def start(self, **job: Any) -> subprocess.Popen[str]:
        """Begin a job in a process of its own: modules disturb one another in one process."""
        given = {"uri": self.uri(), "pin": self.pin, **job}
        process = subprocess.Popen(
            [*self.wrapper, sys.executable, str(PROBE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.environment},
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(given) + "\n")
        process.stdin.flush()
        return process

    def probe(self, **job: Any) -> dict[str, Any]:
        """What a job found; see probe.py for the jobs."""
        return finished(self.start(**job))

    def run(self, *command: str, text: str = "") -> None:
        """Run a tool on the token. Raises: AssertionError with what it printed."""
        done = subprocess.run(
            [*self.wrapper, *command],
            input=text,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"

    def close(self) -> None:
        """End the servers, the last one first."""
        while self.servers:
            self.servers.pop().stop()


def finished(process: subprocess.Popen[str], timeout_s: float = 60) -> dict[str, Any]:
    """What a job that was started found."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found
