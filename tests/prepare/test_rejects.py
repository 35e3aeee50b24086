"""Rejected tables: all columns as they came, and they can be mended and cleaned as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from prepare.cleaning import COLUMNS, Cleaned, clean, row, write_csv, write_jsonl


def test_lines_that_are_no_rows(tmp_path: Path) -> None:
    """Lines of CSV that are no rows come last, with line, reason and what could be told apart."""
    path = write_csv(tmp_path / "a.csv", [row(1, personal_id=""), row(2, sex="x")])
    good, bad = path.read_bytes().splitlines()[1:]
    lines = [good + b",more,and more", b'"stray" quote', good[:-5] + b"\xff", b"only"]
    header = path.read_bytes().splitlines()[0]
    path.write_bytes(b"\n".join([header, lines[0], good, lines[1], lines[2], bad, lines[3], b""]))
    result = clean(tmp_path, path)
    assert result.counts == [(6, 1, 5, 0)]
    assert [r["line"] for r in result.rejected] == [None, 2, 4, 5, 7]
    assert [r["record_id"] for r in result.rejected] == ["2", "1", None, "1", None]
    assert [r["rest"] for r in result.rejected] == ["", "more, and more", '"stray" quote', "", ""]
    assert result.rejected[4]["facility_id"] == "only"
    names = parquet.read_schema(result.result.rejected_parts[0].path).names
    assert names == ["source", "line", "reasons", *COLUMNS, "rest"]


def test_json_lines(tmp_path: Path) -> None:
    """Each line's own columns come out; a line that is no object is in the rest, with its number."""
    lines = [
        json.dumps(row(1, sex="x", hometown={"a": [1, None]})),
        "",
        "[1]",
        "no JSON \udcff",
        '{"full_name":"Nguyen \\ud800 X", "record_id": 4}',
        '{"\\ud800":1}',
        json.dumps(row(6, sex="x", personal_id=5)),
        "[" * 100_000,
        '{"record_id":"8", "record_id ":"9"}',
        json.dumps(row(10, personal_id="")),
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\r\n".join(lines), encoding="utf-8", errors="surrogateescape", newline="")
    result = clean(tmp_path, path)
    assert result.counts == [(9, 1, 8, 0)]
    bad = {r["line"] or r["record_id"]: r for r in result.rejected}
    assert bad["1"]["hometown"] == '{"a": [1, null]}'
    assert (bad[3]["rest"], bad[8]["rest"]) == ("[1]", "[" * 100_000)
    assert "UTF-8" in bad[4]["reasons"][0]
    assert bad[5]["full_name"] == "Nguyen \\ud800 X"
    assert bad[6]["rest"] == '{"\\ud800": 1}'
    assert bad["6"]["personal_id"] == "5"
    assert len(bad["6"]["reasons"]) == 2
    assert "two values for record_id" in bad[9]["reasons"][0]


def test_a_late_column_of_json_lines(tmp_path: Path) -> None:
    """A column that only a late line has counts, and is in the rejected table."""
    names = ("facility_id", "record_id", "full_name", "birth_date", "dose_number", "product")
    first = {n: row(1)[n] for n in (*names, "vaccination_date")}
    rows = [first | {"record_id": str(n)} for n in range(1500)]
    late = {"personal_id": "019187000001", "sex": "x", "note": "n"}
    rows += [
        first | late | {"record_id": "a"},
        first | {"personal_id": "019187000001", "record_id": "b"},
    ]
    result = clean(tmp_path, write_jsonl(tmp_path / "a.jsonl", rows))
    (bad,) = result.rejected
    assert {n: bad[n] for n in late} == late
    names = parquet.read_schema(result.result.rejected_parts[0].path).names
    assert names[3:] == [*first, "note", "personal_id", "sex", "rest"]
    keys = {r["person_key"] for r in result.clean}
    assert len(keys) == 1501


def test_no_rejects_no_table(tmp_path: Path) -> None:
    """Inputs without a reject have no table; the others are numbered by their order."""
    result = clean(tmp_path, [row(1, sex="x")], [row(2)], [row(3, sex="y")], batch=4)
    names = [part.path.name for part in result.result.rejected_parts]
    assert names == ["rejected-000004-0001.parquet", "rejected-000004-0002.parquet"]
    assert [part.rows for part in result.result.rejected_parts] == [1, 1]
    assert [r["record_id"] for r in result.rejected] == ["1", "3"]


def mend(result: Cleaned, folder: Path, kind: str) -> Path:
    """The rejected table with its bad sex taken out, as another kind of file."""
    (part,) = result.result.rejected_parts
    table = parquet.read_table(part.path)
    sex = pa.array([None if s == "x" else s for s in table.column("sex").to_pylist()])
    table = table.set_column(table.schema.get_field_index("sex"), "sex", sex)
    path = folder / f"mended.{kind}"
    if kind == "parquet":
        parquet.write_table(table, path)
    elif kind == "jsonl":
        write_jsonl(path, table.to_pylist())
    else:
        write_csv(path, table.to_pylist())
    return path


def test_mended_rejects_are_an_input(tmp_path: Path) -> None:
    """A rejected table that was mended is cleaned as it is; what stays wrong looks the same."""
    rows = [
        row(1, sex="x", personal_id="", line="own line", rest="own rest", note="n"),
        row(2, sex="y", personal_id="", line="", rest="", note=""),
    ]
    for kind in ("parquet", "csv", "jsonl"):
        first = clean(tmp_path, write_csv(tmp_path / "a.csv", rows))
        assert (first.rejected[0]["input_line"], first.rejected[0]["rest"]) == ("own line", "")
        again = clean(tmp_path, mend(first, tmp_path, kind))
        assert again.counts == [(2, 1, 1, 0)]
        (bad,) = again.rejected
        assert bad["source"] == f"mended.{kind}"
        assert {n: v or "" for n, v in bad.items() if n not in ("source", "line")} == {
            n: v or "" for n, v in first.rejected[1].items() if n not in ("source", "line")
        }


def test_a_table_of_rejects_only(tmp_path: Path) -> None:
    """A table without one good row gives no clean part."""
    result = clean(tmp_path, [row(n, birth_date="x") for n in range(5000)])
    assert result.counts == [(5000, 0, 5000, 0)]
    assert [r["record_id"] for r in result.rejected] == [str(n) for n in range(5000)]
    assert not result.parts


def test_reasons_repeat_no_value(tmp_path: Path) -> None:
    """No reason repeats a value, and no file has the secret."""
    rows = [row(1, full_name="Bí Mật?"), row(2, birth_date="12.4.1987"), row(3, full_name="An An")]
    result = clean(tmp_path, [*rows, row(4)])
    text = str([r["reasons"] for r in result.rejected])
    assert result.counts == [(4, 0, 4, 0)]
    for value in ("Bí", "12.4", "1987", "019187", "An An", "Khai"):
        assert value not in text
