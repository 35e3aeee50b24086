"""Base45 (RFC 9285), one text at a time.

Two bytes make three characters, a last single byte makes two. Reading is strict: only the 45
characters, no length of 1 modulo 3, no group above 65,535 or 255 (RFC 9285 §6).

>>> encode(b"AB"), encode(b"Hello!!"), decode("QED8WEX0")
('BB8', '%69 VD92EX0', b'ietf!')
"""

from __future__ import annotations

from struct import pack, unpack

from vaxpass_sign.errors import HcertError
from vaxpass_sign.hcert.faults import Fault

__all__ = ["ALPHABET", "decode", "encode"]

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
    words = [
        a + 45 * b + 2025 * c
        for a, b, c in zip(values[0:end:3], values[1:end:3], values[2:end:3], strict=True)
    ]
    if words and max(words) > 0xFFFF:
        raise _error("a group of three characters above 65535")
    data = pack(f">{whole}H", *words)
    if not rest:
        return data
    last = values[end] + 45 * values[end + 1]
    if last > 0xFF:
        raise _error("a last pair of characters above 255")
    return data + bytes((last,))


def _error(found: str) -> HcertError:
    return HcertError(
        Fault.BASE45, f"found {found}, expected base45 (RFC 9285): scan or copy it again"
    )
