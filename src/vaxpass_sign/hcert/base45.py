"""Base45 (RFC 9285), one text at a time; many are read together by numpy.

Two bytes make three characters, a last single byte makes two. Reading is strict: only the 45
characters, no length of 1 modulo 3, no group above 65,535 or 255 (RFC 9285 §6).

>>> encode(b"AB"), encode(b"Hello!!"), decode("QED8WEX0")
('BB8', '%69 VD92EX0', b'ietf!')
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import unpack
from typing import Final

from vaxpass_sign.errors import HcertError
from vaxpass_sign.hcert.faults import Fault

__all__ = ["ALPHABET", "decode", "decode_many", "encode"]

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"

_PAIRS = [ALPHABET[n % 45] + ALPHABET[n // 45] for n in range(45 * 45)]
_INVALID = 255
_VALUES = bytes(ALPHABET.find(chr(n)) if chr(n) in ALPHABET else _INVALID for n in range(256))


def encode(data: bytes) -> str:
    """The base45 text of ``data``: 3 characters for 2 bytes."""
    words = unpack(f">{len(data) // 2}H", data[: len(data) & ~1])
    text = "".join([_PAIRS[word % 2025] + ALPHABET[word // 2025] for word in words])
    return text + _PAIRS[data[-1]] if len(data) & 1 else text


def decode(text: str) -> bytes:
    """The bytes that a base45 text stands for.

    Raises: HcertError (BASE45) for any character, length or group that RFC 9285 does not allow.
    """
    try:
        values = text.encode("ascii").translate(_VALUES)
    except UnicodeEncodeError:
        raise _error("a character outside its alphabet") from None
    whole, rest = divmod(len(values), 3)
    if rest == 1:
        raise _error(f"{len(values)} characters, one too many or cut short")
    if _INVALID in values:
        raise _error("a character outside its alphabet")
    end = whole * 3
    # Each group in four bytes of one long integer, so that one sum does all groups: a group is at
    # most 44 * (1 + 45 + 2025) = 91,124 and never carries into the next.
    lanes = bytearray(4 * whole)
    lanes[3::4] = values[0:end:3]
    a = int.from_bytes(lanes, "big")
    lanes[3::4] = values[1:end:3]
    b = int.from_bytes(lanes, "big")
    lanes[3::4] = values[2:end:3]
    c = int.from_bytes(lanes, "big")
    groups = (a + 45 * (b + 45 * c)).to_bytes(4 * whole, "big")
    if groups[1::4].count(0) != whole:
        raise _error("a group of three characters above 65535")
    data = bytearray(2 * whole)
    data[0::2], data[1::2] = groups[2::4], groups[3::4]
    if rest:
        last = values[end] + 45 * values[end + 1]
        if last > 0xFF:
            raise _error("a last pair of characters above 255")
        data.append(last)
    return bytes(data)


def decode_many(texts: Sequence[str]) -> list[bytes | None]:
    """The bytes of each text, None for one that :func:`decode` refuses.

    With numpy (the extra ``batch``) all together; without it, or when any text is refused, one at
    a time.
    """
    decoded = _decode_together(texts)
    return [_decode_or_none(text) for text in texts] if decoded is None else decoded


_FEW: Final = 16
"""Fewer than these are as soon read one by one, and numpy is not imported for them."""


def _decode_or_none(text: str) -> bytes | None:
    try:
        return decode(text)
    except HcertError:
        return None


def _decode_together(texts: Sequence[str]) -> list[bytes | None] | None:
    """The bytes of each text; None when any is refused, they are few, or numpy is missing."""
    rests = [len(text) % 3 for text in texts]
    if len(texts) < _FEW or 1 in rests:
        return None
    try:
        import numpy as np
    except ImportError:
        return None
    # A last pair is filled up to a group of three by "0", which adds nothing to its value.
    groups = "".join(
        [f"{text}0" if rest else text for text, rest in zip(texts, rests, strict=True)]
    )
    try:
        values = groups.encode("ascii").translate(_VALUES)
    except UnicodeEncodeError:
        return None
    if _INVALID in values:
        return None
    characters = np.frombuffer(values, np.uint8)
    words = characters[2::3].astype(np.uint32)
    for place in (1, 0):
        words *= 45
        words += characters[place::3]
    ends = np.cumsum([(len(text) + 2) // 3 for text in texts])
    pairs = ends[np.array(rests) == 2] - 1
    if words.max(initial=0) > 0xFFFF or words[pairs].max(initial=0) > 0xFF:
        return None
    words[pairs] <<= 8  # so that its byte is the first of the two
    data = words.astype(">u2").tobytes()
    decoded: list[bytes | None] = []
    start = 0
    for end, rest in zip((2 * ends).tolist(), rests, strict=True):
        decoded.append(data[start : end - 1 if rest else end])
        start = end
    return decoded


def _error(found: str) -> HcertError:
    return HcertError(
        Fault.BASE45, f"found {found}, expected base45 (RFC 9285): scan or copy it again"
    )
