"""VaccinationRecord: what it takes, what it fills in, and what it says of the rest."""

import copy
import dataclasses
import datetime
import enum
import pickle
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaxpass_sign.errors import RecordError
from vaxpass_sign.record.model import VaccinationRecord
from vaxpass_sign.record.valueset_file import FORMAT
from vaxpass_sign.record.valuesets import ValueSets

GOOD = {
    "surname": "Nguyễn",
    "given_name": "Thị Minh Khai",
    "birth_date": "1987-04-12",
    "product": "EU/1/20/1528",
    "dose_number": 2,
    "dose_total": 2,
    "vaccination_date": "2021-11-20",
}


def record(**changes: object) -> VaccinationRecord:
    return VaccinationRecord(**(GOOD | changes))


def violations(**changes: object) -> list[tuple[str, str]]:
    with pytest.raises(RecordError) as caught:
        record(**changes)
    assert "\n" not in str(caught.value)
    assert caught.value.__context__ is None
    return [(violation.field, violation.found) for violation in caught.value.violations]


def test_fills_in() -> None:
    """fnt, gnt, vaccine and manufacturer are filled in; country and issuer may stay empty."""
    made = record()
    assert dataclasses.asdict(made) == GOOD | {
        "fnt": "NGUYEN",
        "gnt": "THI<MINH<KHAI",
        "vaccine": "1119349007",
        "manufacturer": "ORG-100030215",
        "disease": "840539006",
        "country": "",
        "issuer": "",
    }


def test_keeps_what_is_given() -> None:
    """What the caller gives is kept and not filled in."""
    given_values = {
        "fnt": "NGUYEN<THI",
        "gnt": "MINH",
        "vaccine": "28531000087107",
        "manufacturer": "ORG-100001699",
        "country": "VN",
        "issuer": "Bộ Y tế",
    }
    made = record(**given_values)
    assert {name: getattr(made, name) for name in given_values} == given_values


def test_texts_are_nfc_and_stripped() -> None:
    """Names and the issuer are written in NFC with single spaces."""
    form = unicodedata.normalize("NFD", "  Thị   Hà ")
    made = record(surname=form, given_name=form, issuer=form)
    assert (made.surname, made.given_name, made.issuer) == ("Thị Hà",) * 3


MONONYMS = {
    "surname alone": ({"given_name": ""}, ("Nguyễn", "", "NGUYEN", "")),
    "given name alone": ({"surname": ""}, ("Thị Minh Khai", "", "THI<MINH<KHAI", "")),
    "given name with its gnt": (
        {"surname": "", "gnt": "MINH"},
        ("Thị Minh Khai", "", "MINH", ""),
    ),
    "given name with an fnt": ({"surname": "", "fnt": "MINH"}, ("Thị Minh Khai", "", "MINH", "")),
    "surname of spaces": ({"surname": " \u00a0"}, ("Thị Minh Khai", "", "THI<MINH<KHAI", "")),
    "another script": (
        {"surname": "", "given_name": "王", "gnt": "WANG"},
        ("王", "", "WANG", ""),
    ),
}


@pytest.mark.parametrize(("changes", "names"), MONONYMS.values(), ids=MONONYMS)
def test_mononyms(changes: dict, names: tuple) -> None:
    """One name goes to surname and fnt, whichever of the two it came as."""
    made = record(**changes)
    assert (made.surname, made.given_name, made.fnt, made.gnt) == names


GOOD_VALUES = {
    "year of birth": {"birth_date": "1931"},
    "month of birth": {"birth_date": "1931-05"},
    "no date of birth": {"birth_date": ""},
    "born on the day": {"birth_date": "2021-11-20"},
    "born in the month": {"birth_date": "2021-11"},
    "born in the year": {"birth_date": "2021"},
    "leap day": {"birth_date": "2000-02-29"},
    "first year": {"birth_date": "1900-01-01"},
    "booster after one dose": {"dose_number": 2, "dose_total": 1},
    "ninth of nine": {"dose_number": 9, "dose_total": 9},
    "80 letters": {"surname": "ă" * 80},
    "80 letters, decomposed": {"surname": unicodedata.normalize("NFD", "ẵ" * 80)},
    "joiner, with fnt": {"surname": "علی\u200cرضا", "fnt": "ALIREZA"},
    "deprecated code": {"vaccine": "J07BX03"},
    "country": {"country": "LA"},
}


@pytest.mark.parametrize("changes", GOOD_VALUES.values(), ids=GOOD_VALUES)
def test_taken(changes: dict) -> None:
    """Values at the edge of the rules are taken."""
    assert record(**changes)


def test_dates_of_the_datetime_module() -> None:
    """A datetime.date is kept as its ISO text."""
    made = record(
        birth_date=datetime.date(1987, 4, 12), vaccination_date=datetime.date(2021, 11, 20)
    )
    assert made == record()


def test_text_enums_are_kept_as_text() -> None:
    """A member of a StrEnum becomes plain str, as CBOR and JSON writers want it."""

    class Code(enum.StrEnum):
        VN = "VN"
        COMIRNATY = "EU/1/20/1528"

    made = record(country=Code.VN, product=Code.COMIRNATY, surname=Code.VN)
    assert [type(v) for v in (made.country, made.product, made.surname)] == [str, str, str]


NO_MRZ = "a character that is neither A-Z nor <"
BAD_VALUES = {
    "no name": ({"surname": "", "given_name": ""}, "surname", "no name"),
    "fnt without a name": (
        {"surname": "", "given_name": "", "fnt": "NGUYEN"},
        "surname",
        "no name",
    ),
    "name without letters": ({"surname": "-.-"}, "surname", "a name without a letter"),
    "given name without letters": ({"given_name": "'"}, "given_name", "a name without a letter"),
    "han": ({"surname": "Ng 王"}, "surname", "4 characters, the 4th from another script (CJK)"),
    "mononym in han": (
        {"surname": "", "given_name": "王"},
        "given_name",
        "1 character, the 1st from another script (CJK)",
    ),
    "digit in a name": (
        {"given_name": "Mai 2"},
        "given_name",
        "5 characters, the 5th a digit or number",
    ),
    "81 letters": ({"surname": "a" * 81}, "surname", "81 characters"),
    "a million letters": ({"surname": "a\u0301\u0323" * 10**6}, "surname", "3000000 characters"),
    "nul": ({"surname": "Ng\0uyen"}, "surname", "a control or invisible character (U+0000)"),
    "tab": ({"surname": "Nguyen\t"}, "surname", "a control or invisible character (U+0009)"),
    "bidi": ({"surname": "\u202eNguyen"}, "surname", "a control or invisible character (U+202E)"),
    "surrogate": ({"surname": "N\ud800"}, "surname", "a control or invisible character (U+D800)"),
    "nul with fnt": (
        {"surname": "王\0", "fnt": "WANG"},
        "surname",
        "a control or invisible character (U+0000)",
    ),
    "name null": ({"surname": None}, "surname", "nothing (null)"),
    "name a number": ({"given_name": 5}, "given_name", "a number"),
    "name bytes": ({"given_name": b"Mai"}, "given_name", "a value of type bytes"),
    "fnt in lower case": ({"fnt": "Nguyen"}, "fnt", NO_MRZ),
    "fnt with a line end": ({"fnt": "NGUYEN\n"}, "fnt", NO_MRZ),
    "fnt with a space": ({"fnt": "NGUYEN VAN"}, "fnt", NO_MRZ),
    "fnt of fillers": ({"fnt": "<<"}, "fnt", "no letter"),
    "fnt of 81": ({"fnt": "A" * 81}, "fnt", "81 characters"),
    "fnt null": ({"fnt": None}, "fnt", "nothing (null)"),
    "gnt without a given name": ({"given_name": "", "gnt": "MAI"}, "gnt", "a gnt without its name"),
    "birth date null": ({"birth_date": None}, "birth_date", "nothing (null)"),
    "birth date a number": ({"birth_date": 19870412}, "birth_date", "a number"),
    "birth date with slashes": (
        {"birth_date": "12/4/1987"},
        "birth_date",
        "a date written 99/9/9999",
    ),
    "birth month with a slash": ({"birth_date": "1987/04"}, "birth_date", "a date written 9999/99"),
    "birth date without dashes": (
        {"birth_date": "19870412"},
        "birth_date",
        "a date written 99999999",
    ),
    "birth date by week": (
        {"birth_date": "1987-W01-1"},
        "birth_date",
        "10 characters that are no date",
    ),
    "birth date not in the calendar": (
        {"birth_date": "1987-02-29"},
        "birth_date",
        "a date that is not in the calendar",
    ),
    "birth month 13": (
        {"birth_date": "1987-13"},
        "birth_date",
        "a date that is not in the calendar",
    ),
    "birth date with a time": (
        {"birth_date": "1987-04-12T00:00:00"},
        "birth_date",
        "a date written 9999-99-99T99:99:99",
    ),
    "birth year 1899": ({"birth_date": "1899"}, "birth_date", "a year outside 1900 to 2099"),
    "birth year 2100": (
        {"birth_date": "2100-01-01", "vaccination_date": "2099-01-01"},
        "birth_date",
        "a year outside 1900 to 2099",
    ),
    "birth date in other digits": (
        {"birth_date": "١٩٨٧-٠٤-١٢"},
        "birth_date",
        "10 characters that are no date",
    ),
    "words": ({"birth_date": "April 1987"}, "birth_date", "10 characters that are no date"),
    "datetime": (
        {"vaccination_date": datetime.datetime(2021, 11, 20)},
        "vaccination_date",
        "a date with a time",
    ),
    "vaccination date empty": ({"vaccination_date": ""}, "vaccination_date", "nothing"),
    "vaccination month": (
        {"vaccination_date": "2021-11"},
        "vaccination_date",
        "a date written 9999-99",
    ),
    "vaccinated before birth": (
        {"vaccination_date": "1987-04-11"},
        "vaccination_date",
        "a date before birth_date",
    ),
    "vaccinated before the year of birth": (
        {"birth_date": "2022"},
        "vaccination_date",
        "a date before birth_date",
    ),
    "product unknown": ({"product": "Nanocovax"}, "product", "9 characters that are no such code"),
    "product empty": ({"product": ""}, "product", "nothing"),
    "product null": ({"product": None}, "product", "nothing (null)"),
    "product a list": ({"product": ["EU/1/20/1528"]}, "product", "a list"),
    "a personal number as product": (
        {"product": "019190000001"},
        "product",
        "12 digits that are no such code",
    ),
    "a name as product": (
        {"product": "Nguyễn Thị"},
        "product",
        "10 characters that are no such code",
    ),
    "a long code": ({"product": "A" * 41}, "product", "41 characters that are no such code"),
    "code with a line end": (
        {"product": "Abdala\n"},
        "product",
        "7 characters that are no such code",
    ),
    "vaccine unknown": ({"vaccine": "mRNA"}, "vaccine", "4 characters that are no such code"),
    "vaccine null": ({"vaccine": None}, "vaccine", "nothing (null)"),
    "manufacturer unknown": (
        {"manufacturer": "ORG-1"},
        "manufacturer",
        "5 characters that are no such code",
    ),
    "disease empty": ({"disease": ""}, "disease", "nothing"),
    "country of three letters": (
        {"country": "VNM"},
        "country",
        "3 characters that are no such code",
    ),
    "country in lower case": ({"country": "vn"}, "country", "2 characters that are no such code"),
    "issuer of 81": ({"issuer": "a" * 81}, "issuer", "81 characters"),
    "issuer with a line end": (
        {"issuer": "Bộ\nY tế"},
        "issuer",
        "a control or invisible character (U+000A)",
    ),
    "dose 0": ({"dose_number": 0}, "dose_number", "0"),
    "dose 10": ({"dose_number": 10}, "dose_number", "10"),
    "dose -1": ({"dose_total": -1}, "dose_total", "-1"),
    "a personal number as dose": (
        {"dose_number": 19190000001},
        "dose_number",
        "a number of more than two digits",
    ),
    "a huge dose": ({"dose_number": 10**5000}, "dose_number", "a number of more than two digits"),
    "dose true": ({"dose_number": True}, "dose_number", "true or false"),
    "dose 2.0": ({"dose_number": 2.0}, "dose_number", "a number"),
    "dose as text": ({"dose_number": "2"}, "dose_number", "a text"),
    "value sets of another type": ({"value_sets": {}}, "value_sets", "an object"),
}


@pytest.mark.parametrize(("changes", "field", "found"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_refused_values(changes: dict, field: str, found: str) -> None:
    """A value that breaks a rule is one violation, described by its shape."""
    assert violations(**changes) == [(field, found)]


def test_all_violations_at_once() -> None:
    """Every broken rule of a record is listed in one error."""
    everything = dict.fromkeys(
        [*GOOD, "vaccine", "manufacturer", "disease", "country", "issuer"], 1.5
    )
    found = violations(**everything, fnt=None, gnt=[])
    assert sorted(field for field, _ in found) == sorted([*everything, "fnt", "gnt"])


def test_one_violation_for_an_unknown_product() -> None:
    """An unknown product doesn't bring complaints about what it would have brought along."""
    assert violations(product="X1") == [("product", "2 characters that are no such code")]


def test_extended_value_sets() -> None:
    """Codes of extended value sets are taken; without a product row vp and ma must be given."""
    codes = {"version": "1", "date": "2026-01-31", "codes": {"Nanocovax": "Nanocovax"}}
    sets = ValueSets.default().extend(
        {"format": FORMAT, "sets": {"vaccine-medicinal-product": codes}}
    )
    found = violations(product="Nanocovax", value_sets=sets)
    assert [field for field, _ in found] == ["vaccine", "manufacturer"]
    made = record(
        product="Nanocovax", vaccine="28531000087107", manufacturer="CIGB", value_sets=sets
    )
    assert made.product == "Nanocovax"
    assert not hasattr(made, "__dict__")


def test_frozen() -> None:
    """A record can't be changed, only replaced, and what replaces it is checked anew."""
    made = record()
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.surname = "Trần"  # type: ignore[misc]
    assert dataclasses.replace(made, dose_number=3, dose_total=3).dose_number == 3
    replaced = dataclasses.replace(made, surname="Trần", fnt="")
    assert (replaced.surname, replaced.fnt) == ("Trần", "TRAN")
    with pytest.raises(RecordError):
        dataclasses.replace(made, dose_number=0)


def test_equal_records() -> None:
    """Records are equal and hash alike by value, and survive copy and pickle."""
    made = record()
    assert made == record(surname=unicodedata.normalize("NFD", "Nguyễn"))
    assert {made, record()} == {made}
    assert pickle.loads(pickle.dumps(made)) == made
    assert copy.deepcopy(made) == made


def test_repr_shows_no_person() -> None:
    """repr and str show the product and the doses alone."""
    expected = "VaccinationRecord(product='EU/1/20/1528', dose_number=2, dose_total=2, …)"
    assert repr(record()) == str(record()) == f"{record()}" == expected


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=100)
    | st.binary(max_size=5)
    | st.dates()
    | st.datetimes()
    | st.sampled_from(["", "VN", "2021-11-20", "1987", "A<B", "Mai", "王", "\ud800", "840539006"])
    | st.integers(1, 9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)
FIELDS = [field.name for field in dataclasses.fields(VaccinationRecord)]


def build(changes: dict) -> VaccinationRecord | RecordError:
    try:
        return record(**changes)
    except RecordError as error:
        return error


@settings(max_examples=500)
@given(st.dictionaries(st.sampled_from([*FIELDS, "value_sets"]), ANYTHING))
def test_any_values(changes: dict) -> None:
    """Any values give a record that is built again alike, or RecordError."""
    made = build(changes)
    if isinstance(made, RecordError):
        assert made.violations
        assert str(made).isprintable()
    else:
        assert VaccinationRecord(**dataclasses.asdict(made)) == made
        assert made.fnt
        assert made.vaccine
        assert made.manufacturer


PERSONAL_FIELDS = ["surname", "given_name", "fnt", "gnt", "birth_date", "vaccination_date"]


@settings(max_examples=500)
@given(
    st.dictionaries(
        st.sampled_from([*PERSONAL_FIELDS, "issuer", "product", "country"]),
        st.text(alphabet="012345678/-.ạảấầẩẫ王ا\0", min_size=5, max_size=90),
        min_size=1,
    )
)
def test_no_personal_value_in_a_message(changes: dict) -> None:
    """No message holds a piece of five characters of what was given."""
    made = build(changes)
    if isinstance(made, RecordError):
        text = str(made)
        for value in changes.values():
            assert not [at for at in range(len(value) - 4) if value[at : at + 5] in text]


PERSONAL = {
    "name in another script": {"surname": "王小明小華大偉"},
    "name with digits": {"surname": "Nguyen 019190000001"},
    "dates swapped": {"birth_date": "12/04/1987"},
    "two dates": {"birth_date": "1987-04-12 1988-05-13"},
    "number for a date": {"birth_date": "019190000001"},
    "number for a product": {"product": "019190000001"},
    "date for a product": {"product": "12/04/1987"},
    "number for a country": {"country": "191900000"},
    "name for a date": {"vaccination_date": "Nguyễn Thị"},
    "number for a dose": {"dose_number": 191900000},
    "a list of names": {"surname": ["Nguyễn", "Thị Minh"]},
    "name for fnt": {"fnt": "Nguyễn"},
}


@pytest.mark.parametrize("changes", PERSONAL.values(), ids=PERSONAL)
def test_personal_values_are_not_repeated(changes: dict) -> None:
    """Values in the wrong column or of the wrong shape are described and not shown."""
    with pytest.raises(RecordError) as caught:
        record(**changes)
    text = str(caught.value) + repr(caught.value)
    for piece in ("王", "Nguy", "Thị", "1987", "1988", "1919"):
        assert piece not in text
