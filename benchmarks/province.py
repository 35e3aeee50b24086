"""A province to measure with: a SoftHSM token, a dose table of any size, a cleaned campaign.

Also the yardsticks, each in fresh processes of its own, and the memory of a tree of processes.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from pyarrow import parquet

from bare_loop import BareKey
from sign import Token, make_token
from vaxpass_sign.campaign import Campaign
from vaxpass_sign.sample import each_dose_row

__all__ = [
    "BareLoops",
    "Province",
    "bare_signing",
    "bare_verifying",
    "compiled_once",
    "most_memory",
]

_SETTINGS = """\
time_zone = "Asia/Ho_Chi_Minh"

[issuer]
country = "VN"
name = "Bộ Y tế"

[credential]
validity_days = 365

[key]
uri = "{uri}"
dsc = "../dsc.der"

[secret]
file = "../secret"
"""
_CHUNK = 50_000


@dataclass
class Province:
    """A folder with a token, a dose table and a campaign that was cleaned and not signed."""

    folder: Path
    people: int
    token: Token
    clean_seconds: float = 0.0

    @classmethod
    def make(cls, folder: Path, people: int, say: Callable[[str], None]) -> Province:
        """Make it all; the table is Parquet."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "token").mkdir()
        province = cls(folder, people, make_token(folder / "token"))
        (folder / "dsc.der").write_bytes(province.token.dscs["ec"])
        for name, data in (("secret", secrets.token_bytes(32)), ("pin", None)):
            path = folder / name
            path.touch(mode=0o600)
            path.write_bytes(data or province.token.pin.encode())
        say(f"making up {people:,} people …")
        table = folder / "doses.parquet"
        _write_doses(table, people)
        say("cleaning …")
        province._new_campaign(folder / "cleaned")
        report = Campaign(folder / "cleaned").clean([table])
        province.clean_seconds = report.seconds
        table.unlink()
        return province

    @property
    def uri(self) -> str:
        """The key's URI, with the PIN's file."""
        return f"{self.token.uri('ec')}&pin-source={self.folder / 'pin'}"

    def fresh(self, name: str = "round") -> Campaign:
        """A copy of the cleaned campaign, nothing signed; the one before it is removed."""
        root = self.folder / name
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.folder / "cleaned", root)
        # The copy's own writing to the disk shall not slow down what is measured.
        os.sync()
        return Campaign(root)

    def bare_key(self) -> tuple[str, str, str]:
        """What a bare loop needs: the module, the PIN, the key's label."""
        return self.token.module, self.token.pin, "ec"

    def _new_campaign(self, root: Path) -> None:
        root.mkdir()
        (root / "campaign.toml").write_text(_SETTINGS.format(uri=self.uri), encoding="utf-8")


def _write_doses(path: Path, people: int) -> None:
    rows = each_dose_row(people)
    with parquet.ParquetWriter(path, pa.Table.from_pylist([next(each_dose_row(1))]).schema) as file:
        while chunk := list(islice(rows, _CHUNK)):
            file.write_table(pa.Table.from_pylist(chunk))


# --- the yardsticks ------------------------------------------------------------------------


def bare_signing(module: str, pin: str, label: str) -> Callable[[int], None]:
    """C_SignInit + C_Sign and nothing else."""
    return BareKey(module, pin, label, 0).sign


def bare_verifying() -> Callable[[int], None]:
    """cryptography's own verify of one ready-made signature, and nothing else."""
    key, message, ecdsa = ec.generate_private_key(ec.SECP256R1()), bytes(300), ec.ECDSA(SHA256())
    signature = key.sign(message, ecdsa)
    verify = key.public_key().verify

    def loop(count: int) -> None:
        for _ in range(count):
            verify(signature, message, ecdsa)

    return loop


def _serve(pipe: Connection, make: Callable[..., Callable[[int], None]], arguments: Any) -> None:
    loop = make(*arguments)
    pipe.send(None)
    while True:
        try:
            count = pipe.recv()
        except EOFError:
            return
        loop(count)
        pipe.send(None)


class BareLoops:
    """So many fresh processes that loop; they stay, and start each round together."""

    def __init__(
        self, processes: int, make: Callable[..., Callable[[int], None]], *arguments: Any
    ) -> None:
        self._pipes: list[Connection] = []
        self._processes = []
        context = multiprocessing.get_context("spawn")
        for _ in range(processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, make, arguments))
            process.start()
            theirs.close()
            ours.recv()  # ready: SoftHSM's token is opened by one process after the other
            self._pipes.append(ours)
            self._processes.append(process)

    def seconds(self, count: int) -> float:
        """How long they take for ``count`` in all."""
        share = count // len(self._pipes)
        began = time.perf_counter()
        for pipe in self._pipes:
            pipe.send(share)
        for pipe in self._pipes:
            pipe.recv()
        return (time.perf_counter() - began) * count / (share * len(self._pipes))

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join()

    def __enter__(self) -> BareLoops:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# --- memory --------------------------------------------------------------------------------


def most_memory(*arguments: str) -> float:
    """The most PSS that ``vaxpass-sign`` with its children had while it ran, in MB.

    PSS counts a page that several processes share once, split among them. It is sampled ten times a
    second.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "vaxpass_sign", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    most = 0.0
    while process.poll() is None:
        most = max(most, sum(map(_pss_mb, _tree(process.pid))))
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"vaxpass-sign {arguments[0]} ended with {process.returncode}")
    return most


def compiled_once(folder: Path) -> None:
    """Let every process from now on keep compiled modules in ``folder``.

    An installed package has its modules compiled; here they may be compiled anew in each process.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")


def _tree(root: int) -> list[int]:
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                waiting += map(int, task.read_text().split())
            except OSError:
                continue
    return found


def _pss_mb(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    [line] = [line for line in text.splitlines() if line.startswith("Pss:")]
    return int(line.split()[1]) / 1024
