"""The register's file: SQLite, made whole, looked at before it is believed, changed in turn.

What comes from outside is the whole file. It is refused when its header names another program,
when its tables, indexes or anything else in its schema are not exactly ours (a trigger or a view
would run with what we ask), or when SQLite's own check finds a damaged page. After that each value
is checked where it is read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

from vaxpass_sign.check.revocation.hashes import is_country
from vaxpass_sign.closing import Closing
from vaxpass_sign.durable import cannot_write, replace_file
from vaxpass_sign.errors import InputError, TrustError
from vaxpass_sign.files import read_bounded

__all__ = ["VERSION", "RegisterFile"]

VERSION: Final = 1
"""The format that this program reads and writes."""

_APPLICATION: Final = 0x56_58_50_52  # "VXPR"
_APPLICATION_AT: Final = slice(68, 72)  # of an SQLite file's header
_MAGIC: Final = b"SQLite format 3\0"
_HEADER_BYTES: Final = 100
_WAIT_S: Final = 30.0

_SCHEMA: Final = (
    "CREATE TABLE register (country TEXT NOT NULL, created_at INTEGER NOT NULL) STRICT",
    # kid: no bytes where an entry is for any.
    "CREATE TABLE entries (number INTEGER PRIMARY KEY, hash_type INTEGER NOT NULL, "
    "kid BLOB NOT NULL, hash BLOB NOT NULL, expires_at INTEGER NOT NULL, "
    "revoked_at INTEGER NOT NULL, reason TEXT, batch INTEGER, "
    "UNIQUE (hash_type, kid, hash, expires_at)) STRICT",
    "CREATE INDEX by_batch ON entries (batch, hash_type, kid, expires_at, hash)",
    "CREATE TABLE batches (number INTEGER PRIMARY KEY, hash_type INTEGER NOT NULL, "
    "kid BLOB NOT NULL, expires_at INTEGER NOT NULL, entries INTEGER NOT NULL, "
    "sha256 BLOB NOT NULL) STRICT",
)
_TABLES: Final = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name"


class RegisterFile(Closing):
    """The open file. It belongs to the process and the thread that opened it."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        """Not for callers: see :meth:`create` and :meth:`open`."""
        self._path, self._database = path, database
        with self._using():
            self.country = self._check()

    @classmethod
    def create(cls, path: Path, country: str, *, now_s: int) -> Self:
        """Make a new register with mode 0600; there is never half of one.

        Raises: InputError when a file is there, the country is none, or it can't be written.
        """
        if not is_country(country):
            raise InputError(
                f"country: found {len(country)} characters, expected two or three capital letters "
                "of ISO 3166-1 such as VN"
            )
        with closing(sqlite3.connect(":memory:")) as database:
            _make_tables(database)
            database.execute("INSERT INTO register VALUES (?, ?)", (country, now_s))
            database.commit()
            data = database.serialize()
        # While this is held nobody else makes one here, so none that was made is replaced.
        with replace_file(path) as temporary:
            if path.exists() or path.is_symlink():
                raise InputError(f"{path} is there already; open it, or choose another name")
            try:
                temporary.write_bytes(data)
            except OSError as error:
                raise cannot_write(path, error) from error
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a register.

        Raises: InputError when it is missing or can't be used; TrustError when it is no sound
        register.
        """
        _check_header(path)
        with _of_sqlite(path):
            database = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw",
                uri=True,
                isolation_level=None,
                timeout=_WAIT_S,
            )
        try:
            with _of_sqlite(path):
                for setting in (
                    "trusted_schema = OFF",
                    "cell_size_check = ON",
                    "cache_size = -65536",
                ):
                    database.execute(f"PRAGMA {setting}")
                database.execute("PRAGMA journal_mode = WAL")
                # In WAL mode only FULL makes a commit wait for the disk.
                database.execute("PRAGMA synchronous = FULL")
            return cls(path, database)
        except BaseException:
            database.close()
            raise

    def close(self) -> None:
        """Close the file; SQLite then moves what its log holds into it."""
        self._database.close()

    def check_indexes(self) -> None:
        """Compare every index with its table (some 8 s for a million entries).

        What is published is read from the indexes: an entry that one lacks would never be.

        Raises: TrustError when one is not its table's; InputError when it can't be read.
        """
        with self._using():
            if self._rows("PRAGMA integrity_check(1)") != [("ok",)]:
                raise self._damaged("an index that is not its table's")

    # --- for Register ----------------------------------------------------------------------

    @contextmanager
    def _using(self) -> Iterator[None]:
        with _of_sqlite(self._path):
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction: all that the block does, or nothing."""
        with _of_sqlite(self._path):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    def _rows(self, sql: str, *values: int | bytes | str | None) -> list[Any]:
        return self._database.execute(sql, values).fetchall()

    def _damaged(self, found: str) -> TrustError:
        return TrustError(
            f"{self._path}: found {found}, expected a register as it was written; restore it from "
            "its last backup"
        )

    def _check(self) -> str:
        """Whose register it is, after a look at its tables and pages."""
        [(version,)] = self._rows("PRAGMA user_version")
        if version > VERSION:
            raise TrustError(
                f"{self._path}: found format {version}, expected at most {VERSION}: it was written "
                "by a newer vaxpass_sign; install that version"
            )
        # The schema first: what is in it would run with whatever is asked next.
        if self._database.execute(_TABLES).fetchmany(100) != _expected_tables():
            raise self._damaged("other tables than a register's")
        if self._rows("PRAGMA quick_check(1)") != [("ok",)]:
            raise self._damaged("damaged pages")
        rows = self._rows("SELECT country FROM register LIMIT 2")
        if len(rows) != 1 or not isinstance(rows[0][0], str) or not is_country(rows[0][0]):
            raise self._damaged("no country")
        return str(rows[0][0])


def _make_tables(database: sqlite3.Connection) -> None:
    for statement in _SCHEMA:
        database.execute(statement)
    database.execute(f"PRAGMA application_id = {_APPLICATION}")
    database.execute(f"PRAGMA user_version = {VERSION}")


@cache
def _expected_tables() -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(":memory:")) as database:
        _make_tables(database)
        return database.execute(_TABLES).fetchall()


def _check_header(path: Path) -> None:
    try:
        head = read_bounded(path, _HEADER_BYTES)
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is missing, expected a register; revoke add makes one with --country"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path} can't be read: {reason}; expected a register") from error
    application = int.from_bytes(head[_APPLICATION_AT], "big")
    if not head.startswith(_MAGIC) or application != _APPLICATION:
        raise TrustError(
            f"{path}: found something else, expected a register that revoke add made; give that one"
        )


_UNUSABLE: Final = ("BUSY", "LOCKED", "FULL", "IOERR", "READONLY", "CANTOPEN", "PERM", "AUTH")


@contextmanager
def _of_sqlite(path: Path) -> Iterator[None]:
    """SQLite's errors as ours, without its words: they may repeat what a file holds."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "SQLITE_ERROR").removeprefix("SQLITE_")
        if name.startswith(_UNUSABLE):
            raise InputError(
                f"{path} can't be used ({name}): another program may have it open, or the disk is "
                "full or read-only; what was entered before stands, run the same command again"
            ) from error
        raise TrustError(
            f"{path} can't be read as a register ({name}); restore it from its last backup"
        ) from error
