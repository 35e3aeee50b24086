"""What ``verify`` and ``inspect`` are given: payloads, files, pictures, standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vaxpass_sign.errors import InputError, VaxpassError

__all__ = ["Payload", "read_payloads"]

MAX_LINE = 100_000
"""Characters of the longest line read; a longer one is no payload."""

_MAX_NAME = 255


@dataclass(frozen=True, slots=True)
class Payload:
    """A text and where it came from (never the text itself): a file's name, and its line."""

    text: str
    source: str
    line: int | None = None

    @property
    def place(self) -> str:
        """Where it came from, for a person."""
        return self.source if self.line is None else f"{self.source}, line {self.line}"


def read_payloads(arguments: Iterable[str]) -> Iterator[Payload | VaxpassError]:
    """Every payload of the arguments, in order; an argument that can't be read gives its error.

    An argument is ``-`` (standard input, one payload a line), a payload (it begins with HC1: or the
    like, or is no possible file name), a PNG or JPEG picture, or a file with one payload a line.
    """
    for number, argument in enumerate(arguments, start=1):
        try:
            if argument == "-":
                yield from _lines(sys.stdin.buffer, "standard input")
            elif _is_payload(argument):
                yield Payload(argument, f"argument {number}")
            else:
                yield from _file(Path(argument))
        except VaxpassError as error:
            yield error


def _is_payload(argument: str) -> bool:
    """Whether an argument is a payload rather than a file's name."""
    # A credential's text has a prefix of two letters, a digit and a colon.
    if len(argument) > _MAX_NAME or (argument[:2].isalpha() and argument[2:4] in _VERSIONS):
        return True
    if Path(argument).exists():
        return False
    # Nothing is there: a text without a dot or slash was hardly meant as a file.
    return "/" not in argument and "." not in argument


_VERSIONS = frozenset(f"{n}:" for n in range(10))


def _file(path: Path) -> Iterator[Payload]:
    from vaxpass_sign.qr import is_picture, read_qr

    try:
        with path.open("rb") as file:
            head = file.read(16)
            if not head:
                raise InputError(f"{path}: found an empty file, expected payloads or a picture")
            if is_picture(head):
                yield Payload(read_qr(path), str(path))
                return
            file.seek(0)
            yield from _lines(file, str(path))
    except OSError as error:
        raise InputError(
            f"{path} can't be read: {error.strerror}; expected a file with one payload a line, or "
            "a PNG or JPEG picture"
        ) from error


def _lines(file: Iterable[bytes], source: str) -> Iterator[Payload]:
    readline = getattr(file, "readline")  # noqa: B009 (bounded, unlike iteration)
    number = found = 0
    while raw := readline(MAX_LINE):
        number += 1
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        # Base45 has the space in its alphabet, so only the line's end is cut off.
        text = raw.decode("utf-8", "replace").rstrip("\r\n").lstrip()
        if text:
            found += 1
            yield Payload(text, source, number)
    if not found:
        raise InputError(f"{source}: found no payload, expected one a line")
