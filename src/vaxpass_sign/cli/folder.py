"""A folder as an input: which of its files are read, and in which order.

>>> sorted(["10.png", "2.png", "a.pdf", "2a.png"], key=natural)
['2.png', '2a.png', '10.png', 'a.pdf']
"""

from __future__ import annotations

import errno
import os
import re
import stat
from io import BufferedReader
from pathlib import Path
from typing import Final

from vaxpass_sign.errors import InputError

__all__ = ["MAX_FILES", "files_of", "natural", "open_in_folder"]

MAX_FILES: Final = 100_000
"""Files of a folder that are read."""


def files_of(folder: Path) -> list[Path]:
    """What is in a folder but hidden files and subfolders, in the :func:`natural` order of names.

    Raises: OSError; InputError when there is nothing, or more than MAX_FILES.
    """
    names: list[str] = []
    subfolders = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                subfolders += 1
            elif len(names) < MAX_FILES:
                names.append(entry.name)
            else:
                raise InputError(
                    f"{folder}: found more than {MAX_FILES:,} files, expected fewer; divide them "
                    "among folders"
                )
    if not names:
        beside = f" but {subfolders} subfolders, which are not looked into" if subfolders else ""
        raise InputError(
            f"{folder}: found no file{beside}, expected pictures, PDFs or files with one payload a "
            "line; give the folder that they are in"
        )
    return [folder / name for name in sorted(names, key=natural)]


def natural(name: str) -> tuple[list[str | int], str]:
    """A sort key by which 2.png comes before 10.png."""
    # Every second part is a number, so that like is compared with like.
    parts = enumerate(re.split(r"([0-9]+)", name))
    return [int(part) if index % 2 else part for index, part in parts], name


def open_in_folder(path: Path) -> BufferedReader:
    """Open a regular file of a folder for reading.

    Symbolic links are not followed: who may put files into a folder, such as one for uploads, does
    not thereby decide which other files are read with the rights of whoever reads the folder.

    Raises: OSError; InputError when it is a link or no regular file.
    """
    try:
        # Not blocking: a pipe without a writer must be refused, not waited for.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise InputError(
            f"{path} is a symbolic link; those of a folder are not followed: give the file that "
            "it leads to"
        ) from error
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise InputError(f"{path} is a pipe or device, expected a file: give it by itself")
