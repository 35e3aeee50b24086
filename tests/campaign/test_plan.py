"""What is to be signed, by what the ledger says: new rows, renewals, nothing twice."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaxpass_sign.campaign.plan import (
    UNSIGNED,
    Selection,
    Work,
    plan_new,
    plan_renewals,
    row_states,
)
from vaxpass_sign.campaign.ranges import count_rows, ranges_of, row_numbers, split_ranges
from vaxpass_sign.campaign.state import CleanPart, SignedPart, State

A, B = "clean/a", "clean/b"
DAY = 86_400


def part(clean: str, ranges: tuple, generation: int = 0, **facts) -> SignedPart:
    values = {
        "name": "signed/part-000001.parquet",
        "sha256": "",
        "bytes": 0,
        "rows": count_rows(ranges),
        "profile": "p",
        "issued_at": 0,
        "expires_at": 100 * DAY,
        "committed_at": 0,
        "refused": {},
    }
    return SignedPart(clean=clean, ranges=ranges, generation=generation, **(values | facts))


def state_of(*parts: SignedPart, a: int = 10, b: int = 0) -> State:
    state = State()
    for name, rows in ((A, a), (B, b)):
        if rows:
            state.clean[name] = CleanPart(name, "", 0, rows)
    for one in parts:
        state.parts_of.setdefault(one.clean, []).append(one)
    return state


NEW = {
    "nothing signed": (state_of(), {}, [(A, ((0, 10),))]),
    "two clean parts": (state_of(b=3), {}, [(A, ((0, 10),)), (B, ((0, 3),))]),
    "a beginning signed": (state_of(part(A, ((0, 4),))), {}, [(A, ((4, 10),))]),
    "a hole": (state_of(part(A, ((0, 2), (5, 10)))), {}, [(A, ((2, 5),))]),
    "all signed": (state_of(part(A, ((0, 10),))), {}, []),
    "renewed ones are not new": (
        state_of(part(A, ((0, 10),)), part(A, ((0, 10),), 1)), {}, [],
    ),
    "superseded before it was signed": (state_of(), {A: np.array([0, 9])}, [(A, ((1, 9),))]),
    "refused by this profile": (
        state_of(part(A, ((0, 10),), refused={"too large": [3]})), {}, [],
    ),
    "refused by another profile": (
        state_of(part(A, ((0, 10),), profile="old", refused={"too large": [3, 7]})),
        {},
        [(A, ((3, 4), (7, 8)))],
    ),
    "refused by both": (
        state_of(
            part(A, ((0, 10),), profile="old", refused={"too large": [3, 7]}),
            part(A, ((3, 4), (7, 8)), refused={"too large": [7]}),
        ),
        {},
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("state", "superseded", "expected"), NEW.values(), ids=NEW)
def test_what_is_new(state: State, superseded: dict, expected: list) -> None:
    """Rows without a credential, but for superseded ones and those that this profile refused."""
    found = plan_new(state, superseded, "p")
    assert [(s.clean, s.ranges) for s in found] == expected
    assert {s.generation for s in found} <= {0}


RENEWALS = {
    "nothing signed": (state_of(), {}, []),
    "nothing expires": (state_of(part(A, ((0, 10),), expires_at=50 * DAY)), {}, []),
    "all expire": (state_of(part(A, ((0, 10),), expires_at=49 * DAY)), {}, [(1, ((0, 10),))]),
    "some expire": (
        state_of(part(A, ((0, 4),), expires_at=1), part(A, ((4, 10),))), {}, [(1, ((0, 4),))],
    ),
    "renewed already": (
        state_of(part(A, ((0, 10),), expires_at=1), part(A, ((0, 10),), 1)), {}, [],
    ),
    "renewed in part": (
        state_of(part(A, ((0, 10),), expires_at=1), part(A, ((2, 5),), 1)),
        {},
        [(1, ((0, 2), (5, 10)))],
    ),
    "the second time": (
        state_of(part(A, ((0, 9),), expires_at=1), part(A, ((0, 5),), 1, expires_at=2)),
        {},
        [(1, ((5, 9),)), (2, ((0, 5),))],
    ),
    "not what was superseded": (
        state_of(part(A, ((0, 10),), expires_at=1)), {A: np.array([0, 4])}, [(1, ((1, 4), (5, 10)))],
    ),
    "not what was never issued": (
        state_of(part(A, ((0, 10),), profile="old", expires_at=1, refused={"x": [0]})),
        {},
        [(1, ((1, 10),))],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("state", "superseded", "expected"), RENEWALS.values(), ids=RENEWALS)
def test_what_is_renewed(state: State, superseded: dict, expected: list) -> None:
    """The newest credential of a row counts, and the next generation follows it."""
    found = plan_renewals(state, superseded, "p", 50 * DAY)
    assert [(s.generation, s.ranges) for s in found] == expected


def test_work_is_cut_and_put_back() -> None:
    """Slices are of one clean part; what comes back goes out next; the count is kept."""
    work = Work([Selection(A, 0, ((0, 5), (8, 10))), Selection(B, 1, ((0, 3),))])
    assert work.rows == 10
    first = work.take(6)
    assert first == Selection(A, 0, ((0, 5), (8, 9)))
    assert work.take(6) == Selection(A, 0, ((9, 10),))
    work.put_back(Selection(A, 0, ((3, 5), (8, 9))))
    assert work.rows == 6
    assert [work.take(9) for _ in range(3)] == [
        Selection(A, 0, ((3, 5), (8, 9))),
        Selection(B, 1, ((0, 3),)),
        None,
    ]
    work.put_back(Selection(A, 0, ()))
    assert work.take(1) is None


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 45))
def test_ranges_are_the_mask(mask: list[bool], most: int) -> None:
    """Ranges name each true row once and in order; cutting them loses none."""
    ranges = ranges_of(np.array(mask, bool))
    rows = [row for row, wanted in enumerate(mask) if wanted]
    assert list(row_numbers(ranges)) == rows
    assert all(start < stop for start, stop in ranges)
    head, tail = split_ranges(ranges, most)
    assert list(row_numbers(head)) == rows[:most]
    assert list(row_numbers(tail)) == rows[most:]
    assert count_rows(head) + count_rows(tail) == len(rows)


def test_any_history_ends_with_nothing_new() -> None:
    """However the work is cut, refused, put back and renewed: no row twice, none left."""
    rng = random.Random(3)
    for _ in range(50):
        state, signed = state_of(a=60), []
        while selections := plan_new(state, {}, "p"):
            work = Work(selections)
            slice_ = work.take(rng.randint(1, 20))
            ranges, _ = split_ranges(slice_.ranges, rng.randint(1, 20))
            refused = {"x": [r for r in row_numbers(ranges) if rng.random() < 0.1]}
            done = part(A, ranges, refused=refused)
            signed += [r for r in row_numbers(ranges) if r not in refused["x"]]
            state.parts_of.setdefault(A, []).append(done)
        states = row_states(60, state.parts_of[A])
        generation, refused_by = states.generation, states.refused
        assert sorted(signed) == np.flatnonzero(generation == 0).tolist()
        assert len(signed) == len(set(signed))
        assert sorted([*signed, *refused_by.get("p", [])]) == list(range(60))
        assert set(np.flatnonzero(generation == UNSIGNED)) == set(refused_by.get("p", []))
