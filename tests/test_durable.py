"""Files are written whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vaxpass_sign.durable import make_directory, replace_file, write_file
from vaxpass_sign.errors import InputError


def test_write_and_replace(tmp_path: Path) -> None:
    """A file is written with mode 0600, and replaced whole; nothing else is left in the folder."""
    path = tmp_path / "a"
    write_file(path, b"one")
    write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    """When writing fails the old file stays, and no temporary one."""
    path = tmp_path / "a"
    write_file(path, b"old")
    with pytest.raises(RuntimeError), replace_file(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_killed_before_the_rename(tmp_path: Path) -> None:
    """A process killed in the middle of writing leaves the old file as it was."""
    path = tmp_path / "a"
    write_file(path, b"old")
    code = (
        "import os, sys, pathlib\n"
        "from vaxpass_sign.durable import replace_file\n"
        "with replace_file(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)])
    assert done.returncode == -9
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("place", ["missing/a", "file/a", "/proc/a"])
def test_where_nothing_can_be_written(tmp_path: Path, place: str) -> None:
    """A place that can't be written is an InputError that names it."""
    (tmp_path / "file").write_text("a file, no folder")
    path = tmp_path / place
    with pytest.raises(InputError, match="can't be written"):
        write_file(path, b"x")


def test_a_full_disk(tmp_path: Path) -> None:
    """A disk that is full in the middle of writing is an InputError, and the old file stays."""
    path = tmp_path / "a"
    write_file(path, b"old")
    with pytest.raises(InputError, match="No space left"), replace_file(path) as temporary:
        with Path("/dev/full").open("wb", buffering=0) as full:
            full.write(b"x")
        temporary.write_bytes(b"never")
    assert path.read_bytes() == b"old"


def test_directories_are_private(tmp_path: Path) -> None:
    """A directory and its missing parents get mode 0700; one that is there is left as it is."""
    os.umask(0o022)
    make_directory(tmp_path / "a" / "b")
    make_directory(tmp_path / "a" / "b")
    for name in ("a", "a/b"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o700
    with pytest.raises(InputError, match="can't be made a directory"):
        write_file(tmp_path / "f", b"")
        make_directory(tmp_path / "f" / "g")
