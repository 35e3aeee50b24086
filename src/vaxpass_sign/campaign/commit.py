"""The commit protocol: how files become a part of a campaign, and what happens if we stop anywhere.

1. **staged**: the files are written to staging/, whole, and synced to the disk. If we stop here or
   before, they are litter: no row names them, nobody has seen them, and the next run removes them.
2. **committed**: one row of the ledger names them with their hashes. This is the commit point: what
   is before it never happened, and what is after it is finished by whoever comes next.
3. **published**: each file is renamed from staging/ into its folder. If we stop in the middle, the
   next run does the rest.

Normal work and recovery publish by the same function, and it may be called again at any time:
:func:`publish` moves what is still in staging/, passes over what has arrived, and names what is in
neither place. ECDSA draws a new random number for each signature, so the part of a try that was
not committed is a different file from the one that will be; it is never published.

A file's bytes are checked against its row by an audit, and before anything is made from it; a
rename does not read it again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from vaxpass_sign.campaign.layout import Layout
from vaxpass_sign.campaign.ledger import Ledger, Row
from vaxpass_sign.durable import cannot_write, make_directory, sync_directory
from vaxpass_sign.errors import LedgerError

__all__ = [
    "HashedFile",
    "StagedFile",
    "commit",
    "file_sha256",
    "files_of",
    "make_run_folder",
    "publish",
    "recover",
    "step",
]


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file in staging/ that is to be committed."""

    name: str
    """What it will be: clean/… , rejected/… or signed/… ."""
    staged: str
    """Where it is in staging/. Each run has a folder of its own there: a worker that outlived its
    killed run can't write into a file of the next one."""
    sha256: str
    """64 hexadecimal digits."""
    bytes: int
    rows: int


def step(name: str) -> None:
    """A named place of the protocol. Does nothing: tests kill the process there.

    ``staged``, ``synced``, ``committed``, ``renamed`` (each file) and ``published``, in this order;
    workers pass ``signing`` and ``written`` before.
    """


def commit(
    layout: Layout, ledger: Ledger, kind: str, body: Mapping[str, Any], files: Sequence[StagedFile]
) -> Row:
    """Commit staged files by one row of the ledger, and publish them.

    Raises: InputError when the disk is full or can't be written; then nothing of this row counts.
    """
    step("staged")
    _sync(layout, files)
    step("synced")
    row = ledger.append(kind, {**body, "files": [asdict(file) for file in files]})
    step("committed")
    publish(layout, [row])
    step("published")
    return row


def publish(layout: Layout, rows: Iterable[Row], purged: Container[str] = ()) -> None:
    """Move every file that these rows commit from staging/ to its folder, unless it is there.

    ``purged``: files that were deleted on purpose and are not asked for.

    Raises: LedgerError when a file is in neither place; InputError when one can't be moved.
    """
    folders: set[Path] = set()
    for row in rows:
        for file in row.body.get("files", ()):
            name, target = file["name"], layout.of(file["name"])
            try:
                # A file that has arrived is never replaced, whatever lies in staging/.
                if name in purged or target.exists():
                    continue
                (layout.staging / file["staged"]).rename(target)
            except FileNotFoundError:
                raise LedgerError(
                    f"{target} is missing: ledger row {row.number} commits it; restore it from its "
                    "backup (the same file, its hash is in the ledger)"
                ) from None
            except OSError as error:
                raise cannot_write(target, error) from error
            step("renamed")
            folders.add(target.parent)
    for folder in folders:
        # Their old names in staging/ may come back after a power cut; the next run removes them.
        try:
            sync_directory(folder)
        except OSError as error:
            raise cannot_write(folder, error) from error


def recover(layout: Layout, ledger: Ledger, purged: Collection[str] = ()) -> None:
    """Bring a campaign to the state that its ledger says, whatever was stopped where.

    Raises: LedgerError when a committed file is missing, or one is there that no row commits: the
    ledger is then an older copy, and going on would issue credentials twice.
    """
    committed = {name for row in ledger.rows for name in files_of(row)}
    strangers = [name for name in layout.committed_names() if name not in committed]
    if strangers:
        raise LedgerError(
            f"{layout.of(strangers[0])} is there and the ledger does not know it"
            f"{f' ({len(strangers)} such files)' if len(strangers) > 1 else ''}: is this an older "
            "copy of the ledger? Restore the newest one; nothing is signed until then"
        )
    publish(layout, ledger.rows, purged)
    try:
        # A purge that was stopped is finished here.
        for name in purged:
            layout.of(name).unlink(missing_ok=True)
        for litter in layout.staging.iterdir():
            _remove(litter)
    except OSError as error:
        raise cannot_write(layout.root, error) from error


def files_of(row: Row) -> list[str]:
    """The names of the files that a row commits."""
    return [file["name"] for file in row.body.get("files", ())]


def make_run_folder(layout: Layout) -> Path:
    """A new folder in staging/ for one run.

    Raises: InputError when it can't be made.
    """
    folder = layout.staging / f"run-{os.urandom(8).hex()}"
    make_directory(folder)
    return folder


def file_sha256(path: Path) -> tuple[str, int]:
    """The hash (64 hexadecimal digits) and the length in bytes of a file.

    Raises: OSError.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return digest.hexdigest(), file.tell()


class HashedFile:
    """A new file that is hashed while it is written; for writers that take a file object."""

    def __init__(self, path: Path) -> None:
        """Make it with mode 0600; what a stopped run left under this name is replaced."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = cast("BinaryIO", os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0))
        self._digest = hashlib.sha256()
        self.bytes = 0
        self.closed = False

    def write(self, data: bytes) -> int:
        """Write all of ``data``."""
        view = memoryview(data)
        self._digest.update(view)
        while view:
            written = self._file.write(view)
            view = view[written:]
        self.bytes += len(data)
        return len(data)

    def tell(self) -> int:
        """Where the next byte goes."""
        return self.bytes

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self.closed = True

    @property
    def sha256(self) -> str:
        """The hash of what was written, 64 hexadecimal digits."""
        return self._digest.hexdigest()


def _sync(layout: Layout, files: Sequence[StagedFile]) -> None:
    for file in files:
        path = layout.staging / file.staged
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise cannot_write(path, error) from error
    for folder in {(layout.staging / file.staged).parent for file in files} | {layout.staging}:
        try:
            sync_directory(folder)
        except OSError as error:
            raise cannot_write(folder, error) from error


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for inner in path.iterdir():
            _remove(inner)
        path.rmdir()
    else:
        path.unlink()
