"""Reading CSV and lines: every line is a row, an unreadable line, or an error of the file."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaxpass_sign.errors import InputError
from vaxpass_sign.prepare.lines import (
    MAX_LINE,
    Unreadable,
    open_text,
    read_csv,
    read_header,
    read_lines,
)

PATH = Path("a.csv")


def read(data: bytes) -> tuple[list[list[str]], list[Unreadable]]:
    text = open_text(BytesIO(data))
    header, delimiter = read_header(PATH, text)
    blocks = list(read_csv(PATH, text, delimiter, len(header)))
    return [r for b in blocks for r in b.rows], [u for b in blocks for u in b.unreadable]


GOOD = [
    ("plain", b"x,y\n1,2\n5,6\n"),
    ("no last line end", b"x,y\n1,2\n5,6"),
    ("Windows line ends", b"x,y\r\n1,2\r\n5,6\r\n"),
    ("old Mac line ends", b"x,y\r1,2\r5,6\r"),
    ("mixed line ends", b"x,y\r\n1,2\n5,6\r"),
    ("byte order mark", b"\xef\xbb\xbfx,y\n1,2\n5,6\n"),
    ("semicolons", b"x;y\n1;2\n5;6\n"),
    ("tabs", b"x\ty\n1\t2\n5\t6\n"),
    ("blank lines", b"x,y\n\n1,2\n\r\n\n5,6\n\n"),
    ("quotes", b'"x","y"\n"1",2\n5,"6"\n'),
    ("a header of two lines", b'"x\nx",y\n1,2\n5,6\n'),
]


@pytest.mark.parametrize("data", [g[1] for g in GOOD], ids=[g[0] for g in GOOD])
def test_rows(data: bytes) -> None:
    """However a table is written, its rows are the same."""
    assert read(data) == ([["1", "2"], ["5", "6"]], [])


def test_values_stay() -> None:
    """Leading zeros, spaces, NULs, quoted quotes, delimiters and line ends are part of a value."""
    rows, _ = read(b'x,y\n007, a \n"a ""b"",\r\nc",\x00\n')
    assert rows == [["007", " a "], ['a "b",\r\nc', "\x00"]]


LONG = b"a" * (MAX_LINE + 10)
BAD = [
    # name, a line between the rows 1,2 and 5,6; what is found, values, rest
    ("too many values", b"1,2,3,4", "4 values", ["1", "2"], "3, 4"),
    ("too few values", b"1", "1 values", ["1"], ""),
    ("not UTF-8", b"Nguy\xea,2", "not UTF-8", ["Nguy\\xea", "2"], ""),
    ("not UTF-8 and too few", b"Nguy\xea", "1 values", ["Nguy\\xea"], ""),
    ("a stray quote", b'"a" b,2', "a quote in the wrong place", [], '"a" b,2'),
    ("a stray quote, not UTF-8", b'"a" \xff,2', "a quote in the wrong place", [], '"a" \\xff,2'),
    ("a long line", LONG + b",2", "too long", [], "a" * 10_000),
    ("a line of 2 MB", LONG * 15, "too long", [], "a" * 10_000),
    ("spaces", b"  ", "1 values", ["  "], ""),
]


@pytest.mark.parametrize(
    ("line", "found", "values", "rest"), [b[1:] for b in BAD], ids=[b[0] for b in BAD]
)
def test_an_unreadable_line(line: bytes, found: str, values: list[str], rest: str) -> None:
    """A line that is no row comes out with its number and reason, and the others go on."""
    rows, (bad,) = read(b"x,y\n1,2\n" + line + b"\n5,6\n")
    assert rows == [["1", "2"], ["5", "6"]]
    assert (bad.line, bad.values, bad.rest) == (3, values, rest)
    assert found in bad.reason.found


def test_a_broken_row_at_the_end() -> None:
    """A quote that is open in the last line has swallowed nothing: that line alone is no row."""
    rows, (bad,) = read(b'x,y\n1,2\n"5,6')
    assert (rows, bad.line) == ([["1", "2"]], 3)


@pytest.mark.parametrize(
    "data",
    [
        b'x,y\n1,2\n"3,4\n5,6\n',
        b'x,y\n1,2\n"3,4\n' + b"5,6\n" * 100_000,
        b'x,y\n1,2\n"3,4\n' + b"5,6\n" * 10_000_000 + b'7","8"\n',
        b'x,y\n1,2\n"3,4\n' + LONG + b"\n5,6\n",
        b'x,y\n1,2\n"3,4\n5,6\n"7,8\n',
    ],
    ids=["short", "long", "closed 40 MB later", "with a long line", "closed by the next"],
)
def test_swallowed_lines_are_an_error(data: bytes) -> None:
    """A quote that is never closed, or far too late, would lose rows: the error names its line."""
    with pytest.raises(InputError, match=r"a\.csv, line 3: "):
        read(data)


@pytest.mark.parametrize("data", [b'"x,y\n1,2\n', b"x" * 1_000_000, b'"x"y,z\n1,2\n'])
def test_a_header_that_breaks_off(data: bytes) -> None:
    """A header that can't be read is an error."""
    with pytest.raises(InputError, match="header"):
        read(data)


def test_lines() -> None:
    """Lines that are not blank come out with their numbers; long and bad ones as unreadable."""
    data = b'\xef\xbb\xbf{"a":1}\n\n  \n"\xff"\r\n' + LONG + b"\n{}"
    blocks = list(read_lines(open_text(BytesIO(data))))
    rows = [(n, r) for b in blocks for n, r in zip(b.lines, b.rows, strict=True)]
    bad = [(u.line, u.reason.found) for b in blocks for u in b.unreadable]
    assert rows == [(1, ['{"a":1}']), (6, ["{}"])]
    assert sorted(bad) == [(4, "bytes that are not UTF-8"), (5, "a line that is too long")]


def test_many_blocks() -> None:
    """Rows of many blocks keep their order and line numbers."""
    data = b"x\n" + b"".join(b"%d\n" % n if n % 7 else b"1,2\n" for n in range(50_000))
    rows, bad = read(data)
    assert [int(r[0]) for r in rows] == [n for n in range(50_000) if n % 7]
    assert [u.line for u in bad] == [n + 2 for n in range(50_000) if not n % 7]


@given(st.lists(st.lists(st.text(max_size=5), min_size=2, max_size=2), max_size=20), st.data())
def test_round_trip(rows: list[list[str]], data: st.DataObject) -> None:
    """What Python's writer writes is what is read, blank rows aside."""
    import csv
    from io import StringIO

    file = StringIO(newline="")
    delimiter = data.draw(st.sampled_from(",;\t"))
    csv.writer(file, delimiter=delimiter).writerows([["x", "y"], *rows])
    assert read(file.getvalue().encode()) == (rows, [])


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """Any bytes are rows and unreadable lines, or an InputError of one line."""
    try:
        read(b"x,y\n" + data)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
