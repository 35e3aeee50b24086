"""The only place that writes files which others rely on.

A file is written whole or not at all, and once :func:`write_file` returns it survives a power
cut: temp file beside the target, fsync, rename, fsync of the directory. If we stop before the
rename, the old file (or none) is there and the temp file is litter that nobody reads; if we stop
after it, the new file is whole. New files have mode 0600 and new directories 0700, because they
hold personal data.

>>> import tempfile
>>> from pathlib import Path
>>> with tempfile.TemporaryDirectory() as folder:
...     write_file(Path(folder) / "a.txt", b"whole")
...     (Path(folder) / "a.txt").read_bytes()
b'whole'
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vaxpass_sign.errors import InputError

__all__ = ["make_directory", "replace_file", "write_file"]


def make_directory(path: Path) -> None:
    """Make a directory (and its parents) with mode 0700; one that exists is left as it is.

    Raises: InputError when it can't be made.
    """
    try:
        # mkdir(parents=True) would give the parents the default mode.
        for missing in reversed([p for p in (path, *path.parents) if not p.exists()]):
            missing.mkdir(mode=0o700)
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{path} can't be made a directory: {error.strerror}; choose another place"
        ) from error


def write_file(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole and durable, replacing what was there.

    Raises: InputError when the place can't be written (read-only, full, missing folder).
    """
    with replace_file(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes ``path`` when the block ends well.

    For writers that want a path (Parquet, pictures). When the block raises, the temporary file
    is removed and ``path`` is untouched.

    Raises: InputError when the place can't be written.
    """
    try:
        # mkstemp opens with O_EXCL and mode 0600, so nobody can have prepared the name for us.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            _fsync(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        # The rename itself is only durable once the directory is.
        _fsync(path.parent)
    except OSError as error:
        raise InputError(
            f"{path} can't be written: {error.strerror or type(error).__name__}; "
            "choose another place or make room"
        ) from error


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
