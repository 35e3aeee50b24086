"""The rules of a single row: all that is wrong at once, and never a personal value."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepare.cleaning import COLUMNS, PFIZER, SECRET, SETTINGS, row
from vaxpass_sign.errors import InputError, RecordError
from vaxpass_sign.prepare.check import Checker, CleanSettings
from vaxpass_sign.prepare.doses import record_from_row
from vaxpass_sign.prepare.schemas import CHECKED_SCHEMA, hash_rows
from vaxpass_sign.record.uvci import person_key, row_key
from vaxpass_sign.record.valuesets import ValueSets


def check(**changes: Any) -> dict[str, Any]:
    """The checked values of a row that is good."""
    result = Checker(SECRET, SETTINGS).check(row(1, **changes))
    assert isinstance(result, tuple), [str(v) for v in result]
    return dict(zip(CHECKED_SCHEMA.names[2:], result, strict=True))


def faults(**changes: Any) -> list[str]:
    """What is wrong with a row that is not."""
    result = Checker(SECRET, SETTINGS).check(row(1, **changes))
    assert isinstance(result, list)
    return [str(violation) for violation in result]


def test_a_checked_row() -> None:
    """A good row comes out as its record has it, with what is carried along."""
    values = check(lot=" L  1 ", nationality="VN", dose_total="2")
    record = record_from_row(row(1, dose_total="2"))
    names = {"tg": "disease", "vp": "vaccine", "mp": "product", "ma": "manufacturer"}
    names |= {"dn": "dose_number", "sd": "dose_total", "dt": "vaccination_date", "co": "country"}
    names |= {n: n for n in ("surname", "given_name", "fnt", "gnt", "birth_date")}
    assert {n: values[n] for n in names} == {n: getattr(record, f) for n, f in names.items()}
    assert (values["lot"], values["sex"], values["nationality"]) == ("L 1", "F", "VN")
    assert (values["province_code"], values["sd_given"]) == ("019", True)
    assert values["person_key"] == person_key(SECRET, "cccd", "019187000001")


BAD = [
    ("no record_id", {"record_id": ""}, "record_id: found nothing"),
    ("null as record_id", {"record_id": None}, "record_id: found nothing"),
    ("U+001F in record_id", {"record_id": "a\x1fb"}, "record_id: found a control"),
    ("U+001F in facility_id", {"facility_id": "a\x1fb"}, "facility_id: found a control"),
    ("a long facility_id", {"facility_id": "x" * 81}, "facility_id: found 81 characters"),
    ("a list as record_id", {"record_id": [1]}, "record_id: found a list"),
    ("true as record_id", {"record_id": True}, "record_id: found true or false"),
    ("an invisible lot", {"lot": "a\u202eb"}, "lot: found a control or invisible"),
    ("a list as province", {"province_code": ["019"]}, "province_code: found a list"),
    ("nam", {"sex": "nam"}, "sex: found 3 characters, expected M, F or empty"),
    ("a small m", {"sex": "m"}, "expected M, F or empty"),
    ("a number as sex", {"sex": 1}, "sex: found a number"),
    ("another nationality", {"nationality": "Việt Nam"}, "nationality: found 8 characters"),
    ("three letters", {"nationality": "VNM"}, "country-2-codes"),
    ("a list as nationality", {"nationality": ["VN"]}, "nationality: found a list"),
    ("a number as personal_id", {"personal_id": 19187000001}, "personal_id: found a number"),
    ("another id_kind", {"id_kind": "library card"}, "id_kind: found 12 characters"),
    ("a row as id_kind", {"id_kind": "row"}, "id_kind: found 3 characters"),
    ("a list as id_kind", {"id_kind": []}, "id_kind: found a list"),
    ("tomorrow", {"vaccination_date": "2026-01-01"}, "a day in the future"),
    ("a name in another script", {"full_name": "王小明"}, "fnt"),
    ("an unknown product", {"product": "Elixir"}, "product"),
]


@pytest.mark.parametrize(("changes", "words"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_faults(changes: dict[str, Any], words: str) -> None:
    """Each rule that is broken is one reason, with what was found and expected."""
    (text,) = faults(**changes)
    assert words in text


def test_every_fault_at_once() -> None:
    """All that is wrong is said at once, and no value is repeated."""
    bad = {"record_id": "", "sex": "nam", "birth_date": "31/12/1987", "full_name": "王小明"}
    bad |= {"nationality": "Lào", "id_kind": "12AB"}
    texts = faults(**bad)
    found = {text.split(":")[0] for text in texts}
    assert found == {"record_id", "sex", "birth_date", "surname", "nationality", "id_kind"}
    for value in ("nam,", "1987", "王", "Lào", "12AB", "019187"):
        assert value not in "; ".join(texts)


PERSONS = [
    ("019187000001", "", "cccd", "019187000001"),
    (" 0191 8700 0001 ", " CCCD ", "cccd", "019187000001"),
    ("123456789", "", "cmnd", "123456789"),
    ("b 1234567", "", "passport", "B1234567"),
    ("123456789012", "passport", "passport", "123456789012"),
]


@pytest.mark.parametrize(("number", "kind", "as_kind", "as_number"), PERSONS)
def test_persons(number: str, kind: str, as_kind: str, as_number: str) -> None:
    """A number has one spelling; its kind is told by its length where the row doesn't say."""
    key = check(personal_id=number, id_kind=kind)["person_key"]
    assert key == person_key(SECRET, as_kind, as_number)


@pytest.mark.parametrize("number", ["", "  ", None])
def test_a_row_without_a_number(number: str | None) -> None:
    """Without a number the row stands for its person, and no other row does."""
    assert check(personal_id=number)["person_key"] == row_key(SECRET, "TN001", "1")


def test_json_numbers() -> None:
    """JSON's whole numbers are taken where leading zeros mean nothing."""
    values = check(record_id=7, facility_id=12, dose_number=2, dose_total=2)
    assert (values["record_id"], values["facility_id"], values["dn"]) == ("7", "12", 2)


SAME = [
    {"full_name": "Nguyễn  Thị Minh Khai "},
    {"full_name": "Nguye\u0302\u0303n Thi\u0323 Minh Khai"},
    {"full_name": "", "surname": "Nguyễn", "given_name": "Thị Minh Khai"},
    {"product": "", "vaccine_name": "pfizer"},
    {"personal_id": "019 187 000 001", "id_kind": "cccd"},
    {"disease": "840539006"},
    {"dose_number": " 1"},
    {"note": "anything"},
]
OTHER = [
    {"full_name": "Nguyễn Thị Minh Khải"},
    {"birth_date": "1987"},
    {"sex": ""},
    {"nationality": "VN"},
    {"personal_id": ""},
    {"personal_id": "019187000002"},
    {"dose_total": "2"},
    {"lot": "L1"},
    {"province_code": "020"},
    {"fnt": "NGUYEN"},
    {"manufacturer": "ORG-100030215"},
    {"country": "VN"},
    {"issuer": "X"},
    {"vaccination_date": "2021-07-02"},
]


def test_a_rows_content() -> None:
    """What a row says decides its content, not how it is spelt or what is filled in."""
    (first,) = hash_rows([check()["dose_sha256"]])
    assert hash_rows(check(**c)["dose_sha256"] for c in SAME) == [first] * len(SAME)
    others = hash_rows(check(**c)["dose_sha256"] for c in OTHER)
    assert len({first, *others}) == len(OTHER) + 1


texts = st.sampled_from(
    ["", "1", "2", "9", "M", "VN", PFIZER, "Pfizer", "1987", "2021-07-01", "An"]
)
odd = st.one_of(texts, st.none(), st.integers(-1, 10), st.booleans(), st.floats(), st.lists(texts))
changes = st.dictionaries(st.sampled_from([*COLUMNS, "vaccine_name", "fnt"]), odd, max_size=3)


@given(st.lists(changes, min_size=1, max_size=8))
def test_what_is_kept_changes_nothing(rows: list[dict[str, Any]]) -> None:
    """A checker that has seen other rows judges each as a new one does, and as a record would."""
    checker = Checker(SECRET, SETTINGS)
    for change in [*rows, *rows]:
        values = row(1, **change)
        result = checker.check(values)
        fresh = Checker(SECRET, SETTINGS).check(values)
        assert result == fresh
        assert repr(result) == repr(fresh)  # 1, 1.0 and True are equal, and not the same
        if isinstance(result, tuple):
            record = record_from_row(values)
            assert result[4:8] == (record.surname, record.given_name, record.fnt, record.gnt)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million different rows don't fill the memory."""
    monkeypatch.setattr("vaxpass_sign.prepare.check._MANY", 3)
    checker = Checker(SECRET, SETTINGS)
    for n in range(10):
        assert isinstance(checker.check(row(n, lot=f"L{n}", birth_date=f"198{n}")), tuple)
    assert max(len(checker._births), len(checker._texts)) <= 3


def test_settings_travel() -> None:
    """Settings, the operator's value sets in them, go to other processes and come back."""
    sets = ValueSets.default().extend(
        {"format": "vaxpass-sign value sets 1", "product_names": {"Elixir": PFIZER}}
    )
    settings = pickle.loads(pickle.dumps(CleanSettings("VN", "2025-12-31", sets, {"a": "lot"})))
    result = Checker(SECRET, settings).check(row(1, product="", vaccine_name="Elixir"))
    assert isinstance(result, tuple)
    assert settings.columns == {"a": "lot"}


def test_bad_settings() -> None:
    """A secret of another length, or a day that is none, is an error and no table of rejects."""
    with pytest.raises(InputError, match="32"):
        Checker(b"short", SETTINGS)
    with pytest.raises(RecordError, match="today"):
        Checker(SECRET, CleanSettings("VN", "31/12/2025"))
