"""The database engine that cleaning works with, and the folder of its intermediate files.

DuckDB runs inside this process with bounded memory: what doesn't fit goes to files in the work
folder. It never fetches an extension. Its messages may quote rows, so no error repeats one.

Importing this module needs the extra ``batch`` and raises MissingExtraError without it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vaxpass_sign.errors import InputError, MissingExtraError
from vaxpass_sign.prepare.schemas import pa

try:
    import duckdb
except ImportError as error:
    raise MissingExtraError("cleaning dose tables", "batch") from error

__all__ = ["MEMORY_MB", "WorkFolder", "blaming", "connect", "open_private"]

MEMORY_MB = 192
"""What the engine may use; the process needs about as much again for Python and pyarrow."""

_THREADS = 1
"""Each thread holds memory of its own: a join that one does in 48 MB, two can't do in 64. What is
done here is bound by Python anyway."""


class WorkFolder:
    """A folder of our own for intermediate files; what it holds is gone when it is closed.

    One that a killed run left behind is emptied first. A folder has one user at a time.
    """

    def __init__(self, path: Path) -> None:
        """Make the folder. Raises: InputError when it can't be made."""
        self.path = path
        try:
            if path.exists():
                shutil.rmtree(path)
            path.mkdir(mode=0o700)
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(
                f"{path} can't be made: {error.strerror}; choose another place or make room"
            ) from error

    def __enter__(self) -> WorkFolder:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
        shutil.rmtree(self.path, ignore_errors=True)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def sql(self, name: str) -> str:
        """The path of a file in it as SQL may hold it, whatever the folder's own name is.

        DuckDB takes *, ? and [ in a path for a pattern and refuses names that are no UTF-8; by the
        open folder's number there are none of these.
        """
        return f"/proc/self/fd/{self._descriptor}/{name}"


def connect(work: WorkFolder) -> Any:
    """A DuckDB connection to an empty database in memory; the caller's to close.

    Use it in one thread, while the work folder is open.
    """
    engine = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{MEMORY_MB}MB",
            "threads": _THREADS,
            "temp_directory": work.sql("spill"),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
        },
    )
    # The same files are read slice by slice.
    engine.execute("SET parquet_metadata_cache = true")
    return engine


@contextmanager
def blaming(what: str, else_do: str) -> Iterator[None]:
    """Makes every error of the engine, and of its streams, an InputError of one line.

    ``what`` failed; ``else_do`` is what to do when it was neither memory nor the disk.
    """
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise InputError(
            f"{what}: found more than fits {MEMORY_MB} MB of memory and the free space of the "
            "disk; make room, or clean fewer tables at once"
        ) from None
    except duckdb.IOException:
        raise InputError(
            f"{what}: a file could not be read or written; look whether the disk is full"
        ) from None
    except (duckdb.Error, pa.ArrowException) as error:
        raise InputError(f"{what} ({type(error).__name__}); {else_do}") from None


def open_private(path: Path) -> Any:
    """A new binary file with mode 0600, in the place of one that a stopped run left there."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o600), "wb")
