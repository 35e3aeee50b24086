"""The commit protocol: stopped anywhere, the next run comes to the same state."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from vaxpass_sign.campaign import commit as protocol
from vaxpass_sign.campaign.commit import (
    HashedFile,
    StagedFile,
    commit,
    file_sha256,
    files_of,
    make_run_folder,
    publish,
    recover,
)
from vaxpass_sign.campaign.layout import Layout
from vaxpass_sign.campaign.ledger import Ledger
from vaxpass_sign.errors import InputError, LedgerError

STEPS = ("staged", "synced", "committed", "renamed", "published")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "c")
    layout.make()
    Ledger.create(layout.ledger).close()
    return layout


def stage(layout: Layout, *names: str) -> list[StagedFile]:
    folder = make_run_folder(layout)
    files = []
    for name in names:
        path = folder / name.rpartition("/")[2]
        path.write_bytes(name.encode())
        sha256, size = file_sha256(path)
        files.append(StagedFile(name, f"{folder.name}/{path.name}", sha256, size, 1))
    return files


def published(layout: Layout) -> dict[str, bytes]:
    return {name: layout.of(name).read_bytes() for name in layout.committed_names()}


TWO = {"signed/a": b"signed/a", "clean/b": b"clean/b"}


class _Stopped(BaseException):
    """As if the process had been killed here."""


def test_committed_files_are_where_they_belong(layout: Layout) -> None:
    """After a commit the files are in their folders and their row in the ledger."""
    with Ledger.open(layout.ledger) as ledger:
        row = commit(layout, ledger, "part", {"n": 1}, stage(layout, *TWO))
        assert ledger.rows[-1] == row
        assert files_of(row) == list(TWO)
        assert row.body["n"] == 1
    assert published(layout) == TWO


@pytest.mark.parametrize("stop_at", STEPS)
def test_stopped_at_every_step(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, stop_at: str
) -> None:
    """Before the ledger's row nothing happened; after it the next run finishes the rest."""

    def step(name: str) -> None:
        if name == stop_at:
            raise _Stopped

    with Ledger.open(layout.ledger) as ledger:
        files = stage(layout, *TWO)
        monkeypatch.setattr(protocol, "step", step)
        with pytest.raises(_Stopped):
            commit(layout, ledger, "part", {}, files)
        monkeypatch.undo()
    with Ledger.open(layout.ledger) as ledger:
        committed = stop_at not in ("staged", "synced")
        assert len(ledger.rows) == 1 + committed
        for _ in range(2):  # and recovery may itself be stopped and done again
            recover(layout, ledger)
            assert published(layout) == (TWO if committed else {})
            assert list(layout.staging.iterdir()) == []


def test_publish_may_be_called_again_and_again(layout: Layout) -> None:
    """A file that has arrived is not touched, whatever lies in staging/ under its name."""
    with Ledger.open(layout.ledger) as ledger:
        files = stage(layout, *TWO)
        row = commit(layout, ledger, "part", {}, files)
        (layout.staging / files[0].staged).write_bytes(b"back from a power cut")
        publish(layout, [row])
        recover(layout, ledger)
    assert published(layout) == TWO


def test_a_committed_file_that_is_gone_is_named(layout: Layout) -> None:
    """A file that is neither in staging/ nor in its folder stops everything, unless it was purged."""
    with Ledger.open(layout.ledger) as ledger:
        commit(layout, ledger, "part", {}, stage(layout, *TWO))
        layout.of("clean/b").unlink()
        with pytest.raises(LedgerError, match=r"clean/b is missing: ledger row 2 commits it"):
            recover(layout, ledger)
        recover(layout, ledger, {"clean/b"})


def test_a_file_that_no_row_commits_is_named(layout: Layout) -> None:
    """What an older copy of the ledger does not know is never passed over: it was issued."""
    layout.of("signed/part-000009.parquet").write_bytes(b"")
    with (
        Ledger.open(layout.ledger) as ledger,
        pytest.raises(LedgerError, match=r"part-000009.*does not know it.*older copy"),
    ):
        recover(layout, ledger)


def test_a_file_that_was_not_staged_commits_nothing(layout: Layout) -> None:
    """When a staged file can't be synced, the ledger has no row of it."""
    with Ledger.open(layout.ledger) as ledger:
        files = stage(layout, *TWO)
        (layout.staging / files[1].staged).unlink()
        with pytest.raises(InputError):
            commit(layout, ledger, "part", {}, files)
        assert len(ledger.rows) == 1


def test_a_hashed_file_is_what_its_hash_says(tmp_path: Path) -> None:
    """The hash and the length are those of the bytes on the disk; old content is replaced."""
    path = tmp_path / "f"
    path.write_bytes(b"what a stopped run left, and longer")
    file = HashedFile(path)
    for data in (b"ab", b"", bytearray(b"cde"), memoryview(b"f")):
        assert file.write(data) == len(data)
    assert file.tell() == 6
    file.close()
    assert path.read_bytes() == b"abcdef"
    assert (file.sha256, file.bytes) == (hashlib.sha256(b"abcdef").hexdigest(), 6)
    assert (file.sha256, file.bytes) == file_sha256(path)
    HashedFile(tmp_path / "g").close()
    assert (tmp_path / "g").stat().st_mode & 0o777 == 0o600


def test_one_program_at_a_time(layout: Layout) -> None:
    """Writers exclude everybody, readers exclude writers; the lock goes with its process."""
    with (
        layout.locked(alone=True),
        pytest.raises(InputError, match="is in use"),
        layout.locked(alone=False),
    ):
        pass
    with (
        layout.locked(alone=False),
        layout.locked(alone=False),
        pytest.raises(InputError, match="is in use"),
        layout.locked(alone=True),
    ):
        pass
    with layout.locked(alone=True):
        pass


def test_directories_are_private(layout: Layout) -> None:
    """Every directory of a campaign is for its owner alone."""
    for path in [layout.root, *layout.root.iterdir()]:
        if path.is_dir():
            assert path.stat().st_mode & 0o777 == 0o700, path
