"""Dose tables of made-up rows, and cleaning them; for the tests of the prepare room."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from vaxpass_sign.prepare.clean import CleanResult, CleanSettings, clean_tables
from vaxpass_sign.sample import dose_rows

SECRET = bytes(range(32))
SETTINGS = CleanSettings("VN", "2025-12-31")
COLUMNS = (
    *("facility_id", "record_id", "province_code", "full_name", "birth_date", "sex"),
    *("nationality", "personal_id", "id_kind", "product", "dose_number", "dose_total"),
    *("vaccination_date", "lot"),
)
BAD = {
    10: {"birth_date": "1987-13-01"},
    11: {"vaccine_name": "Elixir"},
    12: {"full_name": "王小明"},
    13: {"vaccination_date": "2035-01-01"},
    14: {"record_id": ""},
    15: {"dose_number": "0", "birth_date": "soon"},
}
"""Row number → what is wrong with it, for :func:`people`."""

PFIZER, MODERNA, JANSSEN = "EU/1/20/1528", "EU/1/20/1507", "EU/1/20/1525"


def row(number: object, /, **changes: Any) -> dict[str, Any]:
    """A good row: a first dose of Pfizer of a person with a number; ``changes`` as told."""
    values = dict.fromkeys(COLUMNS, "") | {
        "facility_id": "TN001",
        "record_id": str(number),
        "province_code": "019",
        "full_name": "Nguyễn Thị Minh Khai",
        "birth_date": "1987-04-12",
        "sex": "F",
        "personal_id": "019187000001",
        "product": PFIZER,
        "dose_number": "1",
        "vaccination_date": "2021-07-01",
    }
    return values | changes


def dose(record_id: object, number: int, day: str, /, **changes: Any) -> dict[str, Any]:
    """A dose of the same person."""
    return row(record_id, dose_number=str(number), vaccination_date=day, **changes)


def people(count: int, changes: dict[int, dict[str, str]] | None = None) -> list[dict[str, str]]:
    """Rows of people without numbers, with a column of their own."""
    rows = [r | {"hometown": f"village {n}"} for n, r in enumerate(dose_rows(count))]
    for number, change in (changes or {}).items():
        rows[number] |= change
    return rows


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else COLUMNS, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    parquet.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


class Cleaned:
    """A run's result with the rows of what it wrote."""

    def __init__(self, result: CleanResult, staging: Path) -> None:
        self.result = result
        self.staging = staging
        self.parts = [part.path for part in result.clean_parts]
        self.clean = [r for path in self.parts for r in parquet.read_table(path).to_pylist()]
        self.rejected = [
            r for part in result.rejected_parts for r in parquet.read_table(part.path).to_pylist()
        ]

    @property
    def counts(self) -> list[tuple[int, int, int, int]]:
        """(rows, clean, rejected, repeated) of each input."""
        return [(i.rows, i.clean, i.rejected, i.repeated) for i in self.result.inputs]

    @property
    def doses(self) -> list[tuple[str, int, int]]:
        """(day, dn, sd) of each clean row."""
        return [(r["dt"], r["dn"], r["sd"]) for r in self.clean]

    @property
    def reasons(self) -> dict[str, str]:
        """record_id → reasons of what was rejected."""
        return {r["record_id"]: "; ".join(r["reasons"]) for r in self.rejected}


def clean(
    folder: Path,
    *inputs: Path | Sequence[Mapping[str, Any]],
    prior: Sequence[Path] = (),
    batch: int = 1,
    settings: CleanSettings = SETTINGS,
    **more: Any,
) -> Cleaned:
    """Clean files, or rows that are written as CSV first, into a new folder in ``folder``."""
    staging = folder / f"staging-{len(list(folder.iterdir()))}"
    staging.mkdir()
    paths = []
    for number, given in enumerate(inputs):
        if isinstance(given, Path):
            paths.append(given)
        else:
            paths.append(write_csv(folder / f"{staging.name}-{number}.csv", given))
    result = clean_tables(
        paths, staging, batch=batch, prior=prior, settings=settings, secret=SECRET, **more
    )
    written = [part.path for part in (*result.clean_parts, *result.rejected_parts)]
    assert sorted(staging.iterdir()) == sorted(written), "staging holds what the result names"
    for count in result.inputs:
        assert count.rows == count.clean + count.rejected + count.repeated
    return Cleaned(result, staging)
