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


def test_a_replaced_file_keeps_its_mode(tmp_path: Path) -> None:
    """Who opened a file for its readers need not do so again after each renewal; a link is no file."""
    path = tmp_path / "store"
    write_file(path, b"old")
    path.chmod(0o644)
    write_file(path, b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o7777) == (b"new", 0o644)
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"target")
    target.chmod(0o4755)
    link.symlink_to(target)
    write_file(link, b"own")
    assert (link.is_symlink(), link.stat().st_mode & 0o7777) == (False, 0o600)
    write_file(target, b"new")
    assert target.stat().st_mode & 0o7777 == 0o755


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


def test_no_room(tmp_path: Path) -> None:
    """A file that finds no room in the middle of writing is an InputError; the old one stays."""
    path = tmp_path / "a"
    write_file(path, b"old")
    code = (
        "import pathlib, resource, signal, sys\n"
        "from vaxpass_sign.durable import write_file\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: write_file(pathlib.Path(sys.argv[1]), bytes(10_000))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"InputError {path} can't be written: File too large")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    """While one process writes a target, a second is refused; afterwards it may."""
    path = tmp_path / "a"
    with replace_file(path) as temporary:
        temporary.write_bytes(b"first")
        with pytest.raises(InputError, match="another program is writing it"):
            write_file(path, b"second")
    assert path.read_bytes() == b"first"
    write_file(path, b"second")
    assert path.read_bytes() == b"second"


def test_what_a_killed_writer_left_is_taken_over(tmp_path: Path) -> None:
    """The temporary file of a killed process is no hindrance, and is gone afterwards."""
    path = tmp_path / "a"
    test_killed_before_the_rename(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_prepared_link_is_not_followed(tmp_path: Path) -> None:
    """A link that somebody put where the temporary file goes leads nowhere."""
    (tmp_path / "victim").write_bytes(b"untouched")
    (tmp_path / ".a.tmp").symlink_to(tmp_path / "victim")
    with pytest.raises(InputError):
        write_file(tmp_path / "a", b"x")
    assert (tmp_path / "victim").read_bytes() == b"untouched"


def test_file_and_directory_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced before the rename, and its directory after it; a new one's parent too."""
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    make_directory(tmp_path / "folder")
    write_file(tmp_path / "folder" / "a", b"x")
    assert synced == [tmp_path.name, ".a.tmp", "folder"]


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
