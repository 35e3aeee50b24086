"""Read files whose paths come from outside: certificates, keys, modules, tables, pictures.

Only regular files are read, and never more of one than is asked for: a pipe without a writer would
be waited for, and a device never ends.

>>> from pathlib import Path
>>> open_regular(Path("/"))
Traceback (most recent call last):
...
ValueError: a directory
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ["open_regular", "read_bounded", "read_secret_file"]

_log: Final = logging.getLogger(__name__)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises: OSError when it can't be opened; ValueError that says what it is instead.
    """
    if str(path) in ("", "."):
        raise ValueError("no file name")  # an unset variable, most often
    # Not blocking: a pipe without a writer must be refused, not waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise ValueError("a directory" if stat.S_ISDIR(mode) else "not a regular file")


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """What a regular file holds, at most ``max_bytes`` and one more, which tells of a longer one.

    Raises: OSError when it can't be read; ValueError that says what it is instead.
    """
    with open_regular(path) as file:
        return file.read(max_bytes + 1)


def read_secret_file(path: Path, what: str, max_bytes: int) -> bytes:
    """Read a file that holds a secret; warn when others may read it too.

    Raises: OSError when it can't be read; ValueError when it isn't a regular file, or larger.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            _log.warning("%s %r may be read by others: chmod 600 it", what, str(path))
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        del data  # no traceback may show it
        raise ValueError(f"larger than {max_bytes} bytes")
    return data
