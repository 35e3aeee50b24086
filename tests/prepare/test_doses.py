"""One dose-table row → one record."""

from __future__ import annotations

import pytest

from vaxpass_sign.errors import InputError, RecordError
from vaxpass_sign.prepare.doses import (
    check_columns,
    record_from_mapping,
    record_from_row,
    split_full_name,
)

ROW = {
    "full_name": "Nguyễn Thị Minh Khai",
    "birth_date": "1987-04-12",
    "dose_number": "2",
    "vaccination_date": "2021-11-20",
    "vaccine_name": "Pfizer",
}


@pytest.mark.parametrize(
    ("full_name", "family", "given"),
    [
        ("Nguyễn Thị Minh Khai", "Nguyễn", "Thị Minh Khai"),
        ("  Lê   Lợi ", "Lê", "Lợi"),
        ("TÔN NỮ THỊ NINH", "TÔN NỮ", "THỊ NINH"),
        ("Tôn Thất Tùng", "Tôn Thất", "Tùng"),
        ("Công Tằng Tôn Nữ Hỷ Khương", "Công Tằng Tôn Nữ", "Hỷ Khương"),
        ("Tôn Nữ", "Tôn", "Nữ"),
        ("Tôn Đức Thắng", "Tôn", "Đức Thắng"),
        ("Siu", "Siu", ""),
        ("To\u0302n Nu\u031b\u0303 La", "Tôn Nữ", "La"),
    ],
)
def test_full_names(full_name: str, family: str, given: str) -> None:
    """The first word is the family's, but for the known families of several words."""
    assert split_full_name(full_name) == (family, given)


DOSES = [
    ("EU/1/20/1528", "1", 2),
    ("EU/1/20/1528", "2", 2),
    ("EU/1/20/1528", "3", 3),
    ("EU/1/20/1528", "4", 4),
    ("EU/1/20/1525", "1", 1),
    ("EU/1/20/1525", "2", 1),
    ("Abdala", "1", 3),
    ("Abdala", "3", 3),
]


@pytest.mark.parametrize(("product", "number", "total"), DOSES)
def test_doses_in_the_series(product: str, number: str, total: int) -> None:
    """Where a row does not say, sd follows the EU's rule: 1/2, 2/2, booster 3/3; 1/1, booster 2/1."""
    row = ROW | {"product": product, "vaccine_name": "", "dose_number": number}
    assert record_from_row(row).dose_total == total


def test_a_row_that_says_its_total() -> None:
    """A row's own total stands."""
    assert record_from_row(ROW | {"dose_total": "5"}).dose_total == 5


def test_product_before_name() -> None:
    """A product code is taken before a name."""
    assert record_from_row(ROW | {"product": "BBIBP-CorV"}).product == "BBIBP-CorV"


def test_empty_means_absent() -> None:
    """Empty text and null are as if the column were missing."""
    record = record_from_row(
        ROW | {"manufacturer": "", "vaccine": None, "country": "", "surname": "", "dose_total": ""}
    )
    assert record.manufacturer == "ORG-100030215"
    assert record.surname == "Nguyễn"


def test_personal_columns_never_reach_the_record() -> None:
    """Lot, sex, nationality and numbers are no part of a record."""
    extra = {"lot": "L-77", "sex": "F", "nationality": "VN", "personal_id": "019187000001"}
    assert record_from_row(ROW | extra) == record_from_row(ROW)


def test_every_violation_at_once() -> None:
    """All that is wrong with a row is said at once, and no personal value is repeated."""
    bad = {
        "full_name": "王小明",
        "birth_date": "31/12/1987",
        "dose_number": "two",
        "vaccination_date": "2021-13-01",
        "vaccine_name": "Elixir",
    }
    with pytest.raises(RecordError) as caught:
        record_from_row(bad)
    fields = [violation.field for violation in caught.value.violations]
    assert {"birth_date", "dose_number", "vaccination_date", "vaccine_name"} <= set(fields)
    assert "product" not in fields
    for personal in ("王", "1987", "2021-13"):
        assert personal not in str(caught.value)


def test_missing_columns() -> None:
    """Every missing column is named at once, with what was found."""
    with pytest.raises(InputError) as caught:
        check_columns(["full_name", "hometown"], also_required=("record_id",))
    for word in ("record_id", "birth_date", "dose_number", "product or vaccine_name", "hometown"):
        assert word in str(caught.value)


def test_a_table_without_a_header_shows_nobody() -> None:
    """Where no known name is found the first line is a row, and the error repeats none of it."""
    with pytest.raises(InputError, match="begins with its header") as caught:
        check_columns(["Nguyễn Thị Thí Dụ", "1987-04-12", "Pfizer"])
    assert "Thí" not in str(caught.value)
    assert "1987" not in str(caught.value)


def test_a_mapping_with_a_misspelt_name() -> None:
    """A single record with an unknown name is refused: it may be a misspelt one."""
    with pytest.raises(InputError, match="dose_totl"):
        record_from_mapping(ROW | {"dose_totl": 2})


def test_a_mapping_with_numbers() -> None:
    """JSON's numbers are taken where the column is a number."""
    assert record_from_mapping(ROW | {"dose_number": 2, "dose_total": 2}).dose_number == 2


@pytest.mark.parametrize("value", [None, [], {}, 2.5, True, "²", "9" * 30, "-1", "1e3"])
def test_odd_dose_numbers(value: object) -> None:
    """A dose number that is none is a violation, never another exception."""
    with pytest.raises(RecordError) as caught:
        record_from_row(ROW | {"dose_number": value})
    assert "dose_number" in {violation.field for violation in caught.value.violations}


@pytest.mark.parametrize("field", ["full_name", "vaccine_name", "product", "birth_date"])
@pytest.mark.parametrize("value", [5, ["x"], {"a": 1}, True])
def test_odd_types(field: str, value: object) -> None:
    """A value of another type is a violation, never another exception."""
    with pytest.raises(RecordError):
        record_from_row(ROW | {field: value})
