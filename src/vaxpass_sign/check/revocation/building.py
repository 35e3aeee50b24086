"""Write the files that :mod:`vaxpass_sign.check.revocation.table` describes.

Entries may come in any order, more than once, and be more than fit into memory: they go to a
nameless file beside the target first, and are sorted in shares of about a million. The target is
written by :mod:`vaxpass_sign.durable`, so readers see the old file or the new one, whole. With
numpy (extra ``batch``) ten million take seconds; without it, about a minute.

Memory: some 200 MB, as long as entries are hashes. Those that somebody chose to begin alike are in
one share, which is then as large as they are many.

>>> import tempfile
>>> from vaxpass_sign.check.revocation.hashes import HashType, hash_uci
>>> from vaxpass_sign.check.revocation.store import RevocationStore
>>> scope, end = Scope(HashType.UCI, "VN"), datetime(2030, 1, 1, tzinfo=UTC)
>>> with tempfile.TemporaryDirectory() as folder:
...     path = Path(folder) / "revoked"
...     write_store(path, [(scope, [hash_uci("URN:UVCI:01:VN:1")])], expires_at=end)
...     with RevocationStore.open(path) as store:
...         store.holds(scope, hash_uci("URN:UVCI:01:VN:1")), store.holds(scope, bytes(16))
1
(True, False)
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, BinaryIO, Final

from vaxpass_sign.check.revocation.hashes import ALLOWED_BYTES, HASH_BYTES, KID_BYTES, Scope
from vaxpass_sign.check.revocation.store import ALLOWED, ANY_TYPE, REVOKED, key_of
from vaxpass_sign.check.revocation.table import (
    HEADER,
    MAX_BITS,
    MAX_ENTRIES,
    MAX_SECTIONS,
    SECTION,
    Header,
    Key,
    Section,
    digest_of_file,
)
from vaxpass_sign.durable import cannot_write, replace_file
from vaxpass_sign.errors import InputError

__all__ = ["write_allow_list", "write_store"]

_AT_ONCE: Final = 65_536
"""Entries that are taken from the caller at a time."""
_SHARE: Final = 1 << 20
"""Entries that are sorted at a time."""
_PER_PREFIX: Final = 4
"""Entries for each prefix of the index, at least and on average; twice as many at most."""


def write_store(
    path: Path,
    entries: Iterable[tuple[Scope, Iterable[bytes]]],
    *,
    expires_at: datetime,
    created_at: datetime | None = None,
) -> int:
    """Write a revocation store.

    Args:
        entries: hashes of 16 bytes and whom they speak of; a scope may come again and again.
        expires_at: from when on the store's silence says nothing (a newer one is due); what it
            revokes stays revoked. An aware datetime.
        created_at: when its entries were gathered; now unless given.
    Returns: the number of different entries that it holds.
    Raises: InputError when an entry or a time has another form, there are too many, or the place
        can't be written. The file that was there before then stands.
    """
    keyed = ((key_of(scope), hashes) for scope, hashes in entries)
    return _write(path, REVOKED, HASH_BYTES, keyed, (created_at, expires_at))


def write_allow_list(
    path: Path,
    kid: bytes,
    entries: Iterable[bytes],
    *,
    expires_at: datetime,
    created_at: datetime | None = None,
) -> int:
    """Write the allow-list of one kid: nothing else that was signed under it counts any more.

    ``entries``: SHA-256(Sig_structure ‖ signature), 32 bytes each
    (:func:`vaxpass_sign.check.revocation.hashes.hash_allowed`). The rest as in :func:`write_store`.
    """
    if len(kid) != KID_BYTES:
        raise InputError(f"kid: found {len(kid)} bytes, expected {KID_BYTES}; give the DSC's")
    keyed = [(Key(ANY_TYPE, 1, bytes(4), kid), entries)]
    return _write(path, ALLOWED, ALLOWED_BYTES, keyed, (created_at, expires_at))


def _write(
    path: Path,
    kind: int,
    width: int,
    entries: Iterable[tuple[Key, Iterable[bytes]]],
    times: tuple[datetime | None, datetime],
) -> int:
    created_at, expires_at = times
    created_s, expires_s = _seconds(created_at or datetime.now(UTC)), _seconds(expires_at)
    if expires_s <= created_s:
        raise InputError(
            "expires_at: found a moment that is not after created_at; give the time of the next one"
        )
    try:
        with tempfile.TemporaryFile(dir=path.parent) as file:
            spool = _Spool(file, width)
            for key, hashes in entries:
                spool.add(key, hashes)
            with replace_file(path) as temporary, temporary.open("r+b") as target:
                header = Header(kind, width, 0, 0, created_s, expires_s, 0, 0)
                return _fill(target, spool, header)
    except OSError as error:
        raise cannot_write(path, error) from error


def _seconds(moment: datetime) -> int:
    if moment.utcoffset() is None:
        raise InputError("time: found a datetime without a UTC offset, expected an aware one")
    return max(0, int(moment.timestamp()))


class _Spool:
    """Entries as they come, in a nameless file; for each key the places where its own are."""

    def __init__(self, file: BinaryIO, width: int) -> None:
        self._file, self._end = file, 0
        self.width = width
        self.places: dict[Key, list[tuple[int, int]]] = {}
        """Key → (first byte, byte after the last) of each run of its entries."""

    def add(self, key: Key, entries: Iterable[bytes]) -> None:
        width, runs, rest = self.width, self.places.setdefault(key, []), iter(entries)
        while some := list(islice(rest, _AT_ONCE)):
            if set(map(len, some)) != {width}:
                raise InputError(
                    f"entry: found one that has not {width} bytes; give hashes of that length"
                )
            begin, self._end = self._end, self._end + self._file.write(b"".join(some))
            if runs and runs[-1][1] == begin:
                begin = runs.pop()[0]
            runs.append((begin, self._end))
            if self._end > MAX_ENTRIES * width:
                raise InputError(f"found over {MAX_ENTRIES} entries: write several files")
        if len(self.places) > MAX_SECTIONS:
            raise InputError(f"found over {MAX_SECTIONS} scopes: write several files")

    def count(self, key: Key) -> int:
        """How many there are, doubles included."""
        return sum(end - begin for begin, end in self.places[key]) // self.width

    def shares(self, key: Key) -> Iterator[bytes]:
        """A key's entries in shares of their first byte, each unsorted; the shares ascend."""
        # 1, 2, 4 … 256 shares.
        bits = min(8, (self.count(key) // _SHARE).bit_length())
        for share in range(1 << bits):
            parts = []
            for block in self._blocks(key):
                parts.append(_of_share(block, self.width, 8 - bits, share) if bits else block)
            yield b"".join(parts)

    def _blocks(self, key: Key) -> Iterator[bytes]:
        most = _SHARE * self.width
        for begin, end in self.places[key]:
            for start in range(begin, end, most):
                self._file.seek(start)
                yield self._file.read(min(most, end - start))


def _fill(file: BinaryIO, spool: _Spool, header: Header) -> int:
    """Write header, sections and their table; the number of entries."""
    file.write(bytes(HEADER.size))
    sections, place = [], HEADER.size
    for key in sorted(spool.places):
        # An allow-list without entries says that nothing counts; a scope without any says nothing.
        if header.kind == ALLOWED or spool.count(key):
            section = _write_section(file, spool, key, place)
            place = section.index_at + 4 * ((1 << section.bits) + 1)
            sections.append(section)
    for section in sections:
        places = (section.count, section.entries_at, section.index_at)
        key = section.key
        file.write(
            SECTION.pack(key.hash_type, section.bits, key.has_kid, key.country, key.kid, *places)
        )
    header = replace(
        header,
        sections=len(sections),
        entries=sum(section.count for section in sections),
        table_at=place,
        size=place + len(sections) * SECTION.size,
    )
    file.seek(0)
    file.write(header.pack())
    digest = digest_of_file(file)
    file.seek(0)
    file.write(replace(header, digest=digest).pack())
    return header.entries


def _write_section(file: BinaryIO, spool: _Spool, key: Key, place: int) -> Section:
    bits = min(MAX_BITS, max(0, (spool.count(key) // _PER_PREFIX).bit_length() - 1))
    counts = array("I", bytes(4 << bits))
    count = 0
    for share in spool.shares(key):
        entries = _sorted(share, spool.width)
        _count_prefixes(counts, entries, spool.width, bits)
        count += len(entries) // spool.width
        file.write(entries)
    index = array("I", accumulate(counts, initial=0))
    if index.itemsize != 4:
        raise InputError("this platform's integers are not of 32 bits; build the file on another")
    _little_endian(index)
    file.write(index.tobytes())
    return Section(key, bits, count, place, place + count * spool.width)


def _little_endian(numbers: array[int]) -> None:
    import sys

    if sys.byteorder == "big":
        numbers.byteswap()


# --- with numpy, or without it ---------------------------------------------------------------


def _numpy() -> Any:
    try:
        import numpy
    except ImportError:
        return None
    return numpy


def _of_share(block: bytes, width: int, shift: int, share: int) -> bytes:
    """The entries whose first byte is of a share."""
    np = _numpy()
    if np is not None:
        rows = np.frombuffer(block, np.uint8).reshape(-1, width)
        return bytes(rows[rows[:, 0] >> shift == share].tobytes())
    starts = range(0, len(block), width)
    return b"".join(block[at : at + width] for at in starts if block[at] >> shift == share)


def _sorted(block: bytes, width: int) -> bytes:
    """Entries ascending, each once."""
    np = _numpy()
    if np is None:
        return b"".join(sorted({block[at : at + width] for at in range(0, len(block), width)}))
    words = np.frombuffer(block, ">u8").reshape(-1, width // 8)
    # lexsort takes the first key last. Native integers compare ten times as fast as bytes.
    words = words[np.lexsort([column.astype(np.uint64) for column in words.T[::-1]])]
    keep = np.ones(len(words), bool)
    keep[1:] = (words[1:] != words[:-1]).any(axis=1)
    return bytes(words[keep].tobytes())


def _count_prefixes(counts: array[int], entries: bytes, width: int, bits: int) -> None:
    """Add how many entries each prefix of ``bits`` bits has."""
    np = _numpy()
    if np is None:
        for at in range(0, len(entries), width):
            counts[int.from_bytes(entries[at : at + 4], "big") >> (32 - bits)] += 1
        return
    first = np.frombuffer(entries, ">u4")[:: width // 4].astype(np.uint64)
    total = np.frombuffer(counts, np.uint32)
    total += np.bincount((first >> (32 - bits)).astype(np.int64), minlength=len(total)).astype(
        np.uint32
    )
