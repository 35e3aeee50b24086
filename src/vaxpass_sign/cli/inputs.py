"""What ``verify`` and ``inspect`` are given: payloads, files, pictures, standard input.

>>> [item] = read_inputs(["HC1:6BF"])
>>> item.text, item.place
('HC1:6BF', 'argument 1')
"""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import cast

from vaxpass_sign.cli.output import tell
from vaxpass_sign.errors import InputError, VaxpassError

__all__ = ["Payload", "Unread", "read_inputs"]

MAX_LINE = 10_000
"""Characters of the longest line that is kept; no payload has as many, and none is read further."""

_MAX_NAME = 255
_HEAD = 512
_TEXT_CONTROLS = frozenset("\t\n\r\f\x1b")


@dataclass(frozen=True, slots=True)
class Payload:
    """A text and where it came from: ``source`` is a file's name or ``argument 2``."""

    text: str
    source: str
    line: int | None = None

    @property
    def place(self) -> str:
        """Where it came from, for a person."""
        return self.source if self.line is None else f"{self.source}, line {self.line}"


@dataclass(frozen=True, slots=True)
class Unread:
    """An input that could not be read, and why."""

    source: str
    error: VaxpassError


def read_inputs(arguments: Iterable[str] | None) -> Iterator[Payload | Unread]:
    """Every payload of the arguments, in order; without arguments, standard input's.

    An argument is ``-`` (standard input), a payload (it begins as one, or can't be meant as a
    file's name), a PNG or JPEG picture, or a file with one payload a line.
    """
    for number, argument in enumerate(arguments or ["-"], start=1):
        source = "standard input" if argument == "-" else argument
        try:
            if argument == "-":
                yield from _standard_input(source)
            elif _is_payload(argument):
                source = f"argument {number}"
                yield Payload(argument, source)
            else:
                with Path(argument).open("rb") as file:
                    yield from _payloads(file, source)
        except OSError as error:
            yield Unread(source, _unreadable(source, error))
        except VaxpassError as error:
            yield Unread(source, error)


def _is_payload(argument: str) -> bool:
    """Whether an argument is a payload rather than a file's name."""
    # A credential's text has a prefix of two letters, a digit and a colon.
    prefixed = argument[:2].isalpha() and argument[2:3].isdigit() and argument[3:4] == ":"
    if prefixed or len(argument) > _MAX_NAME:
        return True
    try:
        if Path(argument).exists():
            return False
    except OSError:
        return True  # in bytes it is too long for a name
    # Nothing is there: a text without a dot or slash was hardly meant as a file.
    return "/" not in argument and "." not in argument


def _standard_input(source: str) -> Iterator[Payload]:
    if sys.stdin is None:
        raise InputError("standard input is closed, expected payloads there, one a line")
    if sys.stdin.isatty():
        tell("waiting for payloads: paste or scan one a line, and end with Ctrl-D")
    yield from _payloads(cast("BufferedReader", sys.stdin.buffer), source)


def _payloads(file: BufferedReader, source: str) -> Iterator[Payload]:
    from vaxpass_sign.qr import MAX_PICTURE_BYTES, is_picture, read_qr

    head = file.peek(_HEAD)[:_HEAD]
    if not head:
        raise InputError(f"{source}: found nothing, expected payloads or a picture")
    if is_picture(head):
        picture = file.read(MAX_PICTURE_BYTES + 1)
        try:
            yield Payload(read_qr(picture), source)
        except InputError as error:
            raise InputError(f"{source}: {error}") from error
    elif _is_text(head):
        yield from _lines(file, source)
    else:
        raise InputError(
            f"{source}: found neither text nor PNG nor JPEG, expected one payload a line or a "
            "picture: save a picture of another kind as PNG"
        )


def _is_text(head: bytes) -> bool:
    """Whether a file's beginning is UTF-8 without the control characters of binary files."""
    if head.startswith(b"HC1:"):
        return True  # damaged further on, perhaps: the Verdict says so
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return not any(c < " " and c not in _TEXT_CONTROLS for c in text)


def _lines(file: BufferedReader, source: str) -> Iterator[Payload]:
    number = found = 0
    while raw := file.readline(MAX_LINE):
        number += 1
        rest = raw
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE)
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        # Base45 has the space in its alphabet, so only the line's end is cut off.
        text = raw.decode("utf-8", "replace").rstrip("\r\n").lstrip()
        if text:
            found += 1
            yield Payload(text, source, number)
    if not found:
        raise InputError(f"{source}: found no payload, expected one a line")


def _unreadable(source: str, error: OSError) -> InputError:
    return InputError(
        f"{source} can't be read: {error.strerror}; expected a file with one payload a line, or a "
        "PNG or JPEG picture"
    )
