"""The ledger: what is committed, in the order in which it was; the only truth of a campaign.

Rules that this module keeps:

* Rows are appended and never changed. Row n holds a kind, a body (JSON) and a hash over the row
  before it and itself; so the last hash, the head, stands for the whole history. Who notes the head
  down after a run can tell later whether this history is still the beginning of the ledger's.
* An append that returned is on the disk: SQLite in WAL mode with synchronous=FULL. One that did
  not return happened or did not; the next reader finds out.
* Every opening walks the chain. A row that was edited, or taken out of the middle, is named, and
  nothing is ever appended after it. Rows that were cut off at the end can't be seen from the rest:
  that is what a noted head is for, and files that no row commits.

One process writes, under the campaign's lock; others may read meanwhile. Local disks only: SQLite's
WAL needs shared memory.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     with Ledger.create(Path(folder) / "ledger.sqlite") as ledger:
...         row = ledger.append("clean", {"rows": 2})
...         row.number, ledger.head == row.hash, [row.kind for row in ledger.rows]
(2, True, ['campaign', 'clean'])
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from vaxpass_sign.closing import Closing
from vaxpass_sign.durable import cannot_write, sync_directory
from vaxpass_sign.errors import CampaignError, LedgerError

__all__ = ["VERSION", "Ledger", "Row", "read_rows", "walk_chain"]

VERSION: Final = 1
"""The format of the ledger's rows and bodies that this program reads and writes."""

_APPLICATION: Final = 0x56_58_50_4C  # "VXPL"
_FIRST: Final = bytes(32)
_MAX_ROWS: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """One row. ``previous`` and ``hash`` have 32 bytes; ``text`` is the body as it was hashed."""

    number: int
    kind: str
    text: str = field(repr=False)
    previous: bytes = field(repr=False)
    hash: bytes

    @property
    def body(self) -> dict[str, Any]:
        """The body as an object."""
        return dict(json.loads(self.text))


def row_hash(number: int, kind: str, text: str, previous: bytes) -> bytes:
    """SHA-256 over everything in a row, and so over the row before it; each part has its length."""
    digest = hashlib.sha256(b"vaxpass_sign ledger row\0" + previous + number.to_bytes(8, "big"))
    for part in (kind.encode(), text.encode()):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def walk_chain(rows: list[Row]) -> Iterator[str]:
    """What is wrong with the rows, one line for each place; nothing when the chain holds."""
    previous, number = _FIRST, 0
    if not rows:
        yield "row 1 is missing: it has no rows at all"
    for row in rows:
        number += 1
        if row.number != number:
            yield f"row {number} is missing: the next one has number {row.number}"
            number = row.number
        elif row.previous != previous:
            yield f"row {row.number} does not follow the row before it"
        if row.hash != row_hash(row.number, row.kind, row.text, row.previous):
            yield f"row {row.number} ({row.kind}) was changed after it was written"
        previous = row.hash


def read_rows(path: Path) -> list[Row]:
    """Every row as it stands, without a look at the chain; for an audit and for reports.

    Raises: CampaignError when there is no ledger, it is of a newer version, or can't be read.
    """
    # Not read-only: SQLite could then not put its log away when it closes the file.
    with closing(_connect(path)) as database:
        return _read(path, database)


class Ledger(Closing):
    """An open ledger. ``rows`` are all rows, checked; ``head`` is the last one's hash.

    It belongs to the process and the thread that opened it.
    """

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        """Not for callers: see :meth:`create` and :meth:`open`."""
        self._path = path
        self._database = database
        self._uncertain = False
        self.rows = _read(path, database)
        fault = next(walk_chain(self.rows), None)
        if fault:
            raise LedgerError(
                f"{path}: {fault}; nothing is added to a ledger that was changed: run audit, then "
                "restore the ledger from its last backup"
            )

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make a new ledger; its first row names the campaign by 16 random bytes.

        It is made under another name and then renamed, so that there is never half a ledger.

        Raises: CampaignError when one is there; InputError when it can't be written.
        """
        if path.exists():
            raise CampaignError(f"{path} is there already")
        unborn = path.with_name(f".{path.name}.new")
        try:
            for litter in path.parent.glob(f"{unborn.name}*"):
                litter.unlink()
            # SQLite gives its other files the mode of this one.
            os.close(os.open(unborn, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            with closing(_connect(unborn, writing=True)) as database:
                _make_table(database)
            unborn.rename(path)
            sync_directory(path.parent)
        except OSError as error:
            raise cannot_write(path, error) from error
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a ledger to append to it.

        Raises: CampaignError when it is missing, of a newer version, or can't be read; LedgerError
        when its chain does not hold.
        """
        database = _connect(path, writing=True)
        try:
            return cls(path, database)
        except BaseException:
            database.close()
            raise

    @property
    def head(self) -> bytes:
        """The last row's hash, 32 bytes."""
        return self.rows[-1].hash

    def append(self, kind: str, body: Mapping[str, Any]) -> Row:
        """Add a row; when this returns it survives a power cut.

        Raises: InputError when it can't be written.
        """
        row = _row(len(self.rows) + 1, kind, body, self.head)
        if self._uncertain:
            raise CampaignError(f"{self._path}: a row could not be written before; start again")
        try:
            with self._database:
                _insert(self._database, row)
        except sqlite3.Error as error:
            # Perhaps it is on the disk all the same: only a new reading can tell.
            self._uncertain = True
            raise CampaignError(
                f"{self._path} can't be written ({error}); what was committed before stands: make "
                "room or mend the disk, then run the same command again"
            ) from error
        self.rows.append(row)
        return row

    def close(self) -> None:
        """Close the file; SQLite then moves what its log holds into it."""
        self._database.close()


def _make_table(database: sqlite3.Connection) -> None:
    with database:
        database.execute(
            "CREATE TABLE ledger (number INTEGER PRIMARY KEY, kind TEXT NOT NULL, "
            "body TEXT NOT NULL, previous BLOB NOT NULL, hash BLOB NOT NULL) STRICT"
        )
        database.execute(f"PRAGMA application_id = {_APPLICATION}")
        database.execute(f"PRAGMA user_version = {VERSION}")
        _insert(
            database,
            _row(
                1, "campaign", {"id": os.urandom(16).hex(), "created_at": int(time.time())}, _FIRST
            ),
        )


def _row(number: int, kind: str, body: Mapping[str, Any], previous: bytes) -> Row:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return Row(number, kind, text, previous, row_hash(number, kind, text, previous))


def _insert(database: sqlite3.Connection, row: Row) -> None:
    values = (row.number, row.kind, row.text, row.previous, row.hash)
    database.execute("INSERT INTO ledger VALUES (?, ?, ?, ?, ?)", values)


def _connect(path: Path, *, writing: bool = False) -> sqlite3.Connection:
    if not path.is_file():
        raise CampaignError(
            f"{path} is missing: nothing was cleaned in this campaign yet (run clean first), or "
            "its ledger was lost (restore it from its backup)"
        )
    try:
        database = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level="IMMEDIATE"
        )
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error
    try:
        if writing:
            database.execute("PRAGMA journal_mode = WAL")
            # In WAL mode only FULL makes a commit wait for the disk.
            database.execute("PRAGMA synchronous = FULL")
        else:
            database.execute("PRAGMA query_only = ON")
    except sqlite3.Error as error:
        database.close()
        raise _unreadable(path, error) from error
    return database


def _read(path: Path, database: sqlite3.Connection) -> list[Row]:
    try:
        [version] = database.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise CampaignError(
                f"{path}: found format {version}, expected at most {VERSION}: it was written by a "
                "newer vaxpass_sign; install that version"
            )
        rows = database.execute(
            "SELECT number, kind, body, previous, hash FROM ledger ORDER BY number LIMIT ?",
            (_MAX_ROWS,),
        ).fetchall()
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error
    for number, values in enumerate(rows, start=1):
        if [type(value) for value in values] != [int, str, str, bytes, bytes]:
            raise _unreadable(path, ValueError(f"row {number} is damaged"))
    return [Row(*values) for values in rows]


def _unreadable(path: Path, error: Exception) -> CampaignError:
    return CampaignError(
        f"{path} can't be read as a ledger ({error}): restore it from its last backup"
    )
