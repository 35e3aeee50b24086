"""What columns mean, and how a rejected table comes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepare.cleaning import COLUMNS
from vaxpass_sign.errors import InputError
from vaxpass_sign.prepare.headers import check_map, name_columns, rejected_name, returned_name


def test_the_operators_names() -> None:
    """Other systems' names are given a meaning; what has none keeps its name."""
    header = ["ho_ten" if n == "full_name" else n for n in COLUMNS] + [" note "]
    columns = name_columns("a.csv", header, {"ho_ten": "full_name", "not there": "lot"})
    assert columns.names == (*header[:-1], "note")
    assert columns.meanings == (*COLUMNS, "")
    assert columns.places == tuple(range(len(header)))


BAD = [
    ("none", [], {}, "0 columns"),
    ("1001 columns", [f"x{n}" for n in range(1001)], {}, "1001 columns"),
    ("one twice", [*COLUMNS, "lot "], {}, "different names"),
    ("two of one meaning", [*COLUMNS, "ho_ten"], {"ho_ten": "full_name"}, "two columns that mean full_name"),
    ("a missing one", [n for n in COLUMNS if n != "record_id"], {}, "no column record_id"),
    ("one that was renamed", COLUMNS, {"birth_date": "lot"}, "two columns that mean lot"),
    ("not UTF-8", [*COLUMNS, "\udcff"], {}, "not UTF-8"),
    ("a row instead", ["Nguyễn Văn A", "1987-04-12"], {}, "none of a dose table's"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("header", "names", "words"), [b[1:] for b in BAD], ids=[b[0] for b in BAD]
)
def test_bad_headers(header: list[str], names: dict[str, str], words: str) -> None:
    """A header that is no dose table's is an error of one line that names the file."""
    with pytest.raises(InputError, match=words) as caught:
        name_columns("a.csv", header, names)
    assert str(caught.value).startswith("a.csv: ")
    assert "\n" not in str(caught.value)
    assert "Nguyễn" not in str(caught.value)


def test_a_map_to_no_column() -> None:
    """A map to a name that no dose table has is an error."""
    with pytest.raises(InputError, match="fullname"):
        check_map({"ho_ten": "fullname"})


def test_a_rejected_table_that_comes_back() -> None:
    """What cleaning added is dropped; the input's own columns of such a name get it back."""
    own = [*COLUMNS, "line", "input_rest"]
    header = ["source", "line", "reasons", *map(rejected_name, own), "rest"]
    columns = name_columns("a.csv", header, {})
    assert list(columns.names) == own
    assert columns.mended
    assert columns.places == tuple(range(3, 3 + len(own)))


@given(st.from_regex(r"(input_){0,3}(source|line|reasons|rest|row|x)", fullmatch=True))
def test_names_come_back(name: str) -> None:
    """Whatever an input calls a column, it has that name again when it is mended."""
    assert returned_name(rejected_name(name)) == name
    assert rejected_name(name) not in ("source", "line", "reasons", "rest", "row")
