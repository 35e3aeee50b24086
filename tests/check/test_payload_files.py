"""Files of many payloads in blocks: every line and row once, with its number, in bounded memory."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaxpass_sign.check import payload_files
from vaxpass_sign.check.payload_files import (
    MAX_LINE,
    count_lines,
    count_rows,
    is_parquet,
    parquet_blocks,
    text_blocks,
)
from vaxpass_sign.errors import InputError


def rows_of(blocks) -> list[tuple[int, str]]:
    return [row for block in blocks for row in zip(*block.rows(), strict=True)]


def table(path: Path, values: object, name: str = "hc1", **options: object) -> Path:
    pq.write_table(pa.table({"other": [0] * len(values), name: values}), path, **options)
    return path


def rows_of_table(path: Path, column: str = "hc1") -> list[tuple[int, str]]:
    with path.open("rb") as file:
        return rows_of(parquet_blocks(file, str(path), column))


# --- text --------------------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from(["", "HC1:A", "HC1:%B ", " HC1:C", "ễ", "x" * 9])),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
    st.integers(1, 40),
)
def test_every_line_once(lines, newline: str, has_end: bool, has_mark: bool, chunk: int) -> None:
    """Whatever the size of the blocks, with its number; blank lines are none."""
    text = ("\ufeff" if has_mark else "") + newline.join(lines) + (newline if has_end else "")
    expected = [(n, line.lstrip()) for n, line in enumerate(lines, 1) if line.strip()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(payload_files, "_CHUNK", max(chunk, 10))  # a line of these has 9 bytes
        found = rows_of(text_blocks(io.BytesIO(text.encode()), "a"))
    assert found == expected


def test_a_line_without_end_is_cut() -> None:
    """More than any payload has is not kept, and the next line is found all the same."""
    data = b"HC1:" + b"A" * 3_000_000 + b"\nHC1:B\n"
    (first, text), second = rows_of(text_blocks(io.BytesIO(data), "a"))
    assert (first, len(text), second) == (1, MAX_LINE, (2, "HC1:B"))


def test_many_tiny_lines_are_many_blocks() -> None:
    """So that a file of them can't make a block's verdicts a hundred times as large as it is."""
    data = b"A\n" * 300_000 + b"B"
    blocks = list(text_blocks(io.BytesIO(data), "a"))
    assert max(len(block.rows()[0]) for block in blocks) <= 2000
    assert len(blocks) < 160
    assert rows_of(blocks) == [*((n, "A") for n in range(1, 300_001)), (300_001, "B")]


def test_blank_lines_are_counted_in_every_block() -> None:
    """Where a block is divided no line is lost, none counted twice."""
    data = b"\n" * 5000 + b"A\n" + b"\n" * 2000 + b"B\n"
    assert rows_of(text_blocks(io.BytesIO(data), "a")) == [(5001, "A"), (7002, "B")]


class Failing(io.BytesIO):
    """A disk that can't be read any more."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell():
            raise OSError(errno.EIO, "Input/output error")
        return super().read(size)


def test_a_file_that_cannot_be_read_to_its_end() -> None:
    """The error names the file that was read, and what was read is given before."""
    blocks = text_blocks(Failing(b"A\n" * 400_000), "a.txt")
    with pytest.raises(InputError, match=r"a\.txt can't be read to its end: Input/output error"):
        list(blocks)


@given(st.binary(max_size=2000))
def test_any_bytes_are_text(data: bytes) -> None:
    """What is no UTF-8 is replaced: the Verdict says that it is no payload."""
    for number, text in rows_of(text_blocks(io.BytesIO(data), "a")):
        assert number >= 1
        assert text.encode()


@pytest.mark.parametrize(
    ("data", "lines"), [(b"", 0), (b"a", 1), (b"a\n", 1), (b"a\nb", 2), (b"\n\n", 2)]
)
def test_counted_lines(data: bytes, lines: int) -> None:
    assert count_lines(io.BytesIO(data)) == lines


# --- Parquet -------------------------------------------------------------------------------------


@pytest.mark.parametrize("use_dictionary", [True, False])
def test_every_row_once(tmp_path: Path, use_dictionary: bool) -> None:
    """Across row groups and blocks, in order; a null is an empty payload."""
    values = [f"HC1:{n}" for n in range(5000)]
    values[17] = None
    path = table(
        tmp_path / "a*[?].parquet", values, row_group_size=1700, use_dictionary=use_dictionary
    )
    assert rows_of_table(path) == [(n, value or "") for n, value in enumerate(values, 1)]
    with path.open("rb") as file:
        assert count_rows(file, "a") == 5000
        file.seek(0)
        assert is_parquet(file.read(4))


def test_another_column(tmp_path: Path) -> None:
    """Any name will do, also one that needs care."""
    path = table(tmp_path / "a.parquet", ["HC1:A"], name='a "b"; --')
    assert rows_of_table(path, 'a "b"; --') == [(1, "HC1:A")]
    with pytest.raises(InputError, match=r"found the columns other, a .*, expected payloads"):
        rows_of_table(path)


@pytest.mark.parametrize("values", [[1, 2], [b"HC1:A"], [["HC1:A"]]])
def test_a_column_of_something_else(tmp_path: Path, values: list) -> None:
    with pytest.raises(InputError, match=r"found the column 'hc1' of type .*, expected payloads"):
        rows_of_table(table(tmp_path / "a.parquet", values))


@pytest.mark.parametrize("cut", [4, 12, 200, -1, -9])
def test_a_damaged_table(tmp_path: Path, cut: int) -> None:
    """One line, which repeats no row."""
    path = table(tmp_path / "a.parquet", ["HC1:A"] * 1000)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match="can't be read as a Parquet table") as caught:
        rows_of_table(path)
    assert "HC1" not in str(caught.value)


def test_changed_bytes(tmp_path: Path) -> None:
    """Whatever byte was changed: payloads or our error."""
    path = table(tmp_path / "a.parquet", [f"HC1:{n}" for n in range(50)])
    good = path.read_bytes()
    for place in range(0, len(good), 7):
        bad = bytearray(good)
        bad[place] ^= 0x41
        path.write_bytes(bad)
        with suppress(InputError):
            rows_of_table(path)


@pytest.mark.parametrize("megabytes", [0.01, 1, 90])
def test_a_small_table_of_large_values(tmp_path: Path, megabytes: float) -> None:
    """One value, repeated: its rows are cut, or there is one line where memory is bounded."""
    value = "HC1:" + "A" * int(megabytes * (1 << 20))
    values = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array([value]))
    path = table(
        tmp_path / "a.parquet", values, compression="zstd", dictionary_pagesize_limit=1 << 30
    )
    assert path.stat().st_size < 1 << 20
    code = (
        "import resource, sys\n"
        "from vaxpass_sign.check.payload_files import parquet_blocks\n"
        "from vaxpass_sign.errors import InputError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    with open(sys.argv[1], 'rb') as file:\n"
        "        print({len(t) for b in parquet_blocks(file, 'a') for t in b.rows()[1]})\n"
        "except InputError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    if megabytes < 1:
        assert done.stdout == f"{{{MAX_LINE}}}\n"
    else:
        assert done.stdout.startswith("a: found pages or values that need more memory")
