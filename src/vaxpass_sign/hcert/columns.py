"""The columnar encoder: many records at once, the same bytes as one at a time.

Four things make it fast; none changes a byte of what comes out:

1. The payload is a template with holes, one for each combination of codes, that is filled by
   ``bytes % values``. The template is made by :mod:`vaxpass_sign.hcert.cbor` from real claims, so
   that module stays the definition.
2. Whether to deflate is decided by :func:`framing.worth_deflating`, which seldom says yes.
3. Base45 runs over a whole block of messages in numpy, through a table of 65,536 groups.
4. Work goes stage by stage over blocks of ``BLOCK`` records, which keeps the caches warm.

Needs the extra ``batch`` (numpy). An encoder is immutable; it may be shared by threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from zlib_ng import zlib_ng

from vaxpass_sign.errors import InputError, MissingExtraError
from vaxpass_sign.hcert import base45, cbor, claims, cose, framing
from vaxpass_sign.record.model import VaccinationRecord

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BLOCK", "ColumnEncoder", "Columns", "TextColumn"]

BLOCK = 2000
"""Records that go through the stages together; what a block needs fits a level-2 cache."""


@dataclass(frozen=True, slots=True, repr=False)
class Columns:
    """Records as columns: sequences of equal length n, each value as :class:`VaccinationRecord`
    holds it (so NFC, checked, defaults filled in), and the UVCI of each.
    """

    uvci: Sequence[str]
    surname: Sequence[str]
    given_name: Sequence[str]
    fnt: Sequence[str]
    gnt: Sequence[str]
    birth_date: Sequence[str]
    vaccination_date: Sequence[str]
    dose_number: Sequence[int]
    dose_total: Sequence[int]
    disease: Sequence[str]
    vaccine: Sequence[str]
    product: Sequence[str]
    manufacturer: Sequence[str]
    country: Sequence[str]
    issuer: Sequence[str]

    def __post_init__(self) -> None:
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(lengths.values())) > 1:
            raise InputError(f"found columns of different lengths ({lengths}), expected one length")

    def __len__(self) -> int:
        return len(self.uvci)

    def __repr__(self) -> str:
        return f"Columns({len(self)} rows)"

    @classmethod
    def from_records(cls, records: Sequence[VaccinationRecord], uvcis: Sequence[str]) -> Columns:
        """The columns of records; ``uvcis`` has one UVCI for each record."""
        names = [field.name for field in fields(cls)][1:]
        return cls(uvcis, *([getattr(record, name) for record in records] for name in names))

    def __getitem__(self, rows: slice) -> Columns:
        """Some of the rows."""
        return Columns(*(getattr(self, field.name)[rows] for field in fields(self)))

    def take(self, rows: Sequence[int]) -> Columns:
        """The rows with these numbers, in this order."""
        columns = (getattr(self, field.name) for field in fields(self))
        return Columns(*([column[row] for row in rows] for column in columns))

    def blocks(self, size: int = BLOCK) -> Iterator[Columns]:
        """The rows, ``size`` at a time, in order."""
        for start in range(0, len(self), size):
            yield self[start : start + size]


# --- the payload template ------------------------------------------------------------------

# The holes of a payload in the order of deterministic CBOR. A marker stands in each hole while the
# template is made; its bytes occur nowhere else, because no code or issuer name may hold U+0001.
_HOLES = ("uvci", "dn", "dt", "sd", "dob", "fn", "gn", "fnt", "gnt")
_GIVEN_HOLES = ("gn", "gnt")


def _marker(hole: str) -> str:
    return f"\x01{hole}\x01"


# Heads by length, looked up instead of made; a payload of 80-character names stays far below.
_BSTR_HEADS = [cose.bstr_head(length) for length in range(8192)]
_STORED_HEADS = [framing.stored_head(length) for length in range(8192)]

# Where each hole's value comes from; codes fill the rest.
_HOLE_OF_FIELD = {
    "uvci": "uvci",
    "dose_number": "dn",
    "vaccination_date": "dt",
    "dose_total": "sd",
    "birth_date": "dob",
    "surname": "fn",
    "given_name": "gn",
    "fnt": "fnt",
    "gnt": "gnt",
}
_CODES = ("disease", "vaccine", "product", "manufacturer", "country", "issuer")
_Key = tuple[str, str, str, str, str, str, bool]
"""What decides a template: the codes, and whether there is a given name."""


def _text_head(length: int) -> bytes:
    """The head of a CBOR text string of ``length`` bytes (RFC 8949 §3), shortest form."""
    head = bytearray(cose.bstr_head(length))
    head[0] |= 0x20  # major type 2 becomes 3
    return bytes(head)


_TEXT_HEADS = [_text_head(length) for length in range(1024)]  # 80 characters have at most 320 bytes
_SMALL_INTEGERS = [cbor.encode(n) for n in range(24)]


def _texts(column: Sequence[str]) -> list[bytes]:
    """Each value as a CBOR text string."""
    heads = _TEXT_HEADS
    return [heads[len(data)] + data for data in map(str.encode, column)]


def _repeated_texts(column: Sequence[str]) -> list[bytes]:
    """The same, for a column whose values recur."""
    values = list(set(column))
    known = dict(zip(values, _texts(values), strict=True))
    return [known[value] for value in column]


def _given_texts(column: Sequence[str], given: Sequence[bool]) -> list[bytes]:
    """The same, but nothing at all where there is no given name."""
    texts = _texts(column)
    if not all(given):
        texts = [text if is_given else b"" for text, is_given in zip(texts, given, strict=True)]
    return texts


# --- base45 over a block -------------------------------------------------------------------


@cache
def _base45_tables() -> tuple[NDArray[np.uint32], list[bytes]]:
    """Group of two bytes → three characters in a uint32 (the fourth byte is overwritten by the
    next group), and last byte → two characters.
    """
    try:
        import numpy as np
    except ImportError as error:
        raise MissingExtraError("encoding by columns", "batch") from error
    alphabet = np.frombuffer(base45.ALPHABET.encode(), np.uint8).astype(np.uint32)
    index = np.arange(0x10000)
    # The table is indexed by the little-endian view of two bytes; base45 reads them big-endian.
    value = (index & 0xFF) << 8 | index >> 8
    groups = (
        alphabet[value % 45] | alphabet[value // 45 % 45] << 8 | alphabet[value // 2025 % 45] << 16
    ).astype("<u4")
    return groups, [base45.encode(bytes((n,))).encode() for n in range(256)]


@dataclass(frozen=True, slots=True, repr=False)
class TextColumn:
    """ "HC1:" texts, one behind the other: text n is ``data[offsets[n] : offsets[n + 1]]``.

    It iterates as str. ``data`` is ASCII; ``offsets`` has n + 1 numbers (int32), the layout of an
    Arrow string array.
    """

    data: bytes
    offsets: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[str]:
        text, ends = self.data.decode("ascii"), self.offsets.tolist()
        return (text[start:stop] for start, stop in pairwise(ends))

    @classmethod
    def of(cls, texts: Sequence[str]) -> TextColumn:
        """The column of some texts."""
        import numpy as np

        return cls("".join(texts).encode(), np.cumsum([0, *map(len, texts)], dtype=np.int32))

    @classmethod
    def join(cls, columns: Sequence[TextColumn]) -> TextColumn:
        """The columns as one."""
        return cls.of([text for column in columns for text in column])

    def longest(self) -> int:
        """Characters of the longest text, 0 when there is none."""
        return int((self.offsets[1:] - self.offsets[:-1]).max(initial=0))


def _base45_block(streams: list[bytes]) -> TextColumn:
    """The HC1 text of each zlib stream."""
    import numpy as np

    groups, last_pairs = _base45_tables()
    # Each stream is padded to whole groups; the group of a padded byte is thrown away again.
    words = np.frombuffer(b"".join([s if len(s) & 1 == 0 else s + b"\0" for s in streams]), "<u2")
    buffer = np.empty(len(words) * 3 + 1, np.uint8)
    # Four bytes are written at a stride of three; each write repairs the spare byte before it.
    np.ndarray((len(words),), "<u4", buffer=buffer.data, strides=(3,))[:] = groups.take(words)
    characters = buffer.data
    prefix = framing.PREFIX.encode()
    pieces: list[bytes | memoryview] = []
    lengths, at = [0], 0
    for stream in streams:
        n = len(stream)
        end = at + (n >> 1) * 3
        if n & 1:
            pieces += (prefix, characters[at:end], last_pairs[stream[-1]])
            lengths.append(end - at + 6)
            at = end + 3
        else:
            pieces += (prefix, characters[at:end])
            lengths.append(end - at + 4)
            at = end
    return TextColumn(b"".join(pieces), np.cumsum(lengths, dtype=np.int32))


# --- the encoder ---------------------------------------------------------------------------


class ColumnEncoder:
    """Encodes columns for one issuer, one DSC and one moment.

    ``protected`` is the protected header (:func:`cose.encode_protected`); ``country`` and
    ``issuer_name`` are the issuer's and fill empty values; times are UTC seconds.
    """

    def __init__(
        self,
        *,
        protected: bytes,
        country: str,
        issuer_name: str,
        issued_at_s: int,
        expires_at_s: int,
    ) -> None:
        self._country = country
        self._issuer_name = issuer_name
        # Everything before the DCC: A4 01 iss 04 exp 06 iat 39 0103, as the payload begins.
        outer = {
            claims.CLAIM_ISS: country,
            claims.CLAIM_EXP: expires_at_s,
            claims.CLAIM_IAT: issued_at_s,
            claims.CLAIM_HCERT: None,
        }
        self._before_dcc = cbor.encode(outer)[:-1]
        self._sign_head = cose.sig_structure(protected, b"")[:-1]
        message = cose.encode_sign1(protected, b"", b"")
        self._message_head = message[: message.rindex(b"\x40\x40")]
        self._templates: dict[_Key, bytes] = {}

    def _template(self, key: _Key) -> bytes:
        """The payload of one combination of codes, with a %b for each of ``_HOLES``."""
        *codes, given = key
        values = {field: _marker(hole) for field, hole in _HOLE_OF_FIELD.items()}
        values |= zip(_CODES, codes, strict=True)
        values["country"] = values["country"] or self._country
        values["issuer"] = values["issuer"] or self._issuer_name
        dcc = claims.dcc(values, given)
        rest = self._before_dcc + cbor.encode({claims.SUBCLAIM_EU_DCC: dcc})
        parts = []
        for hole in _HOLES:
            if hole in _GIVEN_HOLES and not given:
                parts.append(b"")  # its value is empty too, so that every template has all holes
                continue
            before, rest = rest.split(cbor.encode(_marker(hole)), 1)
            parts.append(before)
        return b"%b".join(part.replace(b"%", b"%%") for part in (*parts, rest))

    def payloads(self, columns: Columns) -> list[bytes]:
        """The payload of each row: the same bytes as :func:`claims.encode_claims` gives."""
        if not len(columns):
            return []
        c, integers = columns, _SMALL_INTEGERS
        given = [bool(gn or gnt) for gn, gnt in zip(c.given_name, c.gnt, strict=True)]
        codes = [getattr(c, code) for code in _CODES]
        keys: list[_Key] = list(zip(*codes, given, strict=True))
        templates = self._templates
        for key in set(keys) - templates.keys():
            templates[key] = self._template(key)
        values = zip(
            _texts(c.uvci),
            [integers[n] for n in c.dose_number],
            _repeated_texts(c.vaccination_date),
            [integers[n] for n in c.dose_total],
            _texts(c.birth_date),
            _repeated_texts(c.surname),
            _given_texts(c.given_name, given),
            _repeated_texts(c.fnt),
            _given_texts(c.gnt, given),
            strict=True,
        )
        return [templates[key] % filled for key, filled in zip(keys, values, strict=True)]

    def sig_structures(self, payloads: Sequence[bytes]) -> list[bytes]:
        """The bytes to sign for each payload (RFC 9052 §4.4)."""
        head, bstr_heads = self._sign_head, _BSTR_HEADS
        return [b"".join((head, bstr_heads[len(p)], p)) for p in payloads]

    def texts(self, payloads: Sequence[bytes], signatures: Sequence[bytes]) -> TextColumn:
        """The "HC1:" text of each payload with its signature (64 bytes, or a PSS one)."""
        head, bstr_heads, stored_heads = self._message_head, _BSTR_HEADS, _STORED_HEADS
        adler32, join, small = zlib_ng.adler32, b"".join, framing.SMALL_PAYLOAD
        streams = []
        for payload, signature in zip(payloads, signatures, strict=True):
            n = len(payload)
            message = join((head, bstr_heads[n], payload, bstr_heads[len(signature)], signature))
            if n > small:
                streams.append(framing.deflate(message, n))
            else:
                checksum = adler32(message).to_bytes(4, "big")
                streams.append(join((stored_heads[len(message)], message, checksum)))
        return _base45_block(streams)
