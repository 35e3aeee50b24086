"""The beginning of a file or pipe, which says what it is, and the whole with it.

A pipe hands over what has been written so far, which may be less than tells a picture from a text.

>>> from io import BytesIO
>>> file = BufferedReader(BytesIO(b"HC1:6BF"))
>>> head = read_head(file, [b"%PDF-"])
>>> with_head(head, file).read()
b'HC1:6BF'
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BufferedReader, RawIOBase
from typing import Any

__all__ = ["read_head", "with_head"]

_MAX_HEAD = 512


def read_head(file: BufferedReader, magics: Sequence[bytes]) -> bytes:
    """What can be read at once, and more only while it may yet become one of the magic numbers.

    So a line that is typed is answered at once. Empty at the end of the file.
    """
    head = b""
    while any(len(head) < len(magic) and magic.startswith(head) for magic in magics):
        more = file.read1(_MAX_HEAD)
        if not more:
            break
        head += more
    return head


def with_head(head: bytes, rest: BufferedReader) -> BufferedReader:
    """``rest`` with its head before it again. Closing it leaves ``rest`` open."""
    return BufferedReader(_Rejoined(head, rest))


class _Rejoined(RawIOBase):
    def __init__(self, head: bytes, rest: BufferedReader) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._head[: len(buffer)] or self._rest.read1(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)
