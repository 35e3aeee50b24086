"""What ``verify`` and ``inspect`` are given: payloads, files, pictures, PDFs, folders, pipes.

What a file is its first bytes say, not its name; no more than one file is in memory at a time.

>>> [item] = read_inputs(["HC1:6BF"])
>>> item.text, item.place
('HC1:6BF', 'argument 1')
"""

from __future__ import annotations

import codecs
import os
import resource
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import cast

from vaxpass_sign.check.payload_files import (
    MAX_LINE,
    PayloadBlock,
    TextBlock,
    count_lines,
    count_rows,
    is_parquet,
    parquet_blocks,
    text_blocks,
)
from vaxpass_sign.cli.folder import files_of, open_in_folder
from vaxpass_sign.cli.heads import read_head, with_head
from vaxpass_sign.cli.output import tell
from vaxpass_sign.errors import InputError, VaxpassError

__all__ = ["InBlocks", "Input", "Payload", "PayloadFile", "Unread", "read_inputs", "read_many"]

_MAX_NAME = 255
_LONG_BYTES = 4 << 20
_MAX_MEMORY = 4 << 30
_TEXT_CONTROLS = frozenset("\t\n\r\f\x1b")

_EXPECTED = "expected a file with one payload a line, a PNG or JPEG picture, a PDF, or a folder"


@dataclass(frozen=True, slots=True)
class Payload:
    """A text and where it came from.

    ``source`` is a file's name or ``argument 2``, and says which page of a PDF and which of several
    QR codes it was.
    """

    text: str
    source: str
    line: int | None = None

    @property
    def place(self) -> str:
        """Where it came from, for a person."""
        return self.source if self.line is None else f"{self.source}, line {self.line}"


@dataclass(frozen=True, slots=True)
class PayloadFile:
    """A file of any number of payloads, to be taken before the next input is asked for."""

    source: str
    blocks: Iterator[PayloadBlock]
    total: int
    """How many lines or rows it has, 0 where that is not known."""


@dataclass(frozen=True, slots=True)
class Unread:
    """An input that could not be read, and why."""

    source: str
    error: VaxpassError


Input = Payload | PayloadFile | Unread


@dataclass(frozen=True, slots=True)
class InBlocks:
    """How files of many payloads are read, for who verifies them on all cores."""

    column: str
    """The column of a Parquet table that has the payloads."""
    pipes: bool
    """Whether pipes are read so too; else a line is given as soon as it is there."""


def read_inputs(arguments: Iterable[str] | None) -> Iterator[Payload | Unread]:
    """Every payload of the arguments, in order; without arguments, standard input's.

    An argument is ``-`` (standard input), a payload (it begins as one, or can't be meant as a
    file's name), a file or pipe, or a folder, which stands for its files. A file is a PNG or JPEG
    picture, a PDF, or has one payload a line.
    """
    return cast("Iterator[Payload | Unread]", _inputs(arguments, None))


def read_many(arguments: Iterable[str] | None, how: InBlocks) -> Iterator[Input]:
    """The same; a file with one payload a line, or a Parquet table, is given as a whole."""
    return _inputs(arguments, how)


def _inputs(arguments: Iterable[str] | None, how: InBlocks | None) -> Iterator[Input]:
    for number, argument in enumerate(arguments or ["-"], start=1):
        source = "standard input" if argument == "-" else argument
        try:
            if argument == "-":
                yield from _standard_input(source, how)
            elif _is_payload(argument):
                source = f"argument {number}"
                yield Payload(argument, source)
            elif Path(argument).is_dir():
                yield from _folder(Path(argument), how)
            else:
                with Path(argument).open("rb") as file:
                    yield from _payloads(file, source, how)
        except OSError as error:
            yield Unread(source, _unreadable(source, error))
        except VaxpassError as error:
            yield Unread(source, error)


def _is_payload(argument: str) -> bool:
    """Whether an argument is a payload rather than a file's name."""
    if _is_prefixed(argument) or len(argument) > _MAX_NAME:
        return True
    try:
        if Path(argument).exists():
            return False
    except OSError:
        return True  # in bytes it is too long for a name
    # Nothing is there: a text without a dot or slash was hardly meant as a file.
    return "/" not in argument and "." not in argument


def _is_prefixed(text: str) -> bool:
    """Whether it begins as a credential's text does: with two letters, a digit and a colon."""
    return text[:2].isalpha() and text[2:3].isdigit() and text[3:4] == ":"


def _standard_input(source: str, how: InBlocks | None) -> Iterator[Input]:
    if sys.stdin is None:
        raise InputError("standard input is closed, expected payloads there, one a line")
    if sys.stdin.isatty():
        tell("waiting for payloads: paste or scan one a line, and end with Ctrl-D")
    yield from _payloads(cast("BufferedReader", sys.stdin.buffer), source, how)


def _folder(folder: Path, how: InBlocks | None) -> Iterator[Input]:
    for path in files_of(folder):
        source = str(path)
        try:
            with open_in_folder(path) as file:
                yield from _payloads(file, source, how, in_folder=True)
        except OSError as error:
            yield Unread(source, _unreadable(source, error))
        except VaxpassError as error:
            yield Unread(source, error)


def _payloads(
    file: BufferedReader, source: str, how: InBlocks | None, *, in_folder: bool = False
) -> Iterator[Input]:
    from vaxpass_sign.qr import (
        MAGICS,
        MAX_PDF_BYTES,
        MAX_PICTURE_BYTES,
        is_pdf,
        is_picture,
        read_pdf,
        read_qrs,
    )

    head = read_head(file, MAGICS)
    if not head:
        raise InputError(f"{source}: found nothing, expected payloads, a picture or a PDF")
    whole = with_head(head, file)
    try:
        if is_picture(head):
            found = read_qrs(whole.read(MAX_PICTURE_BYTES + 1))
            yield from _codes(found.texts, source)
            if found.damaged:
                raise found.error("the picture")
            return
        if is_pdf(head):
            for page in read_pdf(whole.read(MAX_PDF_BYTES + 1)):
                place = f"{source}, page {page.number}"
                yield from _codes(page.texts, place)
                if page.error is not None:
                    yield Unread(place, InputError(f"{place}: {page.error}"))
            return
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    if is_parquet(head):
        yield _table(file, source, how)
        return
    if not _is_text(head):
        raise InputError(
            f"{source}: found neither text nor PNG nor JPEG nor PDF, {_EXPECTED}: save a picture "
            "of another kind as PNG"
        )
    if in_folder and not _begins_with_payload(head):
        # By itself it is read line by line. Beside pictures it is a note or a table, most likely.
        raise InputError(
            f"{source}: found a text that does not begin as a payload does, expected one a line: "
            "give it by itself to have each line judged"
        )
    if how is not None and (how.pipes or _is_regular(file)):
        yield PayloadFile(source, text_blocks(whole, source), _count(file))
    else:
        yield from _lines(whole, source)


def _table(file: BufferedReader, source: str, how: InBlocks | None) -> PayloadFile:
    if how is None:
        raise InputError(
            f"{source}: found a Parquet table, which only verify reads, {_EXPECTED}: write its "
            "payloads to a text"
        )
    if not _is_regular(file):
        raise InputError(f"{source}: found a Parquet table in a pipe, expected a file: name it")
    _bound_memory()
    return PayloadFile(source, parquet_blocks(file, source, how.column), count_rows(file, source))


def _bound_memory() -> None:
    """See :func:`parquet_blocks`: what a table makes of its bytes has no bound of its own."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or hard > _MAX_MEMORY:
        resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY, hard))


def _is_regular(file: BufferedReader) -> bool:
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except OSError:
        return False


def _count(file: BufferedReader) -> int:
    """How many lines a file has that takes long enough for that to be worth knowing, else 0."""
    if not _is_regular(file) or os.fstat(file.fileno()).st_size < _LONG_BYTES:
        return 0
    with Path(f"/proc/self/fd/{file.fileno()}").open("rb") as again:
        return count_lines(again)


def _codes(texts: Sequence[str], source: str) -> Iterator[Payload]:
    """The payloads of a picture or page; several are numbered from its top to its bottom."""
    for number, text in enumerate(texts, start=1):
        yield Payload(text, source if len(texts) == 1 else f"{source}, QR code {number}")


def _is_text(head: bytes) -> bool:
    """Whether a file's beginning is UTF-8 without the control characters of binary files."""
    if head.startswith(b"HC1:"):
        return True  # damaged further on, perhaps: the Verdict says so
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return not any(c < " " and c not in _TEXT_CONTROLS for c in text)


def _begins_with_payload(head: bytes) -> bool:
    return _is_prefixed(head.decode("utf-8", "replace").lstrip("\ufeff \t\r\n"))


def _lines(file: BufferedReader, source: str) -> Iterator[Payload]:
    number = found = 0
    while raw := file.readline(MAX_LINE):
        number += 1
        rest = raw
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE)
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        for text in TextBlock(source, number, raw.removesuffix(b"\n")).rows()[1]:
            found += 1
            yield Payload(text, source, number)
    if not found:
        raise InputError(f"{source}: found no payload, expected one a line")


def _unreadable(source: str, error: OSError) -> InputError:
    return InputError(f"{source} can't be read: {error.strerror}; {_EXPECTED}")
