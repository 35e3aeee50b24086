"""The file of sorted entries that a revocation store and an allow-list are.

Little-endian, one part after the other:

* the header, 96 bytes: magic ``VXPREVOC``, version, kind (1 revoked, 2 allowed), bytes of an entry
  (16 or 32), sections, entries, when it was made and when its silence stops to count (UTC
  seconds), where the table of sections begins, the file's length, and SHA-256 over the whole file
  with these 32 bytes as zeros;
* for each section its entries, ascending, none twice; then its index: for each value of the first
  ``bits`` bits of an entry the number of the first entry with at least that value, 4 bytes each,
  and the number of entries at the end;
* the table of sections, 40 bytes each, ascending: hash type, bits, whether it is for one kid,
  country, kid, number of entries, where the entries and the index begin.

A look-up reads two numbers of the index and, among honest hashes, some five entries: the file is
mapped into memory, and pages that were never asked for are never read. Where entries crowd under
one prefix it bisects.

The hash tells damage, and a store made by this library is sorted. It is no signature: whoever can
write the file decides what is revoked, so keep it where only an administrator can write. Whatever
the bytes are, nothing outside of them is read, nothing is unbounded, and what can't be a store is
a TrustError. One thing can't be helped: cutting a file short while it is open ends the process
that has it mapped (SIGBUS). :mod:`vaxpass_sign.durable` replaces a file and never cuts it.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, NamedTuple, Self

from vaxpass_sign.errors import InputError, TrustError
from vaxpass_sign.files import open_regular

__all__ = [
    "HEADER",
    "MAGIC",
    "MAX_BITS",
    "MAX_ENTRIES",
    "MAX_SECTIONS",
    "SECTION",
    "VERSION",
    "Header",
    "Key",
    "Section",
    "Table",
    "digest_of",
    "digest_of_file",
]

MAGIC: Final = b"VXPREVOC"
VERSION: Final = 1
HEADER: Final = struct.Struct("<8sHHHHIIQqqQQ32s")
SECTION: Final = struct.Struct("<BBH4s8sQQQ")

MAX_ENTRIES: Final = 1 << 30
"""Entries of a file at most: the index counts in 32 bits."""
MAX_SECTIONS: Final = 100_000
"""Sections at most: hash types times kids."""
MAX_BITS: Final = 24
"""Bits of a prefix at most: an index of 64 MiB."""

_NUMBER: Final = struct.Struct("<I")
_PAIR_AT: Final = struct.Struct("<II").unpack_from
_PREFIX_OF: Final = struct.Struct(">I").unpack_from
_PREFIX_BITS: Final = 32
_SEARCHED_AT_MOST: Final = 32
"""Entries that are searched one after the other; more are halved first."""
_DIGEST_AT: Final = HEADER.size - 32
_BLOCK: Final = 1 << 20
_MAX_TIME: Final = 253_402_300_799  # 9999-12-31T23:59:59Z

Buffer = bytes | mmap.mmap


class Key(NamedTuple):
    """What a section is for. ``country``: 4 bytes, letters and then zeros; ``kid``: 8 bytes.

    ``hash_type``: a number; ``has_kid``: 0 where the kid is unknown (and its bytes are zeros).
    """

    hash_type: int
    has_kid: int
    country: bytes
    kid: bytes


@dataclass(frozen=True, slots=True)
class Section:
    """Where a section's ``count`` entries and its index begin, in bytes from the file's start."""

    key: Key
    bits: int
    count: int
    entries_at: int
    index_at: int


@dataclass(frozen=True, slots=True)
class Header:
    """What the header says; times are UTC seconds."""

    kind: int
    width: int
    sections: int
    entries: int
    created_s: int
    expires_s: int
    table_at: int
    size: int
    digest: bytes = bytes(32)

    def pack(self) -> bytes:
        """The header's 96 bytes."""
        return HEADER.pack(
            *(MAGIC, VERSION, self.kind, self.width, 0, self.sections, 0, self.entries),
            *(self.created_s, self.expires_s, self.table_at, self.size, self.digest),
        )


class Table:
    """An open file of sorted entries. Threads may share it, and forked children.

    ``name`` stands for it in messages.
    """

    def __init__(self, data: Buffer, name: str, kind: int, width: int) -> None:
        """Check header, table of sections and the ends of each index; not the hash, not the order.

        Raises: TrustError when it can't be such a file.
        """
        self._data, self.name, self._width = data, name, width
        self.header = self._read_header(kind, width)
        self.sections = {section.key: section for section in self._read_sections()}

    @classmethod
    def open(cls, path: Path, kind: int, width: int, *, check: bool = True) -> Self:
        """Map a file into memory.

        ``check``: compare the hash, which reads the whole file once (about 0.1 s for 160 MB).

        Raises: TrustError when it can't be read, or is not what was written.
        """
        name = str(path)
        try:
            with open_regular(path) as file:
                size = os.fstat(file.fileno()).st_size
                # An empty file can't be mapped; the header's check says what is wrong with it.
                data: Buffer = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) if size else b""
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise TrustError(
                f"{name} can't be read: {reason}; expected a file of revocation entries"
            ) from error
        try:
            table = cls(data, name, kind, width)
            if check:
                table.check_digest()
        except BaseException:
            if isinstance(data, mmap.mmap):
                data.close()
            raise
        return table

    def holds(self, section: Section, entry: bytes) -> bool:
        """Whether a section has an entry; exact.

        Raises: TrustError when the index is not one; InputError for an entry of another length.
        """
        if len(entry) != self.header.width:
            raise InputError(f"entry: found {len(entry)} bytes, expected {self.header.width}")
        return self.finder(section)(entry)

    def finder(self, section: Section) -> Callable[[bytes], bool]:
        """:meth:`holds` for one section, for entries that are known to have the right length."""
        # A closure over plain values: looking each of them up would cost as much as the search.
        data, width, find, narrow = self._data, self.header.width, self._data.find, self._narrow
        index_at, first, count = section.index_at, section.entries_at, section.count
        shift, prefix_of, pair_at = _PREFIX_BITS - section.bits, _PREFIX_OF, _PAIR_AT
        most = _SEARCHED_AT_MOST

        def holds(entry: bytes) -> bool:
            low, high = pair_at(data, index_at + 4 * (prefix_of(entry)[0] >> shift))
            if not 0 <= high - low <= most or high > count:
                low, high = narrow(entry, low, high, first, count)
            end = first + high * width
            at = find(entry, first + low * width, end)
            while at >= 0:
                # The same bytes may stand across two entries: that is none.
                if not (at - first) % width:
                    return True
                at = find(entry, at + 1, end)
            return False

        return holds

    def _narrow(self, entry: bytes, low: int, high: int, first: int, count: int) -> tuple[int, int]:
        """The few entries from ``low`` to ``high`` among which it is, if it is there at all."""
        if not low <= high <= count:
            raise self._error("an index that does not ascend", "the numbers of its entries")
        while high - low > _SEARCHED_AT_MOST:
            middle = (low + high) // 2
            at = first + middle * self._width
            found = self._data[at : at + self._width]
            if found == entry:
                return middle, middle + 1
            if found < entry:
                low = middle + 1
            else:
                high = middle
        return low, high

    def entries(self, section: Section) -> Iterator[bytes]:
        """A section's entries in their order."""
        width, end = self.header.width, section.entries_at + section.count * self.header.width
        for start in range(section.entries_at, end, _BLOCK):
            block = self._data[start : min(start + _BLOCK, end)]
            yield from (block[at : at + width] for at in range(0, len(block), width))

    def check_digest(self) -> None:
        """Raises: TrustError when the file is not what was written."""
        if digest_of(self._data) != self.header.digest:
            raise self._error("other contents than its SHA-256 says", "those that were written")

    def check_order(self) -> None:
        """Walk through everything: entries ascend, and stand where the index says.

        A store of this library does; this is for files of unknown makers (about 0.3 µs an entry).

        Raises: TrustError that says what is wrong.
        """
        for section in self.sections.values():
            counts = [0] * ((1 << section.bits) + 1)
            shift, before = _PREFIX_BITS - section.bits, b""
            for entry in self.entries(section):
                if entry <= before:
                    raise self._error("entries that do not ascend", "each after the one before")
                counts[(_PREFIX_OF(entry)[0] >> shift) + 1] += 1
                before = entry
            total = 0
            for number, count in enumerate(counts):
                total += count
                if self._number(section.index_at + 4 * number) != total:
                    raise self._error("an index of other entries", "that of its own")

    def close(self) -> None:
        """Unmap the file; a second close does nothing. Look-ups after it raise ValueError."""
        if isinstance(self._data, mmap.mmap):
            self._data.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- reading what the file says of itself ----------------------------------------------

    def _read_header(self, kind: int, width: int) -> Header:
        size = len(self._data)
        if size < HEADER.size or self._data[: len(MAGIC)] != MAGIC:
            raise self._error(f"{size} bytes of something else", "a file of revocation entries")
        _, version, kind_found, width_found, zero, sections, zero_too, *facts = HEADER.unpack_from(
            self._data
        )
        if version != VERSION:
            raise self._error(f"version {version}", f"{VERSION}", "use the program that made it")
        header = Header(kind_found, width_found, sections, *facts)
        if (header.kind, header.width) != (kind, width):
            raise self._error(
                f"kind {header.kind} with entries of {header.width} bytes",
                f"kind {kind} with {width}",
                "an allow-list is no revocation store; give the other file",
            )
        if header.size != size:
            raise self._error(f"{size} bytes", f"{header.size} by its header")
        if zero or zero_too:
            raise self._error("values that this version does not write", "zeros")
        if header.entries > MAX_ENTRIES or header.sections > MAX_SECTIONS:
            raise self._error(
                f"{header.entries} entries in {header.sections} sections",
                f"at most {MAX_ENTRIES} in {MAX_SECTIONS}",
            )
        if not (0 <= header.created_s <= _MAX_TIME and 0 <= header.expires_s <= _MAX_TIME):
            raise self._error("times outside the years 1970 to 9999", "UTC seconds")
        if (
            header.table_at < HEADER.size
            or header.table_at + header.sections * SECTION.size != size
        ):
            raise self._error("a table of sections in another place", "one at its end")
        return header

    def _read_sections(self) -> Iterator[Section]:
        total, place, before = 0, HEADER.size, None
        for number in range(self.header.sections):
            at = self.header.table_at + number * SECTION.size
            hash_type, bits, has_kid, country, kid, *places = SECTION.unpack_from(self._data, at)
            section = Section(Key(hash_type, has_kid, country, kid), bits, *places)
            if before is not None and section.key <= before:
                raise self._error("sections that do not ascend", "each after the one before")
            place = self._check_section(section, place)
            total, before = total + section.count, section.key
            yield section
        if total != self.header.entries or place != self.header.table_at:
            raise self._error(f"{total} entries", f"{self.header.entries} by its header")

    def _check_section(self, section: Section, place: int) -> int:
        """Where the section ends that must begin at ``place``.

        None overlaps another, so that a small file can't claim a large content.
        """
        if section.bits > MAX_BITS or section.key.has_kid > 1:
            raise self._error("a section that this version does not write", "one that it does")
        index_at = section.entries_at + section.count * self.header.width
        end = index_at + 4 * ((1 << section.bits) + 1)
        if (section.entries_at, section.index_at) != (place, index_at):
            raise self._error("sections with gaps or overlaps", "one right after the other")
        if end > self.header.table_at:
            raise self._error("a section outside of the file", "one inside of it")
        if (self._number(index_at), self._number(end - 4)) != (0, section.count):
            raise self._error("an index with other ends", "0 and the number of entries")
        return end

    def _number(self, at: int) -> int:
        return int(_NUMBER.unpack_from(self._data, at)[0])

    def _error(self, found: str, expected: str, then: str = "get or build it again") -> TrustError:
        return TrustError(f"{self.name}: found {found}, expected {expected}; {then}")


def digest_of(data: Buffer) -> bytes:
    """SHA-256 of a file of at least the header's length, its own 32 bytes taken for zeros."""
    starts = range(HEADER.size, len(data), _BLOCK)
    return _digest(data[: HEADER.size], (data[start : start + _BLOCK] for start in starts))


def digest_of_file(file: BinaryIO) -> bytes:
    """The same of an open file, read block by block from its beginning."""
    file.seek(0)
    return _digest(file.read(HEADER.size), iter(lambda: file.read(_BLOCK), b""))


def _digest(header: bytes, rest: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256(header[:_DIGEST_AT] + bytes(32))
    for block in rest:
        digest.update(block)
    return digest.digest()
