"""Loading inputs: three kinds give the same raw rows; a file that is no table is an error."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from prepare.cleaning import COLUMNS, clean, row, write_csv, write_jsonl, write_parquet
from vaxpass_sign.errors import InputError
from vaxpass_sign.prepare.engine import WorkFolder
from vaxpass_sign.prepare.load import Loaded, load_table, open_input

HEADER = ",".join(COLUMNS).encode()


def load(path: Path, work: WorkFolder, columns: dict[str, str] | None = None) -> Loaded:
    with open_input(path) as (file, sha256):
        return load_table(path, file, sha256, 0, columns or {}, work)


def raw(path: Path, work: WorkFolder) -> list[list[str | None]]:
    table = parquet.read_table(load(path, work).raw)
    return [list(r.values())[: len(COLUMNS)] for r in table.to_pylist()]


@pytest.fixture
def work(tmp_path: Path):
    with WorkFolder(tmp_path / "work [1]* ?'\"") as folder:
        yield folder


def test_csv_and_parquet_are_the_same_text(tmp_path: Path, work: WorkFolder) -> None:
    """Comma, semicolon, tab, byte order mark and Parquet give the same raw rows."""
    rows = [row(n, lot=f"00{n}; ,") for n in range(50)]
    expected = [list(r.values()) for r in rows]
    marked = tmp_path / "d.csv"
    paths = [
        write_csv(tmp_path / "a.csv", rows),
        write_csv(tmp_path / "b.csv", rows, ";"),
        write_csv(tmp_path / "c.CSV", rows, "\t"),
        write_parquet(tmp_path / "e.parquet", rows),
    ]
    marked.write_bytes(b"\xef\xbb\xbf" + paths[0].read_bytes())
    for path in (*paths, marked):
        assert raw(path, work) == expected


def test_an_input_is_known_by_its_bytes(tmp_path: Path, work: WorkFolder) -> None:
    """The SHA-256 is that of the file."""
    path = write_csv(tmp_path / "a.csv", [row(1)])
    loaded = load(path, work)
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (loaded.name, loaded.rows, loaded.groups) == ("a.csv", 1, (1,))


def test_parquet_types_become_text(tmp_path: Path, work: WorkFolder) -> None:
    """Numbers, dates and lists of a Parquet file become text; nothing stays nothing."""
    values = {
        "dose_number": 2,
        "birth_date": date(1987, 4, 12),
        "lot": None,
        "sex": ["F"],
        "record_id": b"\xff",
        "product": 2.5,
        "vaccination_date": datetime(2021, 1, 2, tzinfo=UTC),
    }
    write_parquet(tmp_path / "a.parquet", [row(1) | values])
    found = dict(zip(COLUMNS, raw(tmp_path / "a.parquet", work)[0], strict=True))
    assert {n: found[n] for n in values} == {
        "dose_number": "2",
        "birth_date": "1987-04-12",
        "lot": None,
        "sex": "[F]",
        "record_id": "\\xFF",
        "product": "2.5",
        "vaccination_date": "2021-01-02 00:00:00+00",
    }


def test_hostile_column_names(tmp_path: Path) -> None:
    """A column's name is never part of SQL, whatever is in it."""
    names = [
        "'); DROP TABLE checked; --",
        '"',
        "c0",
        "is_long",
        "a\nb",
        "source",
        "",
        "file_row_number",
    ]
    rows = [row(1, sex="x") | dict.fromkeys(names, "value")]
    for kind, write in (("csv", write_csv), ("parquet", write_parquet), ("jsonl", write_jsonl)):
        result = clean(tmp_path, write(tmp_path / f"{kind}.{kind}", rows))
        (bad,) = result.rejected
        kept = {"input_source" if n == "source" else n for n in names}
        if kind == "jsonl":  # a name with a line end goes into the rest, with its value
            kept -= {"a\nb", ""}
            assert "a\\nb" in bad["rest"]
        assert {n: bad[n] for n in kept} == dict.fromkeys(kept, "value")


BAD_FILES = [
    ("missing", "a.csv", None, "can't be read"),
    ("empty", "a.csv", b"", "empty file"),
    ("of another kind", "a.xlsx", b"PK", "kind '.xlsx'"),
    ("of no kind", "a", b"x", "kind 'unknown'"),
    ("blank", "a.csv", b"\n\n", "0 columns"),
    ("a column twice", "a.csv", b"x,x\n1,2\n", "1 of them different"),
    ("1001 columns", "a.csv", b",".join(b"x%d" % n for n in range(1001)), "1001 columns"),
    ("a header that is not UTF-8", "a.csv", HEADER + b",\xff\n", "not UTF-8"),
    ("UTF-16", "a.csv", "record_id,full_name\n".encode("utf-16"), "a.csv"),
    ("an open quote", "a.csv", HEADER + b'\n1,2\n"3,4\n5,6\n', "line 3"),
    ("no JSON", "a.jsonl", b"nothing\n", "0 columns"),
    ("blank lines", "a.jsonl", b"\n\n", "0 columns"),
    ("no Parquet", "a.parquet", b"PAR1 nothing PAR1", "save it again"),
    ("half a Parquet", "a.parquet", b"PAR1", "save it again"),
]


@pytest.mark.parametrize(
    ("name", "data", "words"), [b[1:] for b in BAD_FILES], ids=[b[0] for b in BAD_FILES]
)
def test_a_bad_file_is_an_error(tmp_path: Path, name: str, data: bytes | None, words: str) -> None:
    """A file that is no table is an InputError of one line that names it; nothing is left."""
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError, match=words) as caught:
        clean(tmp_path, path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("staging*/*"))


def test_no_regular_file(tmp_path: Path) -> None:
    """A folder, a pipe or a device is no input, and nothing waits for one."""
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    for name, found in (("folder", "directory"), ("pipe", "regular"), ("zero", "regular")):
        with pytest.raises(InputError, match=found):
            clean(tmp_path, tmp_path / f"{name}.csv")


def test_a_header_only(tmp_path: Path) -> None:
    """A table without a row is a table."""
    empty = pa.schema([(name, pa.string()) for name in COLUMNS]).empty_table()
    parquet.write_table(empty, tmp_path / "a.parquet")
    result = clean(tmp_path, write_csv(tmp_path / "a.csv", []), tmp_path / "a.parquet")
    assert result.counts == [(0, 0, 0, 0)] * 2
    assert not result.parts


def test_billions_of_nothing(tmp_path: Path) -> None:
    """A Parquet file that says far more rows than it has bytes is refused."""
    table = pa.table({name: pa.nulls(5_000_000, pa.string()) for name in COLUMNS})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="5000000 rows in a file of fewer bytes"):
        clean(tmp_path, tmp_path / "a.parquet")


def test_long_values_of_parquet(tmp_path: Path) -> None:
    """A Parquet row that no line could hold is rejected; how its values begin is kept."""
    rows = [row(1, lot="x" * 200_000), row(2, personal_id="")]
    result = clean(tmp_path, write_parquet(tmp_path / "a.parquet", rows))
    assert result.counts == [(2, 1, 1, 0)]
    assert "too long" in result.reasons["1"]
    assert result.rejected[0]["lot"] == "x" * 100


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    """A Parquet file whose pages are damaged is an error, not rows."""
    path = write_parquet(tmp_path / "a.parquet", [row(n) for n in range(1000)])
    data = bytearray(path.read_bytes())
    data[100:3000] = os.urandom(2900)
    path.write_bytes(data)
    with pytest.raises(InputError, match="save it again"):
        clean(tmp_path, path)


def test_a_file_that_changes(tmp_path: Path) -> None:
    """A file that changes while it is read is refused."""
    path = write_csv(tmp_path / "a.csv", [row(1)])
    with (
        pytest.raises(InputError, match="was changed"),
        open_input(path),
        path.open("a") as file,
    ):
        file.write("more")


def test_odd_file_names(tmp_path: Path) -> None:
    """Patterns, quotes and bytes that are no UTF-8 are only a name."""
    folder = tmp_path / "a[1]*'?"
    folder.mkdir()
    paths = [folder / "b*[x]'.csv", folder / "c?;.parquet", folder / os.fsdecode(b"d\xff.csv")]
    write_csv(paths[0], [row(1, sex="x")])
    write_parquet(paths[1], [row(2, sex="x")])
    write_csv(paths[2], [row(3, sex="x")])
    first = clean(folder, [row(9, personal_id="")])
    result = clean(folder, *paths, prior=first.parts)
    assert [r["source"] for r in result.rejected] == ["b*[x]'.csv", "c?;.parquet", "d\\xff.csv"]
    assert result.counts == [(1, 0, 1, 0)] * 3


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([".csv", ".jsonl", ".parquet"]), st.binary(min_size=1, max_size=300))
def test_any_bytes(tmp_path: Path, kind: str, data: bytes) -> None:
    """Any bytes after a good beginning are rows, or an InputError of one line."""
    path = tmp_path / f"a{kind}"
    beginning = {".csv": HEADER + b"\n", ".jsonl": b'{"record_id":1}\n', ".parquet": b"PAR1"}
    path.write_bytes(beginning[kind] + data)
    try:
        with WorkFolder(tmp_path / "work") as folder:
            load(path, folder)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
