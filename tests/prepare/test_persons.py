"""Merging one person's doses: the table of what comes of them."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from prepare.cleaning import JANSSEN, MODERNA, PFIZER
from vaxpass_sign.prepare.persons import Dose, merge_person, refuse_shared_doses
from vaxpass_sign.record.valuesets import ValueSets

SETS = ValueSets.default()


def new(record_id: str, day: str, dn: int, mp: str = PFIZER, **changes: Any) -> Dose:
    """A new dose; its sd is what a row of its own would have, unless the row gives one."""
    given = changes.get("sd_given", False)
    values = dict.fromkeys(Dose._fields, "") | {
        "uvci": None,
        "file": 0,
        "place": int(record_id),
        "person_key": b"p" * 32,
        "record_id": record_id,
        "dose_sha256": b"h" * 32,
        "fnt": "NGUYEN",
        "gnt": "AN",
        "birth_date": "1987-04-12",
        "tg": "840539006",
        "mp": mp,
        "dn": dn,
        "sd": 9 if given else 0,
        "sd_given": False,
        "dt": day,
    }
    return Dose(**values | changes)


def clean(day: str, dn: int, sd: int, mp: str = PFIZER, **changes: Any) -> Dose:
    """An earlier clean row, whose UVCI is its day."""
    more = {"uvci": f"uvci of {day}", "file": None, "place": None, "dose_sha256": b"", "sd": sd}
    return new("0", day, dn, mp, **more | changes)


A, B, C, D = "2021-07-01", "2021-08-01", "2022-01-01", "2022-06-01"

MERGED = [
    # name, new doses, earlier, (day, dn, sd) of the clean row
    ("one dose", [new("1", A, 1, sd=2)], [], (A, 1, 2)),
    ("two doses", [new("1", A, 1), new("2", B, 2)], [], (B, 2, 2)),
    ("a booster", [new("1", A, 1), new("2", B, 2), new("3", C, 3)], [], (C, 3, 3)),
    ("only the third is known", [new("3", C, 3), new("4", D, 4)], [], (D, 4, 4)),
    ("one-dose series", [new("1", A, 1, JANSSEN, sd=1)], [], (A, 1, 1)),
    ("Janssen, then Pfizer", [new("1", A, 1, JANSSEN), new("2", C, 2)], [], (C, 2, 1)),
    ("Janssen, then Pfizer twice", [new("1", A, 1, JANSSEN), new("2", C, 2), new("3", D, 3)], [], (D, 3, 1)),
    ("Pfizer, then Moderna", [new("1", A, 1), new("2", B, 2, MODERNA)], [], (B, 2, 2)),
    ("Pfizer twice, then Janssen", [new("1", A, 1), new("2", B, 2), new("3", C, 3, JANSSEN)], [], (C, 3, 3)),
    ("the booster counted anew", [new("1", A, 1), new("2", B, 2), new("3", C, 1)], [], (C, 3, 3)),
    ("a dose that two facilities report", [new("1", A, 1), new("2", A, 1)], [], (A, 1, 2)),
    ("one of them counts it as the second", [new("1", A, 1), new("2", A, 2)], [], (A, 2, 2)),
    ("a row says its total", [new("1", A, 1), new("2", B, 2, sd=3, sd_given=True)], [], (B, 2, 3)),
    ("a total that fits no more", [new("1", A, 1), new("2", B, 1, sd=1, sd_given=True)], [], (B, 2, 2)),
    ("a product without a series", [new("1", A, 1, "no product"), new("2", B, 2, "no product")], [], (B, 2, 2)),
    ("nine doses", [new(str(n), f"2021-0{n}-01", n) for n in range(1, 10)], [], ("2021-09-01", 9, 9)),
    ("a second file with the second dose", [new("2", B, 2)], [clean(A, 1, 2)], (B, 2, 2)),
    ("it counts anew", [new("2", B, 1)], [clean(A, 1, 2)], (B, 2, 2)),
    ("a booster after 2/2", [new("3", C, 3, JANSSEN)], [clean(B, 2, 2)], (C, 3, 3)),
    ("Janssen is clean, then Pfizer", [new("2", C, 2)], [clean(A, 1, 1, JANSSEN)], (C, 2, 1)),
    ("Janssen lies before what is clean", [new("3", D, 3)], [clean(C, 2, 1)], (D, 3, 1)),
    ("two clean rows", [new("3", C, 3)], [clean(A, 1, 2), clean(B, 2, 2)], (C, 3, 3)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("doses", "earlier", "expected"), [m[1:] for m in MERGED], ids=[m[0] for m in MERGED]
)
def test_merged(doses: list[Dose], earlier: list[Dose], expected: tuple[str, int, int]) -> None:
    """The latest dose stands for all, whatever their order; sd follows the EU's rule."""
    for order in list(permutations(doses))[:24]:
        merged, refused = merge_person(order, earlier, SETS)
        assert refused == []
        assert (merged.dose.dt, merged.dn, merged.sd) == expected
        assert [m.record_id for m in merged.members] == sorted(d.record_id for d in doses)
        last = max((d.uvci for d in earlier), default=None)
        assert merged.supersedes == last


REFUSED = [
    # name, new doses, earlier, record_id → words of the reasons; the others are merged
    ("another name", [new("1", A, 1), new("2", B, 2, gnt="ANH")], [], {"1": "another name", "2": "another name"}),
    ("another name than what is clean", [new("2", B, 2, gnt="ANH")], [clean(A, 1, 2)], {"2": "another name"}),
    ("another birth date", [new("1", A, 1), new("2", B, 2, birth_date="1987-04-13")], [], {"1": "birth_date", "2": "birth_date"}),
    ("another year", [new("1", A, 1), new("2", B, 2, birth_date="1988")], [], {"1": "birth_date", "2": "birth_date"}),
    ("three, of which two fit", [new("1", A, 1, birth_date="1987"), new("2", B, 2), new("3", C, 3, birth_date="1987-05")], [], dict.fromkeys("123", "birth_date")),
    ("born after a vaccination", [new("1", "1987-02-01", 1, birth_date="1987"), new("2", B, 2)], [], dict.fromkeys("12", "birth_date")),
    ("two products on one day", [new("1", A, 1), new("2", A, 1, MODERNA), new("3", B, 2)], [], dict.fromkeys("123", "two products")),
    ("and with what is clean", [new("2", A, 2, MODERNA), new("3", B, 2)], [clean(A, 1, 2)], dict.fromkeys("23", "two products")),
    ("more days than nine", [new("2", B, 1), new("3", C, 2)], [clean(A, 8, 9)], dict.fromkeys("23", "more than 9")),
    ("clean already", [new("2", A, 1), new("3", B, 2)], [clean(A, 1, 2)], {"2": "clean already"}),
    ("an earlier clean one", [new("2", A, 1)], [clean(A, 1, 2), clean(B, 2, 2)], {"2": "clean already"}),
    ("before what is clean", [new("2", A, 1), new("3", C, 3)], [clean(B, 2, 2)], {"2": "before the dose"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("doses", "earlier", "expected"),
    [r[1:] for r in REFUSED],
    ids=[r[0] for r in REFUSED],
)
def test_refused(doses: list[Dose], earlier: list[Dose], expected: dict[str, str]) -> None:
    """People are never merged by mistake, and each dose is merged or refused, not both."""
    for order in list(permutations(doses))[:24]:
        merged, refused = merge_person(order, earlier, SETS)
        reasons = {r.dose.record_id: "; ".join(map(str, r.reasons)) for r in refused}
        assert reasons.keys() == expected.keys()
        for record_id, words in expected.items():
            assert words in reasons[record_id]
        members = [m.record_id for m in merged.members] if merged else []
        assert sorted([*members, *reasons]) == sorted(d.record_id for d in doses)


def test_reasons_repeat_no_value() -> None:
    """What is said of a person is in no reason."""
    doses = [new("1", A, 1), new("2", A, 1, MODERNA, gnt="ANH", birth_date="1999")]
    _, refused = merge_person(doses, [], SETS)
    (text,) = {"; ".join(map(str, r.reasons)) for r in refused}
    assert text.count("found") == 3
    assert not any(word in text for word in ("ANH", "NGUYEN", "1999", "1987", "2021"))


@pytest.mark.parametrize("dates", [("1987", "1987-04", "1987-04-12"), ("", "1987-04-12"), ("", "")])
def test_birth_dates_of_different_precision(dates: tuple[str, ...]) -> None:
    """The most precise date stands in the clean row, whichever row has it."""
    doses = [new(str(n), f"2021-0{n + 1}-01", n + 1, birth_date=d) for n, d in enumerate(dates)]
    for order in permutations(doses):
        merged, _ = merge_person(order, [], SETS)
        assert merged.birth_date == max(dates, key=len)


def test_names_are_compared_without_their_split() -> None:
    """Where a surname ends is no disagreement."""
    doses = [new("1", A, 1, fnt="TON<NU", gnt="AN"), new("2", B, 2, fnt="TON", gnt="NU<AN")]
    merged, refused = merge_person(doses, [], SETS)
    assert merged
    assert not refused


def test_one_dose_against_two_diseases() -> None:
    """Two clean rows would share a UVCI, so all of the person's new doses are refused."""
    doses = [new("1", A, 1), new("2", A, 1, tg="other"), new("3", B, 2)]
    assert [r.dose.record_id for r in refuse_shared_doses(doses, [])] == ["1", "2", "3"]
    assert refuse_shared_doses(doses[:1], [clean(A, 1, 2, tg="other")])
    assert not refuse_shared_doses([doses[0], doses[2]._replace(tg="other")], [])
