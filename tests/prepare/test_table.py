"""Reading dose tables: three kinds, the same rows; a bad row is a row, a bad file an error."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from vaxpass_sign.errors import InputError
from vaxpass_sign.prepare.table import DoseTable
from vaxpass_sign.sample import dose_rows


def write_csv(path: Path, rows: list[dict[str, str]], delimiter: str = ",") -> Path:
    lines = [delimiter.join(rows[0])] + [delimiter.join(row.values()) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_three_kinds_give_the_same_rows(tmp_path: Path) -> None:
    """CSV (comma, semicolon, tab, byte order mark), JSON Lines and Parquet give the same rows."""
    rows = dose_rows(50)
    kinds = [
        write_csv(tmp_path / "a.csv", rows),
        write_csv(tmp_path / "b.csv", rows, ";"),
        write_csv(tmp_path / "c.CSV", rows, "\t"),
    ]
    marked = tmp_path / "d.csv"
    marked.write_bytes(b"\xef\xbb\xbf" + kinds[0].read_bytes().replace(b"\n", b"\r\n"))
    lines = tmp_path / "e.jsonl"
    lines.write_text(
        "\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8"
    )
    columns = tmp_path / "f.parquet"
    parquet.write_table(pa.Table.from_pylist(rows), columns)
    for path in (*kinds, marked, lines, columns):
        table = DoseTable(path)
        assert table.columns == list(rows[0])
        assert [row.values for row in table] == rows
        assert all(row.fault is None for row in table)


def test_parquet_types_become_text(tmp_path: Path) -> None:
    """Numbers and dates of a Parquet file become the text that CSV would have."""
    import datetime

    table = pa.table({"dose_number": [2], "birth_date": [datetime.date(1987, 4, 12)], "x": [None]})
    parquet.write_table(table, tmp_path / "a.parquet")
    (row,) = DoseTable(tmp_path / "a.parquet")
    assert row.values == {"dose_number": "2", "birth_date": "1987-04-12", "x": None}


def test_leading_zeros_and_quotes(tmp_path: Path) -> None:
    """Leading zeros stay, a quoted comma and line break are part of their value."""
    (tmp_path / "a.csv").write_text(
        'record_id,full_name\n007,"Nguyễn, ""A""\nB"\n', encoding="utf-8"
    )
    (row,) = DoseTable(tmp_path / "a.csv")
    assert row.values == {"record_id": "007", "full_name": 'Nguyễn, "A"\nB'}


BAD_ROWS = [
    ("too many values", "a.csv", b"x,y\n1,2\n1,2,3\n5,6\n", 3, "3 values"),
    ("too few values", "a.csv", b"x,y\n1,2\n1\n5,6\n", 3, "1 values"),
    ("not UTF-8", "a.csv", b"x,y\n1,2\nNguy\xea,2\n5,6\n", 3, "not Unicode text"),
    ("a stray quote", "a.csv", b'x,y\n1,2\n"a" b,2\n5,6\n', 3, "a quote in the wrong place"),
    ("a huge value", "a.csv", b"x,y\n1,2\n" + b"a" * 200_000 + b",2\n5,6\n", 3, "a quote in"),
    ("a lone surrogate", "a.jsonl", b'{"x":1}\n{"x":"\\ud800"}\n{"x":2}\n', 2, "not Unicode text"),
    ("a surrogate as a name", "a.jsonl", b'{"x":1}\n{"\\ud800":1}\n{"x":2}\n', 2, "column's name"),
    ("no JSON", "a.jsonl", b'{"x":1}\n{"x":\n{"x":2}\n', 2, "no JSON object"),
    ("a JSON list", "a.jsonl", b'{"x":1}\n[1]\n{"x":2}\n', 2, "no JSON object"),
    ("JSON 100,000 deep", "a.jsonl", b'{"x":1}\n' + b"[" * 100_000 + b'\n{"x":2}\n', 2, "no JSON"),
]


@pytest.mark.parametrize(
    ("name", "data", "number", "found"), [b[1:] for b in BAD_ROWS], ids=[b[0] for b in BAD_ROWS]
)
def test_a_bad_row_is_a_row(
    tmp_path: Path, name: str, data: bytes, number: int, found: str
) -> None:
    """A row that can't be read comes out with its fault and line, and the others go on."""
    path = tmp_path / name
    path.write_bytes(data)
    first, bad, last = DoseTable(path)
    assert (first.fault, last.fault) == (None, None)
    assert bad.number == number
    assert found in bad.fault.found


BAD_FILES = [
    ("missing", "a.csv", None, "can't be read"),
    ("empty", "a.csv", b"", "empty file"),
    ("of another kind", "a.xlsx", b"PK", "kind .xlsx"),
    ("of no kind", "a", b"x", "kind unknown"),
    ("a column twice", "a.csv", b"x,x\n1,2\n", "1 of them different"),
    ("no Parquet", "a.parquet", b"PAR1 nothing PAR1", "save it again"),
    ("half a Parquet", "a.parquet", b"PAR1", "save it again"),
]


@pytest.mark.parametrize(
    ("name", "data", "words"), [b[1:] for b in BAD_FILES], ids=[b[0] for b in BAD_FILES]
)
def test_a_bad_file_is_an_error(tmp_path: Path, name: str, data: bytes | None, words: str) -> None:
    """A file that is no table is an InputError that names it."""
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError, match=words):
        DoseTable(path)


@pytest.mark.parametrize("data", [b'x,y\n"1,2\n3,4\n', b'x,y\n1,2\n"3,4\n' + b"5,6\n" * 99])
def test_a_broken_quote_is_an_error_with_its_line(tmp_path: Path, data: bytes) -> None:
    """A quote that never ends can't be told from a value: the file is refused, with the line."""
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"line [23]"):
        list(DoseTable(path))


def test_a_folder(tmp_path: Path) -> None:
    """A folder is no table."""
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(InputError, match=r"a\.csv"):
        list(DoseTable(tmp_path / "a.csv"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from([".csv", ".jsonl", ".parquet"]), st.binary(min_size=1, max_size=300))
def test_any_bytes(tmp_path: Path, kind: str, data: bytes) -> None:
    """Any bytes are rows, or an InputError."""
    path = tmp_path / f"a{kind}"
    path.write_bytes(data)
    try:
        list(DoseTable(path))
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
