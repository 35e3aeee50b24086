"""Cleaning from end to end: every row ends in exactly one place, in whatever order it comes."""

from __future__ import annotations

import random
import resource
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from prepare.cleaning import (
    BAD,
    JANSSEN,
    MODERNA,
    PFIZER,
    SECRET,
    SETTINGS,
    Cleaned,
    clean,
    people,
    row,
    write_csv,
    write_jsonl,
    write_parquet,
)
from vaxpass_sign.errors import InputError, RecordError
from vaxpass_sign.prepare.clean import CleanSettings, clean_tables


def places(result: Cleaned) -> Counter[tuple[str, str]]:
    """How often each identity stands in what was written."""
    ids = [(i["facility_id"], i["record_id"]) for r in result.clean for i in r["record_ids"]]
    return Counter(
        [*ids, *((r["facility_id"] or "", r["record_id"] or "") for r in result.rejected)]
    )


# --- one run -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_every_row_in_exactly_one_place(tmp_path: Path, kind: str) -> None:
    """Good rows are clean, bad ones rejected with reasons and all their columns."""
    writers = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}
    rows = people(4200, BAD)
    result = clean(tmp_path, writers[kind](tmp_path / f"a.{kind}", rows))
    assert result.counts == [(4200, 4194, 6, 0)]
    assert places(result) == Counter((r["facility_id"], r["record_id"]) for r in rows)
    assert [r["hometown"] for r in result.rejected] == [f"village {n}" for n in sorted(BAD)]
    words = ["birth_date", "vaccine_name", "fnt", "future", "record_id", "dose_number"]
    for bad, word in zip(result.rejected, words, strict=True):
        assert word in "; ".join(bad["reasons"])
        assert (bad["source"], bad["line"], bad["rest"]) == (f"a.{kind}", None, "")


def test_the_three_kinds_are_one(tmp_path: Path) -> None:
    """The same rows give the same bytes, whatever kind of file they come in."""
    rows = people(300, BAD)
    results = [
        clean(tmp_path, write_csv(tmp_path / "a.csv", rows)),
        clean(tmp_path, write_jsonl(tmp_path / "a.jsonl", rows)),
        clean(tmp_path, write_parquet(tmp_path / "a.parquet", rows)),
    ]
    assert len({tuple(p.read_bytes() for p in r.parts) for r in results}) == 1
    assert len({str([r["reasons"] for r in result.rejected]) for result in results}) == 1


def test_the_operators_settings(tmp_path: Path) -> None:
    """The operator's vaccines and column names count, and so does the last day."""
    sets = SETTINGS.value_sets.extend(
        {"format": "vaxpass-sign value sets 1", "product_names": {"Elixir": PFIZER}}
    )
    rows = [
        row(1, product="", vaccin="Elixir"),
        row(2, product="", vaccin="Pfizer", vaccination_date="2021-07-02"),
    ]
    mine = CleanSettings("LA", "2021-07-01", sets, {"vaccin": "vaccine_name"})
    result = clean(tmp_path, rows, settings=mine)
    assert result.counts == [(2, 1, 1, 0)]
    assert result.clean[0]["uvci"].startswith("URN:UVCI:01:LA:")
    assert "future" in result.reasons["2"]
    assert result.rejected[0]["vaccin"] == "Pfizer"


def test_bad_calls(tmp_path: Path) -> None:
    """No input, a map to no column, a short secret: errors, and nothing is written."""
    path = write_csv(tmp_path / "a.csv", [row(1)])
    with pytest.raises(InputError, match="no input"):
        clean(tmp_path)
    with pytest.raises(InputError, match="fullname"):
        clean(tmp_path, path, settings=CleanSettings("VN", "2025-01-01", columns={"x": "fullname"}))
    with pytest.raises(RecordError, match="today"):
        clean(tmp_path, path, settings=CleanSettings("VN", "today"))
    with pytest.raises(InputError, match="32"):
        clean_tables([path], tmp_path, batch=1, prior=[], settings=SETTINGS, secret=b"x")
    with pytest.raises(InputError, match="can't be made"):
        clean_tables([path], tmp_path / "no", batch=1, prior=[], settings=SETTINGS, secret=SECRET)


def test_progress(tmp_path: Path) -> None:
    """Progress tells each stage, and of rows how many are done."""
    told: list[tuple[str, int, int]] = []
    clean(tmp_path, people(12_000), progress=lambda *step: told.append(step))
    assert list(dict.fromkeys(stage for stage, _, _ in told)) == ["load", "check", "merge", "write"]
    assert [step for step in told if step[0] == "check"] == [
        ("check", 10_000, 12_000),
        ("check", 12_000, 12_000),
    ]
    assert told[-1] == ("write", 12_000, 12_000)


def test_the_same_file_twice(tmp_path: Path) -> None:
    """The same bytes again are all repeated, bad rows included."""
    rows = people(100, BAD)
    a, b = write_csv(tmp_path / "a.csv", rows), write_csv(tmp_path / "b.csv", rows)
    result = clean(tmp_path, a, b, a)
    assert result.counts == [(100, 94, 6, 0), (100, 0, 0, 100), (100, 0, 0, 100)]
    assert [i.name for i in result.result.inputs] == ["a.csv", "b.csv", "a.csv"]
    assert len(result.result.rejected_parts) == 1


# --- properties ----------------------------------------------------------------------------

day = st.sampled_from(["2021-07-01", "2021-07-02", "2021-08-01", "2021-13-01"])
tables = st.lists(
    st.builds(
        row,
        st.integers(1, 6),
        facility_id=st.sampled_from(["A", "B"]),
        full_name=st.sampled_from(["Nguyễn An"] * 4 + ["Trần Anh"]),
        birth_date=st.sampled_from(["1987-04-12", "1987", ""]),
        personal_id=st.sampled_from(["019187000001", "019187000002", "", "B1"]),
        product=st.sampled_from([PFIZER, PFIZER, JANSSEN, MODERNA]),
        dose_number=st.sampled_from(["1", "2", "3", "9"]),
        dose_total=st.sampled_from(["", "", "2"]),
        vaccination_date=day,
    ),
    max_size=14,
)


@settings(max_examples=60)
@given(st.lists(tables, min_size=1, max_size=3), tables, st.randoms())
def test_any_tables(
    inputs: list[list[dict[str, Any]]], later: list[dict[str, Any]], rng: random.Random
) -> None:
    """Every row ends in exactly one place; the order of rows and files changes no byte."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        first = clean(folder, *inputs)
        rows = [r for table in inputs for r in table]
        rng.shuffle(rows)
        cut = rng.randint(0, len(rows))
        shuffled = clean(folder, rows[cut:], rows[:cut])
        assert [p.read_bytes() for p in first.parts] == [p.read_bytes() for p in shuffled.parts]
        second = clean(folder, later, prior=first.parts, batch=2)
        merged = [
            (i["facility_id"], i["record_id"])
            for r in [*first.clean, *second.clean]
            for i in r["record_ids"]
        ]
        assert len(merged) == len(set(merged)), "an identity stands in one clean row"
        uvcis = [r["uvci"] for r in [*first.clean, *second.clean]]
        assert len(uvcis) == len(set(uvcis))
        heads = Counter((r["person_key"], r["tg"]) for r in first.clean)
        assert set(heads.values()) <= {1}
        known = {r["uvci"] for r in first.clean}
        superseded = [r["supersedes"] for r in second.clean if r["supersedes"]]
        assert set(superseded) <= known
        assert len(superseded) == len(set(superseded))
        assert all(1 <= r["dn"] <= 9 and 1 <= r["sd"] <= 9 for r in [*first.clean, *second.clean])


# --- failures ---------------------------------------------------------


@pytest.mark.parametrize("kilobytes", [1, 8, 40, 70, 100, 150, 200])
def test_a_disk_that_is_full(tmp_path: Path, kilobytes: int) -> None:
    """Wherever writing fails, cleaning ends with one line and leaves nothing; then it succeeds."""
    rows = people(1500, BAD)
    path = write_csv(tmp_path / "a.csv", rows)
    limit, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1000, hard))
    try:
        with pytest.raises(InputError) as caught:
            clean(tmp_path, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("staging*/*"))
    assert clean(tmp_path, path).counts == [(1500, 1494, 6, 0)]


def test_what_a_killed_run_left(tmp_path: Path) -> None:
    """The leavings of a run that was killed don't disturb the next."""
    path = write_csv(tmp_path / "a.csv", [row(1)])
    staging = tmp_path / "s"
    (staging / "work-000001" / "spill").mkdir(parents=True)
    (staging / "work-000001" / "merged.parquet").write_bytes(b"half")
    (staging / "clean-000001-0001.parquet").write_bytes(b"half")
    result = clean_tables([path], staging, batch=1, prior=[], settings=SETTINGS, secret=SECRET)
    assert [p.path for p in result.clean_parts] == list(staging.iterdir())
    assert parquet.read_table(result.clean_parts[0].path).num_rows == 1
