"""Clean parts: who holds one can tell that it is one, and that no row was changed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from prepare.cleaning import clean, dose, row
from vaxpass_sign.errors import InputError
from vaxpass_sign.prepare.schemas import CLEAN_SCHEMA, hash_columns, hash_rows, open_clean


def part(folder: Path) -> Path:
    rows = [dose(1, 1, "2021-07-01"), dose(2, 2, "2021-08-01"), row(3, personal_id="", lot="Lô 1")]
    return clean(folder, rows).parts[0]


def test_a_clean_part(tmp_path: Path) -> None:
    """A clean part opens, and each row has the hash that it should have."""
    with open_clean(part(tmp_path)) as file:
        table = file.read()
    assert table.schema.equals(CLEAN_SCHEMA)
    assert hash_columns(table) == table.column("row_sha256").to_pylist()


def test_the_hash_by_hand(tmp_path: Path) -> None:
    """The hash is what its description says."""
    for values in parquet.read_table(part(tmp_path)).to_pylist():
        expected = values.pop("row_sha256")
        values["person_key"] = values["person_key"].hex()
        values["record_ids"] = [
            [i["facility_id"], i["record_id"], i["dose_sha256"].hex()] for i in values["record_ids"]
        ]
        text = json.dumps(list(values.values()), ensure_ascii=False, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).digest() == expected


def test_any_change_shows(tmp_path: Path) -> None:
    """A change in any column of a row changes the hash it should have."""
    table = parquet.read_table(part(tmp_path))
    before = hash_columns(table)
    for number, field in enumerate(CLEAN_SCHEMA):
        if field.name == "row_sha256":
            continue
        values = table.column(number).to_pylist()
        if field.name == "record_ids":
            other = [[*v, v[0]] for v in values]
        elif pa.types.is_integer(field.type):
            other = [v + 1 for v in values]
        elif pa.types.is_fixed_size_binary(field.type):
            other = [bytes(32)] * len(values)
        else:
            other = [(v or "") + "x" for v in values]
        changed = table.set_column(number, field, pa.array(other, field.type))
        assert not set(hash_columns(changed)) & set(before), field.name


def test_nothing_is_not_empty() -> None:
    """Null and "" are told apart, and so are a number and its text."""
    assert len(set(hash_rows([[None], [""], [0], ["0"], [[]], [""] * 2]))) == 6


@given(st.lists(st.lists(st.text(), max_size=3), max_size=5))
def test_no_two_rows_have_one_hash(rows: list[list[str]]) -> None:
    """Different rows have different hashes, wherever a value ends."""
    assert len(set(hash_rows(rows))) == len({tuple(r) for r in rows})


OTHERS = [
    ("another file", None, "no Parquet file"),
    ("another first column", pa.table({"hc1": ["x"]}), "column 1 found"),
    ("a column less", CLEAN_SCHEMA.empty_table().select(CLEAN_SCHEMA.names[:-1]), "found no more columns, expected 'row_sha256' .fixed_size"),
    ("a column more", CLEAN_SCHEMA.empty_table().append_column("x\ny", pa.array([], pa.int8())), r"'x.ny' "),
    ("another type", CLEAN_SCHEMA.empty_table().set_column(1, "revision", pa.array([], pa.int64())), "'revision' .int64.*, expected 'revision' .int32"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "words"), [o[1:] for o in OTHERS], ids=[o[0] for o in OTHERS])
def test_what_is_no_clean_part(tmp_path: Path, table: pa.Table | None, words: str) -> None:
    """A file that is no clean part is an InputError of one line that names the difference."""
    path = tmp_path / "a.parquet"
    path.write_bytes(b"no Parquet")
    if table is not None:
        parquet.write_table(table, path)
    with pytest.raises(InputError, match=words) as caught:
        open_clean(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="clean part"):
        clean(tmp_path, [row(1)], prior=[path])


def test_a_missing_part(tmp_path: Path) -> None:
    """A part that is missing, or a folder, is an error that names it."""
    with pytest.raises(InputError, match=r"a\.parquet can't be read"):
        open_clean(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="no Parquet file"):
        open_clean(tmp_path)
