"""Rows of CSV and JSON Lines: every line of the file is in one of them, or the file is an error.

* CSV (RFC 4180) is UTF-8, with or without a byte order mark, with the comma, semicolon or tab that
  its header has most of; blank lines are skipped.
* A row with more or fewer values than the header, a quote in the wrong place, bytes that are not
  UTF-8, a line longer than ``MAX_LINE``: an unreadable line, and the others go on.
* A quote that is never closed has swallowed lines, so rows would be lost: an error of the file,
  with the line.

Python's own reader does this, and not the database engine's: DuckDB 2.0 loses a line of 50 MB
without a word, and from a quote that is closed 40 MB later it reads rows that are not there.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, TextIO

from vaxpass_sign.errors import InputError, Violation

__all__ = ["Block", "Unreadable", "open_text", "read_csv", "read_header", "read_lines"]

MAX_LINE: Final = 131_072
"""Characters of the longest line that is read, and of the longest value."""

BLOCK_ROWS: Final = 10_000
_BLOCK_CHARACTERS: Final = 16_000_000

_BAD_QUOTE: Final = Violation("row", "a quote in the wrong place", "CSV (RFC 4180)")
_TOO_LONG: Final = Violation(
    "row", "a line that is too long", f"at most {MAX_LINE} characters; here is how it begins"
)
_NOT_UTF8: Final = Violation("row", "bytes that are not UTF-8", "UTF-8 text")
_SHOWN: Final = 10_000


@dataclass(slots=True)
class Unreadable:
    """A line that is no row: what could be told apart in it, and the rest."""

    line: int
    reason: Violation
    values: list[str] = field(default_factory=list, repr=False)
    rest: str = field(default="", repr=False)


@dataclass(slots=True)
class Block:
    """Some rows, in order, with the line on which each ends, and what among them is no row."""

    rows: list[list[str]] = field(default_factory=list, repr=False)
    lines: list[int] = field(default_factory=list, repr=False)
    unreadable: list[Unreadable] = field(default_factory=list, repr=False)


def open_text(file: BinaryIO) -> TextIOWrapper:
    """The file as text; a byte that is no UTF-8 becomes a lone surrogate, and so a fault below."""
    file.seek(0)
    return TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")


class _LongLine(Exception):  # noqa: N818 (a way out of the reader, never seen outside)
    pass


class _Lines:
    """Lines one by one; ``number`` and ``line`` are the last one's. A long one raises _LongLine."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.number = 0
        self.line = ""
        self.characters = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.line = self._file.readline(MAX_LINE)
        if not line:
            raise StopIteration
        self.number += 1
        self.characters += len(line)
        if len(line) == MAX_LINE and line[-1] not in "\r\n":
            while (more := self._file.readline(MAX_LINE)) and more[-1] not in "\r\n":
                pass
            raise _LongLine
        return line


def read_header(path: Path, file: TextIO) -> tuple[list[str], str]:
    """The names of a CSV file's columns, and its delimiter.

    Raises: InputError for a header that breaks off or is too long.
    """
    lines = _Lines(file)
    try:
        # The physical line decides; a header of several lines (in quotes) is one row all the same.
        first = next(lines, "")
        delimiter = max(",;\t", key=first.count)
        file.seek(0)
        return next(csv.reader(_Lines(file), delimiter=delimiter, strict=True), []), delimiter
    except (csv.Error, _LongLine):
        raise InputError(
            f"{path}: found a header that breaks off or never ends, expected CSV with a header "
            "(RFC 4180)"
        ) from None


def read_csv(path: Path, file: TextIO, delimiter: str, width: int) -> Iterator[Block]:
    """The rows of a CSV file after its header; each has ``width`` values.

    Raises: InputError for a row that swallows lines; it names ``path`` and the line.
    """
    file.seek(0)
    lines = _Lines(file)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    next(reader, None)
    block, end = Block(), lines.number
    while True:
        try:
            for row in reader:
                end = lines.number
                if len(row) == width:
                    block.rows.append(row)
                    block.lines.append(end)
                elif row:
                    block.unreadable.append(_uneven(end, row, width))
                if (
                    len(block.rows) >= BLOCK_ROWS
                    or lines.characters >= _BLOCK_CHARACTERS
                    or len(block.unreadable) >= BLOCK_ROWS
                ):
                    yield _without_bad_bytes(block)
                    block, lines.characters = Block(), 0
        except (csv.Error, _LongLine) as error:
            # A quote in the wrong place spoils its own line, and the reader begins anew on the
            # next one; when it has taken more than one line there may be whole rows among them.
            if lines.number - end != 1:
                raise InputError(
                    f"{path}, line {end + 1}: found a row that breaks off or never ends, expected "
                    "CSV (RFC 4180): mend its quotes"
                ) from None
            end = lines.number
            long = isinstance(error, _LongLine)
            reason = _TOO_LONG if long else _BAD_QUOTE
            rest = _printable(lines.line.rstrip("\r\n"))
            block.unreadable.append(Unreadable(end, reason, [], rest[:_SHOWN] if long else rest))
            continue
        yield _without_bad_bytes(block)
        return


def read_lines(file: TextIO) -> Iterator[Block]:
    """The lines of a file that are not blank; each is a row of one value."""
    file.seek(0)
    lines = _Lines(file)
    while True:
        block, lines.characters = Block(), 0
        try:
            for line in islice(lines, BLOCK_ROWS):
                if line.strip():
                    block.rows.append([line.rstrip("\r\n")])
                    block.lines.append(lines.number)
                if lines.characters >= _BLOCK_CHARACTERS:
                    break
        except _LongLine:
            rest = _printable(lines.line[:_SHOWN])
            block.unreadable.append(Unreadable(lines.number, _TOO_LONG, [], rest))
        if block.rows or block.unreadable:
            yield _without_bad_bytes(block)
        if not lines.line:
            return


def _uneven(line: int, row: list[str], width: int) -> Unreadable:
    reason = Violation("row", f"{len(row)} values", f"{width}, as in the header")
    row = [_printable(value) for value in row]
    return Unreadable(line, reason, row[:width], ", ".join(row[width:]))


def _without_bad_bytes(block: Block) -> Block:
    """The block, in which a row that is not UTF-8 is unreadable."""
    try:
        for row in block.rows:
            "".join(row).encode()
    except UnicodeEncodeError:
        good = Block(unreadable=block.unreadable)
        for number, row in zip(block.lines, block.rows, strict=True):
            try:
                "".join(row).encode()
            except UnicodeEncodeError:
                values = [_printable(value) for value in row]
                good.unreadable.append(Unreadable(number, _NOT_UTF8, values, ""))
            else:
                good.rows.append(row)
                good.lines.append(number)
        return good
    return block


def _printable(text: str) -> str:
    r"""The text with \xea for a byte that was no UTF-8, which a table of text can't hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text
