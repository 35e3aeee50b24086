"""The register: what an issuer has revoked, and in which batch each entry was published.

Rules that this module keeps:

* It holds hashes and no personal data: of an entry its scope, 16 bytes, when the credential
  expires, when it was revoked, a word for the reason, and the number of its batch once it has one.
* An entry is never taken out, and one that is in a batch never changes, so a batch can be made
  again, byte for byte, from the register. What it was is noted as SHA-256 beside it.
* Adding an entry again changes nothing, unless it shall last longer (a renewal expires later): then
  one that is in no batch yet is prolonged, and for one that is, a second entry is added.
* What returned is on the disk: SQLite in WAL mode with synchronous=FULL, on a local disk. Programs
  that change it take turns.
* A file that is no register, or is damaged, is refused before anything of it is believed: its
  tables must be these, and every page is looked at once when it is opened (0.04 s for 100,000
  entries; :meth:`check_indexes` compares more, and an export begins with that).

>>> import tempfile
>>> from pathlib import Path
>>> from vaxpass_sign.check.revocation.hashes import HashType, hash_uci
>>> entry = Entry(HashType.UCI, None, hash_uci("URN:UVCI:01:VN:1"), 2_000_000_000)
>>> with tempfile.TemporaryDirectory() as folder:
...     with Register.create(Path(folder) / "register", "VN", now_s=1_700_000_000) as register:
...         first = register.add([entry], now_s=1_700_000_000)
...         again = register.add([entry], now_s=1_700_000_000)
...         (first.new, again.new, again.known), register.make_batches(now_s=1_700_000_000)
((1, 0, 1), 1)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice
from typing import Any, Final, NamedTuple

from vaxpass_sign.check.revocation.batch import MAX_BATCH_ENTRIES, Batch
from vaxpass_sign.check.revocation.hashes import (
    HASH_BYTES,
    HASH_TYPES,
    KID_BYTES,
    HashType,
    Scope,
)
from vaxpass_sign.errors import InputError
from vaxpass_sign.revocation.register_file import RegisterFile

__all__ = ["MAX_REGISTER_ENTRIES", "Added", "Entry", "NumberedBatch", "Register"]

MAX_REGISTER_ENTRIES: Final = 20_000_000
"""Entries at most: some 3 GB."""

_MAX_TIME: Final = 253_402_300_799  # 9999-12-31T23:59:59Z
_AT_ONCE: Final = 10_000
_REASON = re.compile(r"[a-z]+(-[a-z]+)*")
_MAX_REASON: Final = 32


class Entry(NamedTuple):
    """What revokes a credential of the register's country.

    ``kid``: 8 bytes, or None for any. ``hash``: 16 bytes. ``expires_s``: when the credential
    expires, UTC seconds.
    """

    hash_type: HashType
    kid: bytes | None
    hash: bytes
    expires_s: int


@dataclass(slots=True)
class Added:
    """How many entries were new, known already, prolonged, or left out since they have expired."""

    new: int = 0
    known: int = 0
    prolonged: int = 0
    expired: int = 0


@dataclass(frozen=True, slots=True)
class NumberedBatch:
    """A batch that the register has made. ``sha256`` is over its JSON, 32 bytes."""

    number: int
    hash_type: HashType
    kid: bytes | None
    expires_s: int
    entries: int
    sha256: bytes

    @property
    def name(self) -> str:
        """The name of its signed file: by its number and content, so always the same."""
        return f"batch-{self.number:06}-{self.sha256[:8].hex()}.cms"


class Register(RegisterFile):
    """An open register. It belongs to the process and the thread that opened it."""

    # --- what is revoked -------------------------------------------------------------------

    def add(self, entries: Iterable[Entry], *, reason: str | None = None, now_s: int) -> Added:
        """Enter what is revoked: all of it or, when this raises, none.

        Args:
            reason: a word such as ``wrong-person``: small letters and hyphens, at most 32, and
                nothing personal.
            now_s: when it is revoked, UTC seconds; what has expired by then is left out.
        Raises: InputError for an entry or reason of another form, too many entries, or when it
            can't be written; what the iterable raises.
        """
        if reason is not None and not (len(reason) <= _MAX_REASON and _REASON.fullmatch(reason)):
            raise InputError(
                f"reason: found {len(reason)} characters, expected at most {_MAX_REASON} small "
                "letters and hyphens, such as wrong-person; nothing personal"
            )
        added, rest = Added(), iter(entries)
        with self._writing():
            [(last,)] = self._rows("SELECT coalesce(max(number), 0) FROM entries")
            while some := list(islice(rest, _AT_ONCE)):
                for entry in some:
                    self._add(_checked(entry), reason, now_s, added)
                if last + added.new + added.prolonged > MAX_REGISTER_ENTRIES:
                    raise InputError(
                        f"{self._path}: found over {MAX_REGISTER_ENTRIES} entries; begin another"
                    )
        return added

    def _add(self, entry: Entry, reason: str | None, now_s: int, added: Added) -> None:
        if entry.expires_s <= now_s:
            added.expired += 1
            return
        key = (_number(entry.hash_type), entry.kid or b"", entry.hash)
        known = self._rows(
            "SELECT number, expires_at, batch FROM entries WHERE hash_type = ? AND kid = ? "
            "AND hash = ? ORDER BY expires_at DESC LIMIT 1",
            *key,
        )
        if known and known[0][1] >= entry.expires_s:
            added.known += 1
            return
        added.prolonged += bool(known)
        added.new += not known
        if known and known[0][2] is None:
            self._rows(
                "UPDATE entries SET expires_at = ? WHERE number = ?", entry.expires_s, known[0][0]
            )
        else:
            self._rows(
                "INSERT INTO entries (hash_type, kid, hash, expires_at, revoked_at, reason) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                *(*key, entry.expires_s, now_s, reason),
            )

    def unexpired(self, now_s: int) -> Iterator[tuple[Scope, list[bytes]]]:
        """Every entry whose credential has not expired, for ``write_store``; a scope comes again
        and again.
        """
        with self._using():
            for hash_type, kid in self._scopes("WHERE expires_at > ?", now_s):
                scope, last = Scope(hash_type, self.country, kid), b""
                # Each time from where the last one ended, so that nothing is read twice and a
                # damaged file can't make it endless.
                while some := self._hashes(
                    "WHERE hash_type = ? AND kid = ? AND hash > ? AND expires_at > ? "
                    "ORDER BY hash LIMIT ?",
                    *(_number(hash_type), kid or b"", last, now_s, _AT_ONCE),
                ):
                    # One that was prolonged stands there twice.
                    yield scope, list(dict.fromkeys(some))
                    if some[-1] <= last:
                        raise self._damaged("entries that do not ascend")
                    last = some[-1]

    # --- batches ---------------------------------------------------------------------------

    def make_batches(self, *, now_s: int) -> int:
        """Put every entry that is in none into a new batch; the number of batches made.

        At most 1000 entries, one scope each; those that expire about the same time together, for
        a batch lasts as long as its last entry. What has expired is left out. When this returns
        they are on the disk.

        Raises: InputError when it can't be written; TrustError when the register is not sound.
        """
        made = 0
        with self._writing():
            [(number,)] = self._rows("SELECT coalesce(max(number), 0) FROM batches")
            for hash_type, kid in self._scopes("WHERE batch IS NULL AND expires_at > ?", now_s):
                while rows := self._rows(
                    "SELECT number, hash, expires_at FROM entries WHERE batch IS NULL AND "
                    "hash_type = ? AND kid = ? AND expires_at > ? "
                    "ORDER BY expires_at, hash LIMIT ?",
                    *(_number(hash_type), kid or b"", now_s, MAX_BATCH_ENTRIES),
                ):
                    number, made = number + 1, made + 1
                    self._insert_batch(number, hash_type, kid, rows)
        return made

    def _insert_batch(
        self, number: int, hash_type: HashType, kid: bytes | None, rows: list[Any]
    ) -> None:
        numbers, hashes, times = zip(*rows, strict=True)
        expires_s = max(times)
        batch = self._batch(hash_type, kid, expires_s, hashes)
        self._database.execute(
            "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)",
            (
                *(number, _number(hash_type), kid or b"", expires_s, len(rows)),
                sha256(batch.to_json()).digest(),
            ),
        )
        changed = self._database.executemany(
            "UPDATE entries SET batch = ? WHERE number = ?", ((number, n) for n in numbers)
        ).rowcount
        if changed != len(rows):
            raise self._damaged("entries that are not where its index says")

    def batches(self, now_s: int) -> Iterator[NumberedBatch]:
        """Every batch that has not expired, by number."""
        with self._using():
            last = 0
            while rows := self._rows(
                "SELECT number, hash_type, kid, expires_at, entries, sha256 FROM batches "
                "WHERE number > ? AND expires_at > ? ORDER BY number LIMIT ?",
                *(last, now_s, _AT_ONCE),
            ):
                for row in rows:
                    batch = self._numbered(row)
                    if batch.number <= last:
                        raise self._damaged("batches that do not ascend")
                    last = batch.number
                    yield batch

    def content(self, numbered: NumberedBatch) -> Batch:
        """A batch's content, as it was when it was made.

        Raises: TrustError when the register holds something else now.
        """
        with self._using():
            hashes = self._hashes("WHERE batch = ? LIMIT ?", numbered.number, MAX_BATCH_ENTRIES + 1)
        batch = self._batch(numbered.hash_type, numbered.kid, numbered.expires_s, hashes)
        if sha256(batch.to_json()).digest() != numbered.sha256:
            raise self._damaged(f"another content in batch {numbered.number} than it was made with")
        return batch

    def _batch(
        self, hash_type: HashType, kid: bytes | None, expires_s: int, hashes: Iterable[bytes]
    ) -> Batch:
        scope = Scope(hash_type, self.country, kid)
        try:
            return Batch(scope, datetime.fromtimestamp(expires_s, UTC), tuple(sorted(hashes)))
        except (InputError, TypeError, ValueError, OverflowError) as error:
            raise self._damaged("entries of another form") from error

    # --- rows ------------------------------------------------------------------------------

    def _scopes(self, where: str, *values: int) -> list[tuple[HashType, bytes | None]]:
        """The scopes that some entries have, hash types in their order, any kid first."""
        # Here and below ``where`` is a text of this module.
        sql = f"SELECT DISTINCT hash_type, kid FROM entries {where}"  # noqa: S608
        rows = self._rows(sql, *values)
        found = [self._scope(*row) for row in rows]
        return sorted(found, key=lambda s: (HASH_TYPES.index(s[0]), s[1] or b""))

    def _scope(self, number: Any, kid: Any) -> tuple[HashType, bytes | None]:
        if type(number) is not int or not 0 < number <= len(HASH_TYPES):
            raise self._damaged("an entry of an unknown hash type")
        if not isinstance(kid, bytes) or len(kid) not in (0, KID_BYTES):
            raise self._damaged("a kid of another length")
        return HASH_TYPES[number - 1], kid or None

    def _hashes(self, where: str, *values: int | bytes) -> list[bytes]:
        sql = f"SELECT hash FROM entries {where}"  # noqa: S608
        found = [row[0] for row in self._rows(sql, *values)]
        if any(not isinstance(entry, bytes) or len(entry) != HASH_BYTES for entry in found):
            raise self._damaged("a hash of another length")
        return found

    def _numbered(self, row: tuple[Any, ...]) -> NumberedBatch:
        number, hash_type, kid, expires_s, entries, digest = row
        if (
            any(type(value) is not int for value in (number, expires_s, entries))
            or not 0 <= expires_s <= _MAX_TIME
            or not isinstance(digest, bytes)
            or len(digest) != 32
        ):
            raise self._damaged("a batch of another form")
        return NumberedBatch(number, *self._scope(hash_type, kid), expires_s, entries, digest)


def _number(hash_type: HashType) -> int:
    return HASH_TYPES.index(hash_type) + 1


def _checked(entry: Entry) -> Entry:
    if len(entry.hash) != HASH_BYTES or (entry.kid is not None and len(entry.kid) != KID_BYTES):
        raise InputError(
            f"entry: found a hash or kid of another length, expected {HASH_BYTES} and {KID_BYTES} "
            "bytes"
        )
    if not 0 <= entry.expires_s <= _MAX_TIME:
        raise InputError(
            "entry: found an expiry outside the years 1970 to 9999; give the credential's"
        )
    return entry
