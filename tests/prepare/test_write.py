"""Clean parts: what a row holds, in which order, in which files."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from pyarrow import parquet

from prepare.cleaning import PFIZER, SECRET, clean, dose, row
from vaxpass_sign.prepare import write
from vaxpass_sign.prepare.schemas import hash_columns, open_clean
from vaxpass_sign.record.uvci import check_uvci, derive_uvci


def test_a_clean_row(tmp_path: Path) -> None:
    """A clean row is the latest dose, with its UVCI, its hash and the rows it was merged from."""
    doses = [dose(2, 2, "2021-08-01", lot="L2", facility_id="B"), dose(1, 1, "2021-07-01")]
    result = clean(tmp_path, doses)
    (only,) = result.clean
    key = only["person_key"]
    assert only["uvci"] == derive_uvci(SECRET, "VN", key, PFIZER, "2021-08-01")
    check_uvci(only["uvci"])
    assert (only["dn"], only["sd"], only["lot"], only["facility_id"]) == (2, 2, "L2", "B")
    assert (only["revision"], only["supersedes"], only["co"], only["is"]) == (0, None, "", "")
    assert [i["record_id"] for i in only["record_ids"]] == ["2", "1"]
    assert hash_columns(parquet.read_table(result.parts[0])) == [only["row_sha256"]]


def test_the_order_of_clean_rows(tmp_path: Path) -> None:
    """Rows are sorted by province, facility and number, over all parts and inputs."""
    rng = random.Random(1)
    rows = [
        row(
            n,
            personal_id="",
            facility_id=f"F{rng.randrange(9)}",
            province_code=rng.choice(["", "019", "02"]),
        )
        for n in range(500)
    ]
    result = clean(tmp_path, rows[:200], rows[200:])
    order = [
        (r["province_code"], r["facility_id"], r["record_ids"][0]["record_id"])
        for r in result.clean
    ]
    assert order == sorted(order)


def test_parts_and_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts have a fixed number of rows, in row groups of 2000, but for the last."""
    monkeypatch.setattr(write, "PART_ROWS", 4000)
    result = clean(tmp_path, [row(n, personal_id="") for n in range(9000)], batch=7)
    assert [p.name for p in result.parts] == [f"clean-000007-{k:04}.parquet" for k in (1, 2, 3)]
    groups = []
    for path in result.parts:
        with open_clean(path) as file:
            meta = file.metadata
            groups.append([meta.row_group(g).num_rows for g in range(meta.num_row_groups)])
    assert groups == [[2000, 2000], [2000, 2000], [1000]]
    assert [p.rows for p in result.result.clean_parts] == [4000, 4000, 1000]


def test_files_are_private(tmp_path: Path) -> None:
    """What is written holds personal data and is the user's alone."""
    result = clean(tmp_path, [row(1), row(2, sex="x")])
    assert {p.stat().st_mode & 0o777 for p in result.staging.iterdir()} == {0o600}
