"""The only place that writes files which others rely on.

A file is written whole or not at all, and once :func:`write_file` returns it survives a power
cut: temporary file beside the target, fsync, rename, fsync of the directory. If we stop before the
rename, the old file (or none) is there, and the temporary file is litter that nobody reads and that
the next writer of the same target takes over; if we stop after it, the new file is whole. A target
has one writer at a time. New files have mode 0600 and new directories 0700, because they hold
personal data; what replaces a file has that one's mode, which an administrator may have opened.

>>> import tempfile
>>> from pathlib import Path
>>> with tempfile.TemporaryDirectory() as folder:
...     write_file(Path(folder) / "a.txt", b"whole")
...     (Path(folder) / "a.txt").read_bytes()
b'whole'
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vaxpass_sign.errors import InputError

__all__ = [
    "cannot_write",
    "in_turn",
    "make_directory",
    "replace_file",
    "sync_directory",
    "write_file",
]


def make_directory(path: Path) -> None:
    """Make a directory (and its parents) with mode 0700; one that exists is left as it is.

    Raises: InputError when it can't be made.
    """
    try:
        # mkdir(parents=True) would give the parents the default mode.
        for missing in reversed([p for p in (path, *path.parents) if not p.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)  # another process may be making it
            # A file in it survives a power cut only when the directory's own entry does.
            sync_directory(missing.parent)
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{path} can't be made a directory: {error.strerror}; choose another place"
        ) from error


def write_file(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole and durable, replacing what was there.

    Raises: InputError when the place can't be written (read-only, full, missing folder), or another
    program is writing it.
    """
    with replace_file(path) as temporary:
        try:
            temporary.write_bytes(data)
        except OSError as error:
            raise cannot_write(path, error) from error


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes ``path`` when the block ends well.

    For writers that want a path (Parquet, pictures). When the block raises, the temporary file
    is removed and ``path`` is untouched.

    Raises: InputError when the place can't be written or another program is writing it; what the
    block raises goes through as it is.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        descriptor = _open_alone(temporary)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        try:
            yield temporary
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        try:
            _take_mode(descriptor, path)
            os.fsync(descriptor)
            temporary.replace(path)
            # The rename itself is only durable once the directory is.
            sync_directory(path.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise cannot_write(path, error) from error
    finally:
        os.close(descriptor)


def _take_mode(descriptor: int, path: Path) -> None:
    """Give a file the permissions of the regular file that it will replace, if there is one."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISREG(mode):
        os.fchmod(descriptor, mode & 0o777)


def cannot_write(path: Path, error: OSError) -> InputError:
    """The error for a file that can't be written."""
    return InputError(
        f"{path} can't be written: {error.strerror or type(error).__name__}; "
        "choose another place or make room"
    )


def _open_alone(temporary: Path) -> int:
    """Open an empty temporary file that no other process writes; the lock goes with the descriptor.

    A file that a killed process left is taken over: its lock went with that process.
    """
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(temporary, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between our open and our lock another writer may have renamed this very file to its
            # target; then we hold the finished file and must not touch it.
            if _is_still(temporary, descriptor):
                os.ftruncate(descriptor, 0)
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise OSError(errno.EBUSY, "another program is writing it") from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made when it is missing: one process after the other.

    Raises: OSError when it can't be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Make the entries of a directory (what was made, renamed or removed in it) durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
