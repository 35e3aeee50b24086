"""COSE message ⇄ "HC1:" text: zlib, then base45, then the prefix (eu-dcc-hcert-spec §4).

Writing. A signature does not compress and a payload of under 300 bytes hardly does, so most
messages go into one stored block, which is a valid zlib stream (RFC 1950, RFC 1951 §3.2.4) and
costs half a microsecond instead of thirty. Deflating is tried only where it may make the QR
symbol a version smaller; which messages those are depends on the message alone
(:func:`worth_deflating`), so that one at a time and by columns give the same bytes.

Reading. The text is at most ``MAX_TEXT`` characters, the inflated message at most
``MAX_MESSAGE_BYTES``; the stream must be whole and nothing may follow it.

>>> unframe(frame(b"a message", payload_bytes=4))
b'a message'
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from struct import pack
from typing import Final

from zlib_ng import zlib_ng

from vaxpass_sign.errors import HcertError
from vaxpass_sign.hcert import base45
from vaxpass_sign.hcert.faults import Fault
from vaxpass_sign.hcert.qr_capacity import QR_CAPACITY

__all__ = [
    "MAX_MESSAGE_BYTES",
    "MAX_TEXT",
    "PREFIX",
    "SMALL_PAYLOAD",
    "STORED_OVERHEAD",
    "deflate",
    "frame",
    "inflate",
    "is_hc1",
    "stored",
    "stored_head",
    "text_length",
    "unframe",
    "worth_deflating",
    "zlib_bytes",
]

PREFIX: Final = "HC1:"

MAX_TEXT: Final = 4296
"""Characters of the longest text read: what a QR symbol holds at most (version 40, level L)."""

MAX_MESSAGE_BYTES: Final = 32 * 1024
"""Bytes of the longest message read; the largest published one has under 800."""

STORED_OVERHEAD = 11  # 2 zlib header, 1 + 4 block header, 4 Adler-32 (RFC 1950 §2.2)
_MAX_STORED = 0xFFFF
SMALL_PAYLOAD = 288  # bytes of a payload up to which deflating saves next to nothing


# --- writing -------------------------------------------------------------------------------


def text_length(stream_bytes: int) -> int:
    """Characters of the HC1 text of a zlib stream of so many bytes."""
    return len(PREFIX) + stream_bytes // 2 * 3 + stream_bytes % 2 * 2


def zlib_bytes(characters: int) -> int:
    """The longest zlib stream whose HC1 text has at most so many characters."""
    groups, rest = divmod(characters - len(PREFIX), 3)
    return 2 * groups + (rest == 2)


_ZLIB_BYTES_AT = [zlib_bytes(capacity) for capacity in QR_CAPACITY]
"""The longest zlib stream that a QR symbol of version 1, 2, … 40 holds."""


def worth_deflating(message_bytes: int, payload_bytes: int) -> bool:
    """Whether deflating may save enough to make the QR symbol a version smaller.

    A rule of thumb: up to 288 bytes of payload deflating saves too little for its time
    (docs/decisions/0003; benchmarks/deflate.py), and above it a quarter of what is more is hoped
    for. A wrong guess costs time or a symbol one version larger, and never a wrong byte.
    """
    hoped_for = (payload_bytes - SMALL_PAYLOAD) // 4
    if hoped_for <= 0:
        return False
    length = message_bytes + STORED_OVERHEAD
    smaller = bisect_left(_ZLIB_BYTES_AT, length) - 1
    return smaller >= 0 and length - _ZLIB_BYTES_AT[smaller] <= hoped_for


@lru_cache(maxsize=4096)
def stored_head(length: int) -> bytes:
    """What stands before a stored block of ``length`` bytes, zlib header included."""
    return b"\x78\x01\x01" + pack("<HH", length, length ^ 0xFFFF)


def stored(message: bytes) -> bytes:
    """``message`` (at most 65,535 bytes) as a zlib stream of one stored block."""
    return stored_head(len(message)) + message + pack(">I", zlib_ng.adler32(message))


def deflate(message: bytes, payload_bytes: int) -> bytes:
    """``message`` as a zlib stream: stored, or deflated where that is worth it and shorter."""
    if len(message) > _MAX_STORED:
        return bytes(zlib_ng.compress(message, 9))
    if not worth_deflating(len(message), payload_bytes):
        return stored(message)
    deflated = zlib_ng.compress(message, 9)
    return deflated if len(deflated) < len(message) + STORED_OVERHEAD else stored(message)


def frame(message: bytes, payload_bytes: int) -> str:
    """The "HC1:" text of a COSE message whose payload has ``payload_bytes`` bytes."""
    return PREFIX + base45.encode(deflate(message, payload_bytes))


# --- reading -------------------------------------------------------------------------------


def unframe(text: str) -> bytes:
    """The COSE message inside an "HC1:" text.

    Raises: HcertError with TOO_LONG, NOT_HC1, BASE45, NOT_COMPRESSED, INFLATE or
    INFLATED_TOO_LARGE.
    """
    if is_hc1(text):
        return inflate(base45.decode(text[len(PREFIX) :]))
    if not isinstance(text, str) or not text.startswith(PREFIX):
        raise HcertError(
            Fault.NOT_HC1, 'found no "HC1:" at the beginning, expected an EU-style credential'
        )
    raise HcertError(
        Fault.TOO_LONG,
        f"found {len(text)} characters, expected at most {MAX_TEXT}: no QR symbol holds more",
    )


def is_hc1(text: object) -> bool:
    """Whether it is a text that begins with the prefix and is not too long."""
    return isinstance(text, str) and text.startswith(PREFIX) and len(text) <= MAX_TEXT


def inflate(data: bytes) -> bytes:
    """The bytes of one whole zlib stream (RFC 1950), bounded.

    Raises: HcertError with NOT_COMPRESSED, INFLATE or INFLATED_TOO_LARGE.
    """
    # CM = 8 and a header that divides by 31 (RFC 1950 §2.2) tell a zlib stream from anything else.
    if len(data) < 2 or data[0] & 0x0F != 8 or int.from_bytes(data[:2], "big") % 31:
        raise HcertError(
            Fault.NOT_COMPRESSED,
            "found bytes without a zlib header, expected a compressed message (RFC 1950)",
        )
    # What is one stored block from end to end, as this library writes it, is cut out as it stands.
    length = len(data) - STORED_OVERHEAD
    if 0 <= length <= MAX_MESSAGE_BYTES and data[:7] == stored_head(length):
        message = data[7:-4]
        if zlib_ng.adler32(message).to_bytes(4, "big") == data[-4:]:
            return message
    stream = zlib_ng.decompressobj()
    try:
        message = stream.decompress(data, MAX_MESSAGE_BYTES + 1)
    except zlib_ng.error as error:  # type: ignore[misc]  # its stub calls the class a variable
        raise HcertError(
            Fault.INFLATE, "found a broken zlib stream: scan or copy it again"
        ) from error
    if len(message) > MAX_MESSAGE_BYTES:
        raise HcertError(
            Fault.INFLATED_TOO_LARGE,
            f"found a message of more than {MAX_MESSAGE_BYTES} bytes: do not trust it",
        )
    if not stream.eof:
        raise HcertError(Fault.INFLATE, "found a zlib stream cut short: scan or copy it again")
    if stream.unused_data:
        raise HcertError(
            Fault.INFLATE, f"found {len(stream.unused_data)} bytes after the zlib stream"
        )
    return bytes(message)
