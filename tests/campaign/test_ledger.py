"""The ledger: append-only, chained, durable; whatever was changed is named."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from vaxpass_sign.campaign.ledger import Ledger, read_rows, row_hash, walk_chain
from vaxpass_sign.errors import CampaignError, InputError, LedgerError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger of five rows: the campaign's and four more."""
    path = tmp_path / "ledger.sqlite"
    with Ledger.create(path) as ledger:
        for number in range(4):
            ledger.append("part", {"n": number, "name": "Bộ Y tế \udc80"})
    return path


def edit(path: Path, sql: str) -> None:
    database = sqlite3.connect(path)
    with database:
        database.execute(sql)
    database.close()


def test_rows_come_back_in_order(path: Path) -> None:
    """What was appended is read again, with its head; another opening goes on from it."""
    with Ledger.open(path) as ledger:
        head = ledger.head
        assert [row.kind for row in ledger.rows] == ["campaign", *["part"] * 4]
        assert [row.body["n"] for row in ledger.rows[1:]] == [0, 1, 2, 3]
        added = ledger.append("end", {})
        assert added.previous == head
    assert read_rows(path)[-1] == added


def test_two_campaigns_have_different_heads(tmp_path: Path) -> None:
    """The first row names the campaign by random bytes, so no two histories look alike."""
    heads = set()
    for name in ("a", "b"):
        with Ledger.create(tmp_path / name) as ledger:
            heads.add(ledger.append("clean", {}).hash)
    assert len(heads) == 2


def test_files_are_private(path: Path) -> None:
    """The ledger's file has mode 0600, and so have SQLite's own beside it."""
    with Ledger.open(path) as ledger:
        ledger.append("end", {})
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


CHANGES: dict[str, tuple[str, str]] = {
    "a body": ("UPDATE ledger SET body = '{}' WHERE number = 3", "row 3 (part) was changed"),
    "a kind": ("UPDATE ledger SET kind = 'end' WHERE number = 2", "row 2 (end) was changed"),
    "a hash": (
        "UPDATE ledger SET hash = zeroblob(32) WHERE number = 4",
        "row 4 (part) was changed",
    ),
    "a row taken out": ("DELETE FROM ledger WHERE number = 3", "row 3 is missing"),
    "the first row taken out": ("DELETE FROM ledger WHERE number = 1", "row 1 is missing"),
    "two rows swapped": (
        "UPDATE ledger SET number = CASE number WHEN 2 THEN 30 ELSE 2 END WHERE number IN (2, 3)",
        "row 2 does not follow the row before it",
    ),
}


@pytest.mark.parametrize(("sql", "named"), CHANGES.values(), ids=CHANGES)
def test_a_change_is_named_and_stops_everything(path: Path, sql: str, named: str) -> None:
    """Whatever was changed, the place is named, and nothing is appended after it."""
    edit(path, sql)
    assert any(fault.startswith(named) for fault in walk_chain(read_rows(path)))
    with pytest.raises(LedgerError, match="restore"):
        Ledger.open(path)


def test_a_consistent_forgery_changes_the_head(path: Path) -> None:
    """Who writes the whole chain anew gets another head: that is what a noted one is for."""
    rows = read_rows(path)
    head = rows[-1].hash
    previous = rows[1].previous
    for row in rows[1:]:
        text = row.text.replace('"n":0', '"n":9')
        hashed = row_hash(row.number, row.kind, text, previous)
        database = sqlite3.connect(path)
        with database:
            database.execute(
                "UPDATE ledger SET body = ?, previous = ?, hash = ? WHERE number = ?",
                (text, previous, hashed, row.number),
            )
        database.close()
        previous = hashed
    assert list(walk_chain(read_rows(path))) == []
    assert read_rows(path)[-1].hash != head


FILES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "no database": lambda path: path.write_bytes(b"not a database at all, but long enough" * 30),
    "empty": lambda path: path.write_bytes(b""),
    "a page": lambda path: path.write_bytes(path.read_bytes()[:4096] + bytes(4096)),
    "another database": lambda path: edit(path, "ALTER TABLE ledger RENAME TO diary"),
    "a newer version": lambda path: edit(path, "PRAGMA user_version = 2"),
}


@pytest.mark.parametrize("change", FILES.values(), ids=FILES)
def test_a_file_that_is_no_ledger(path: Path, change: Callable[[Path], object]) -> None:
    """Anything else in its place is one line that says what to do, for readers and writers."""
    change(path)
    for open_it in (Ledger.open, read_rows):
        with pytest.raises(CampaignError) as caught:
            open_it(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [
    lambda path: path.write_bytes(path.read_bytes()[:5000]),
    lambda path: edit(path, "DELETE FROM ledger"),
], ids=["cut", "emptied"])  # fmt: skip
def test_a_ledger_without_its_rows(path: Path, change: Callable[[Path], object]) -> None:
    """Nothing is appended to what is left of a ledger, and an audit sees that something is wrong."""
    change(path)
    with pytest.raises((LedgerError, CampaignError)):
        Ledger.open(path)
    with contextlib.suppress(CampaignError):
        assert list(walk_chain(read_rows(path)))


def test_a_newer_version_is_said_to_be_newer(path: Path) -> None:
    """The user learns that a newer program is needed."""
    edit(path, "PRAGMA user_version = 2")
    with pytest.raises(CampaignError, match="newer vaxpass_sign; install"):
        Ledger.open(path)


def test_nothing_is_made_over_a_ledger(path: Path) -> None:
    """create() refuses a place that is taken, and a folder that is not there."""
    before = path.read_bytes()
    with pytest.raises(CampaignError, match="is there already"):
        Ledger.create(path)
    assert path.read_bytes() == before
    with pytest.raises(InputError):
        Ledger.create(path.parent / "no folder" / "ledger.sqlite")


def test_a_half_made_ledger_is_in_nobodys_way(tmp_path: Path) -> None:
    """What a killed create() left is taken over; there is never half a ledger."""
    litter = tmp_path / ".ledger.sqlite.new"
    litter.write_bytes(b"half")
    litter.with_name(".ledger.sqlite.new-wal").write_bytes(b"half")
    Ledger.create(tmp_path / "ledger.sqlite").close()
    assert [p.name for p in tmp_path.iterdir()] == ["ledger.sqlite"]


def test_after_a_failed_append_nothing_is_appended(path: Path) -> None:
    """A row that may or may not be on the disk: only a new reading can tell."""
    with Ledger.open(path) as ledger:
        ledger._database.execute("PRAGMA max_page_count = 1")
        with pytest.raises(CampaignError, match="can't be written"):
            ledger.append("part", {"long": "x" * 100_000})
        ledger._database.execute("PRAGMA max_page_count = 100000")
        with pytest.raises(CampaignError, match="start again"):
            ledger.append("part", {})
    with Ledger.open(path) as ledger:
        assert len(ledger.rows) == 5
        ledger.append("part", {})


def test_one_file_when_nobody_has_it_open(path: Path) -> None:
    """A copy of the one file is a copy of the ledger, after a writer and after a reader."""
    for _ in range(2):
        assert [p.name for p in path.parent.iterdir()] == [path.name]
        assert len(read_rows(path)) == 5


def test_a_reader_changes_nothing(path: Path) -> None:
    """A report can't write, whatever it does."""
    before = path.read_bytes()
    read_rows(path)
    assert path.read_bytes() == before


def test_a_reader_does_not_disturb_a_writer(path: Path) -> None:
    """Reports read while a campaign is signed, and see what was committed."""
    with Ledger.open(path) as ledger:
        ledger.append("part", {"n": 4})
        assert len(read_rows(path)) == 6
        ledger.append("part", {"n": 5})
        assert len(read_rows(path)) == 7


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(path: Path) -> None:
    """A ledger that can't be written is an error of one line."""
    path.chmod(0o400)
    with pytest.raises(CampaignError), Ledger.open(path) as ledger:
        ledger.append("part", {})
