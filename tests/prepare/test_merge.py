"""Merging over all rows: identities, persons, and what is clean from earlier runs."""

from __future__ import annotations

import random
from pathlib import Path

from prepare.cleaning import JANSSEN, SETTINGS, clean, dose, people, row
from vaxpass_sign.prepare.clean import CleanSettings


def test_a_row_twice(tmp_path: Path) -> None:
    """The very same row again is repeated, in the same input or another, and nothing else."""
    one, two = row(1), dose(2, 2, "2021-08-01")
    result = clean(tmp_path, [one, two, one], [two, one | {"full_name": "Nguyễn Thị  Minh Khai"}])
    assert result.counts == [(3, 2, 0, 1), (2, 0, 0, 2)]
    assert result.doses == [("2021-08-01", 2, 2)]


def test_one_identity_with_two_contents(tmp_path: Path) -> None:
    """Rows of one identity that differ are all rejected: nobody can say which is right."""
    rows = [row(1), row(1, lot="L1"), row(1), row(1, facility_id="B", personal_id="")]
    result = clean(tmp_path, rows)
    assert result.counts == [(4, 1, 3, 0)]
    assert "that differ" in result.reasons["1"]
    assert result.clean[0]["facility_id"] == "B"


def test_a_number_is_its_facilitys(tmp_path: Path) -> None:
    """Rows of two facilities with one record_id and no personal number are two persons."""
    result = clean(tmp_path, [row(1, personal_id=""), row(1, personal_id="", facility_id="B")])
    assert len({r["person_key"] for r in result.clean}) == 2


def test_personal_numbers_decide_the_person(tmp_path: Path) -> None:
    """Rows with one number are one person, whatever facility; two names are never merged."""
    rows = [
        dose(1, 1, "2021-07-01"),
        dose(1, 2, "2021-08-01", facility_id="B", id_kind="cccd"),
        dose(2, 1, "2021-07-01", personal_id="B 1234567"),
        dose(3, 2, "2021-08-01", personal_id="b1234567", full_name="Trần Văn Bình"),
        dose(4, 1, "2021-07-01", personal_id=""),
    ]
    result = clean(tmp_path, rows)
    assert result.counts == [(5, 3, 2, 0)]
    assert result.reasons.keys() == {"2", "3"}
    assert "another name" in result.reasons["2"]
    assert sorted(result.doses) == [("2021-07-01", 1, 2), ("2021-08-01", 2, 2)]


def test_one_dose_against_two_diseases(tmp_path: Path) -> None:
    """A dose that is told of two diseases would give two credentials one UVCI."""
    sets = SETTINGS.value_sets.extend(
        {
            "format": "vaxpass-sign value sets 1",
            "sets": {
                "disease-agent-targeted": {
                    "version": "1",
                    "date": "2026-01-01",
                    "codes": {"840539006": "COVID-19", "14189004": "Measles"},
                }
            },
        }
    )
    settings = CleanSettings("VN", "2025-12-31", sets)
    rows = [
        row(1, disease=""),
        row(2, disease="14189004"),
        row(3, disease="14189004", personal_id=""),
    ]
    result = clean(tmp_path, rows, settings=settings)
    assert result.counts == [(3, 1, 2, 0)]
    assert "two diseases" in result.reasons["1"]
    other = row(4, disease="14189004", vaccination_date="2021-07-02")
    both = clean(tmp_path, [rows[0], other], settings=settings)
    assert sorted(r["tg"] for r in both.clean) == ["14189004", "840539006"]
    again = clean(tmp_path, [rows[1]], prior=both.parts, settings=settings)
    assert "two diseases" in again.reasons["2"]


def test_a_later_dose_supersedes(tmp_path: Path) -> None:
    """A later run's dose makes a new clean row that names the one it supersedes."""
    first = clean(tmp_path, [row(1, product=JANSSEN)])
    second = clean(tmp_path, [dose(2, 2, "2021-08-01")], prior=first.parts, batch=2)
    third = clean(
        tmp_path, [dose(3, 1, "2022-01-01")], prior=[*second.parts, *first.parts], batch=3
    )
    assert [r.doses[0] for r in (first, second, third)] == [
        ("2021-07-01", 1, 1),
        ("2021-08-01", 2, 1),
        ("2022-01-01", 3, 1),
    ]
    assert second.clean[0]["supersedes"] == first.clean[0]["uvci"]
    assert third.clean[0]["supersedes"] == second.clean[0]["uvci"]
    assert [i["record_id"] for i in third.clean[0]["record_ids"]] == ["3"]
    assert [r.result.superseding for r in (first, second, third)] == [0, 1, 1]


def test_what_is_clean_already(tmp_path: Path) -> None:
    """Against earlier clean rows a row is repeated, or rejected, or new."""
    first = clean(
        tmp_path, [dose(1, 1, "2021-07-01"), dose(2, 2, "2021-08-01"), row(9, personal_id="")]
    )
    rows = [
        dose(1, 1, "2021-07-01"),  # the very same
        dose(2, 2, "2021-08-01", lot="L9"),  # corrected
        dose(3, 2, "2021-08-01"),  # the same dose from elsewhere
        dose(4, 1, "2021-06-01"),  # an earlier dose
        row(9, personal_id=""),
        row(9, personal_id="", lot="x"),
        dose(5, 3, "2022-01-01"),
        row(10, personal_id=""),
    ]
    again = clean(tmp_path, rows, prior=first.parts, batch=2)
    assert again.counts == [(8, 2, 4, 2)]
    words = {
        "2": "can't be corrected",
        "3": "clean already",
        "4": "before the dose",
        "9": "can't be corrected",
    }
    assert again.reasons.keys() == words.keys()
    for record_id, word in words.items():
        assert word in again.reasons[record_id]
    assert sorted(again.doses) == [("2021-07-01", 1, 2), ("2022-01-01", 3, 3)]


def test_cleaning_again_is_all_repeated(tmp_path: Path) -> None:
    """What was cleaned once is repeated when it comes again, in other files and another order."""
    rows = people(3000)
    first = clean(tmp_path, rows)
    random.Random(1).shuffle(rows)
    again = clean(tmp_path, rows[:1000], rows[1000:], prior=first.parts, batch=2)
    assert again.counts == [(1000, 0, 0, 1000), (2000, 0, 0, 2000)]
    assert not again.parts
