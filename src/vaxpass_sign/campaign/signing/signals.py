"""Words between a run and its workers, in a small file that all of them map into memory.

The coordinator can ask everybody to stop; each worker counts what it has signed, so that progress
shows before a part is committed. A file and not the standard library's events, so that it needs
nothing but a path, and nothing is left behind by a process that is killed.

Each cell has one writer and is 8 bytes, aligned; a reader sees the old or the new number.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     path = Path(folder) / "signals"
...     ours, theirs = Signals.create(path, workers=2), Signals(path)
...     theirs.count(1, 40); theirs.count(1, 2); ours.stop()
...     ours.signed(), theirs.stopped
(42, True)
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

from vaxpass_sign.durable import cannot_write

__all__ = ["Signals"]

_CELL = struct.Struct("=Q")
_FLAGS = 2


class Signals:
    """The mapped file: a stop flag, a stall flag, then a counter for each worker."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._cells = mmap.mmap(file.fileno(), 0)

    @classmethod
    def create(cls, path: Path, workers: int) -> Signals:
        """Make the file for so many workers. Raises: InputError when it can't be written."""
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(bytes(_CELL.size * (workers + _FLAGS)))
        except OSError as error:
            raise cannot_write(path, error) from error
        return cls(path)

    def close(self) -> None:
        """Give the file up."""
        self._cells.close()

    def stop(self) -> None:
        """Ask every worker to finish what it has signed and to come back."""
        _CELL.pack_into(self._cells, 0, 1)

    @property
    def stopped(self) -> bool:
        """Whether they were asked."""
        return self._cells[0] != 0

    def stall(self, *, stalled: bool) -> None:
        """A worker's call into its module does not return, and it ends itself; or that is seen."""
        _CELL.pack_into(self._cells, _CELL.size, stalled)

    @property
    def stalled(self) -> bool:
        """Whether a worker has ended itself for that."""
        return self._cells[_CELL.size] != 0

    def count(self, worker: int, signed: int) -> None:
        """Worker ``worker`` (from 0) has signed so many more."""
        at = _CELL.size * (worker + _FLAGS)
        [before] = _CELL.unpack_from(self._cells, at)
        _CELL.pack_into(self._cells, at, before + signed)

    def signed(self) -> int:
        """What all workers have signed, whether it was committed or not."""
        cells: tuple[int, ...] = struct.unpack_from(
            f"={len(self._cells) // _CELL.size - _FLAGS}Q", self._cells, _CELL.size * _FLAGS
        )
        return sum(cells)
