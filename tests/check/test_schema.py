"""The schema check against the published JSON schemas of all versions."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreign import schema_errors
from vaxpass_sign.check.schema import check_dcc

VERSIONS = ("1.0.0", "1.0.1", "1.1.0", "1.2.0", "1.2.1", "1.3.0", "1.3.1", "1.3.2", "1.3.3")
BASE = {"ver": "1.3.0", "dob": "1987-04-12", "nam": {"fn": "An", "fnt": "AN"}}
ENTRIES = {
    "v": {
        "tg": "840539006", "vp": "1119349007", "mp": "EU/1/20/1528", "ma": "ORG-100030215",
        "dn": 2, "sd": 2, "dt": "2021-11-20", "co": "VN", "is": "Bộ Y tế", "ci": "URN:UVCI:01:VN:A",
    },
    "t": {
        "tg": "840539006", "tt": "LP6464-4", "nm": "name", "ma": "1232", "tc": "centre",
        "sc": "2021-10-09T12:03:12Z", "tr": "260415000", "co": "VN", "is": "i", "ci": "c",
    },
    "r": {
        "tg": "840539006", "fr": "2021-10-09", "co": "VN", "is": "i", "df": "2021-10-20",
        "du": "2022-04-09", "ci": "c",
    },
}  # fmt: skip


def dcc(kind: str) -> dict:
    return copy.deepcopy(BASE | {kind: [ENTRIES[kind]]})


@pytest.mark.parametrize("kind", ENTRIES)
def test_a_good_one_of_each_kind(kind: str) -> None:
    """One of each kind is good here and under every published version."""
    assert check_dcc(dcc(kind)) is None
    for version in VERSIONS:
        assert schema_errors(dcc(kind), version) == []


values = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 12), st.just(""), st.just("x" * 81), st.just("é" * 80),
    st.sampled_from(["VN", "vn", "1987", "1987-13", "1899-01-01", "2021-02-30", "A<B", "a<b", "1.3", "1.3.0",
                     "2021-10-09", "2021-10-09T12:03:12Z", "2021-10-09T12:03:12"]),
    st.lists(st.none(), max_size=2), st.just({}), st.just([{}]), st.just([{}, {}]),
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.sampled_from("vtr"), st.data())
def test_a_superset_of_all_versions(kind: str, data: st.DataObject) -> None:
    """Whatever 1.3.2 and 1.3.3 accept is accepted, apart from dates that are none.

    One to three fields are removed or get another value; where the newest schemas see no fault and
    we do, it must be about a date, which those schemas name as a format and don't enforce, or about
    the version, in whose pattern a dot stands for any character.
    """
    value = dcc(kind)
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.sampled_from(["top", "nam", "entry"]))
        entry = value.get(kind)
        target = value if where == "top" else value.get("nam") if where == "nam" else entry
        if where == "entry" and isinstance(entry, list) and entry:
            target = entry[0]
        if not isinstance(target, dict) or not target:
            continue
        field = data.draw(st.sampled_from(sorted(target)))
        if data.draw(st.booleans()):
            target[field] = data.draw(values)
        else:
            del target[field]
    fault = check_dcc(value)
    accepted = any(not schema_errors(value, version) for version in ("1.3.2", "1.3.3"))
    if accepted and fault:
        field = fault.split(":")[0].split(".")[-1]
        assert field in ("ver", "dt", "sc", "fr", "df", "du", "dob"), (fault, value)
    if fault:
        for text in ("1987", "VN", "xxx", "é"):
            assert text not in fault


TOLERATED = [
    ("null groups beside the one", dcc("v") | {"t": None, "r": None}),
    ("a time in a date field", dcc("r") | {"r": [ENTRIES["r"] | {"fr": "2021-10-09T00:00:00"}]}),
    ("a midnight behind the birth date", dcc("v") | {"dob": "1987-04-12T00:00:00"}),
    ("only a year", dcc("v") | {"dob": "1987"}),
    ("no birth date", dcc("v") | {"dob": ""}),
    ("a given name alone", dcc("v") | {"nam": {"gnt": "AN"}}),
    ("1.0.0's date of the result", dcc("t") | {"t": [ENTRIES["t"] | {"dr": "2021-10-09T13:00:00Z"}]}),
    ("an offset without a colon", dcc("t") | {"t": [ENTRIES["t"] | {"sc": "2021-10-09T13:00:00+0700"}]}),
    ("a country written out", dcc("v") | {"v": [ENTRIES["v"] | {"co": "Viet Nam"}]}),
    ("fields that we don't know", dcc("v") | {"x": 1, "v": [ENTRIES["v"] | {"y": 2}]}),
]  # fmt: skip


@pytest.mark.parametrize("value", [t[1] for t in TOLERATED], ids=[t[0] for t in TOLERATED])
def test_tolerated(value: dict) -> None:
    """What some issuers write is read."""
    assert check_dcc(value) is None


FAULTS = [
    ("a week date", {"dt": "2021-W46-6"}, "v.dt"),
    ("a date without dashes", {"dt": "20211120"}, "v.dt"),
    ("29 February of no leap year", {"dt": "2021-02-29"}, "v.dt"),
    ("a long country", {"co": "A" + "a" * 80}, "v.co"),
    ("no country", {"co": ""}, "v.co"),
    ("a long UVCI", {"ci": "A" * 81}, "v.ci"),
]


@pytest.mark.parametrize(("change", "place"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_faults_of_an_entry(change: dict, place: str) -> None:
    """A fault is named by its place."""
    fault = check_dcc(dcc("v") | {"v": [ENTRIES["v"] | change]})
    assert fault is not None
    assert fault.startswith(f"{place}: found ")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda i: (
            st.lists(i)
            | st.dictionaries(st.sampled_from(["ver", "dob", "nam", "v", "t", "r", "fnt", "tg"]), i)
        ),
    )
)
def test_any_value(value: object) -> None:
    """Any map at all is checked without an exception."""
    if isinstance(value, dict):
        assert check_dcc(value) is None or isinstance(check_dcc(value), str)
        json.dumps(value)
