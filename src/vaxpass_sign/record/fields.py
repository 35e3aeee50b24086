"""The checks of a record's fields, one function a field or group of fields.

Each takes whatever the caller gave, of any type; it returns the value as the record keeps it, or
adds violations to the list it is given and returns something harmless ("" or 0). No message
repeats a personal value.

>>> faults = []
>>> check_day("vaccination_date", "31/02/2021", faults), str(faults[0])
('', 'vaccination_date: found a date written 99/99/9999, expected YYYY-MM-DD')
"""

from __future__ import annotations

import re
from datetime import date, datetime
from unicodedata import category

from vaxpass_sign.errors import RecordError, Violation
from vaxpass_sign.record.names import MAX_NAME, normalise_name, transliterate
from vaxpass_sign.record.valuesets import ValueSets

__all__ = [
    "check_birth_date",
    "check_code",
    "check_day",
    "check_dose",
    "check_names",
    "check_product",
    "check_text",
    "describe_type",
    "is_empty",
]

_SETS = {
    "product": "vaccine-medicinal-product",
    "vaccine": "vaccine-prophylaxis",
    "manufacturer": "vaccine-mah-manf",
    "disease": "disease-agent-targeted",
    "country": "country-2-codes",
}
_MRZ = re.compile(r"[A-Z<]*")
_DATE_LIKE = re.compile(r"[0-9 ./:T-]{1,24}")
_DIGIT = re.compile(r"[0-9]")
# Zero-width joiners are letters' business in Persian and Indic names.
_JOINERS = "\u200c\u200d"


def check_names(
    surname: object, given_name: object, fnt: object, gnt: object, faults: list[Violation]
) -> tuple[str, str, str, str]:
    """(surname, given_name, fnt, gnt) with the last two filled in and a mononym moved."""
    before = len(faults)
    fn, gn = check_text("surname", surname, faults), check_text("given_name", given_name, faults)
    fnt, gnt = _check_mrz("fnt", fnt, faults), _check_mrz("gnt", gnt, faults)
    if len(faults) > before:
        return fn, gn, fnt, gnt
    first = "surname"
    if not fn and gn:
        first, fn, gn = "given_name", gn, ""
        if not fnt:
            fnt, gnt = gnt, ""
    if not fn:
        faults.append(Violation("surname", "no name", "a surname, a given_name or both"))
    elif gnt and not gn:
        faults.append(Violation("gnt", "a gnt without its name", '"", or both names'))
    else:
        fnt = fnt or _transliterate(first, fn, faults)
        gnt = gnt or (gn and _transliterate("given_name", gn, faults))
    return fn, gn, fnt, gnt


def _transliterate(name: str, text: str, faults: list[Violation]) -> str:
    try:
        result = transliterate(text)
    except RecordError as error:
        faults.extend(Violation(name, v.found, v.expected) for v in error.violations)
        return ""
    if not result:
        faults.append(Violation(name, "a name without a letter", "at least one letter"))
    return result


def _check_mrz(name: str, value: object, faults: list[Violation]) -> str:
    if is_empty(value):
        return ""
    if not isinstance(value, str):
        found = describe_type(value)
    elif len(value) > MAX_NAME:
        found = f"{len(value)} characters"
    elif not _MRZ.fullmatch(value):
        found = "a character that is neither A-Z nor <"
    elif not value.strip("<"):
        found = "no letter"
    else:
        return str.__str__(value)
    faults.append(Violation(name, found, f'"" or A-Z and <, at most {MAX_NAME} characters'))
    return ""


def check_text(name: str, value: object, faults: list[Violation]) -> str:
    """A text of at most 80 characters, NFC, single spaces, none at its ends."""
    if not isinstance(value, str):
        faults.append(Violation(name, describe_type(value), "a text"))
        return ""
    if not value:
        return ""
    try:
        text = normalise_name(str.__str__(value))
    except RecordError as error:
        faults.extend(Violation(name, v.found, f"at most {MAX_NAME}") for v in error.violations)
        return ""
    if len(text) > MAX_NAME:
        faults.append(Violation(name, f"{len(text)} characters", f"at most {MAX_NAME}"))
        return ""
    if not text.isprintable():
        for letter in text:
            if category(letter) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and letter not in _JOINERS:
                found = f"a control or invisible character (U+{ord(letter):04X})"
                faults.append(Violation(name, found, "text without it"))
                return ""
    return text


def check_birth_date(value: object, faults: list[Violation]) -> str:
    """A date of birth: YYYY-MM-DD, YYYY-MM, YYYY or ""."""
    if isinstance(value, str):
        if is_empty(value):
            return ""
        # A year is checked as its first day, and so is a month.
        if len(value) == 4 and value.isascii() and value.isdecimal():
            return check_day("birth_date", f"{value}-01-01", faults)[:4]
        if len(value) == 7 and value[4] == "-":
            return check_day("birth_date", f"{value}-01", faults)[:7]
    return check_day("birth_date", value, faults)


def check_day(name: str, value: object, faults: list[Violation]) -> str:
    """A day of the calendar from 1900 to 2099, as YYYY-MM-DD."""
    expected = "YYYY-MM-DD, YYYY-MM, YYYY or empty" if name == "birth_date" else "YYYY-MM-DD"
    if isinstance(value, date) and not isinstance(value, datetime):
        text = date.isoformat(value)
    elif isinstance(value, str):
        text = str.__str__(value)
    else:
        faults.append(Violation(name, describe_type(value), expected))
        return ""
    try:
        # fromisoformat alone takes 20211120 and 2021-W46-6 too, which are not written that way.
        if len(text) != 10 or text[4] != "-" or text[7] != "-":
            found = _describe_date(text)
        elif 1900 <= date.fromisoformat(text).year <= 2099:
            return text
        else:
            found = "a year outside 1900 to 2099"
    except ValueError:
        found = "a date that is not in the calendar"
        if not _DATE_LIKE.fullmatch(text):
            found = _describe_date(text)
    faults.append(Violation(name, found, expected))
    return ""


def check_product(
    product: object,
    vaccine: object,
    manufacturer: object,
    sets: ValueSets,
    faults: list[Violation],
) -> tuple[str, str, str]:
    """(product, vaccine, manufacturer), the last two filled in from the product."""
    code = check_code("product", product, sets, faults)
    known = sets.product(code)
    given = {"vaccine": vaccine, "manufacturer": manufacturer}
    for name, value in given.items():
        if not is_empty(value):
            given[name] = check_code(name, value, sets, faults)
        elif known is not None:
            given[name] = known.vaccine if name == "vaccine" else known.manufacturer
        elif code:
            found = "nothing, and the products table has no default for the product"
            faults.append(Violation(name, found, f"a code of {_SETS[name]}"))
    return code, str(given["vaccine"]), str(given["manufacturer"])


def check_code(name: str, value: object, sets: ValueSets, faults: list[Violation]) -> str:
    """A code that the value set of this field knows."""
    set_name = _SETS[name]
    if not isinstance(value, str):
        found = describe_type(value)
    elif sets.knows(set_name, value):
        return str.__str__(value)
    elif value == "":
        found = "nothing"
    else:
        # Never repeated: it may be a name or a number that stands in the wrong column.
        kind = "digits" if value.isdecimal() else "characters"
        found = f"{len(value)} {kind} that are no such code"
    expected = f"a code of {set_name} {sets.version(set_name)}; extend the value sets for others"
    faults.append(Violation(name, found, expected))
    return ""


def check_dose(name: str, value: object, faults: list[Violation]) -> int:
    """A dose number, 1 to 9."""
    if type(value) is int and 1 <= value <= 9:
        return value
    found = describe_type(value)
    if type(value) is int:
        found = f"{value}" if -99 <= value <= 99 else "a number of more than two digits"
    faults.append(Violation(name, found, "a whole number from 1 to 9"))
    return 0


def is_empty(value: object) -> bool:
    """Whether a value is the text "", which leaves a field to its default."""
    return isinstance(value, str) and len(value) == 0


def describe_type(value: object) -> str:
    """What a value of the wrong type is, without saying what is in it."""
    if value is None:
        return "nothing (null)"
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list"}
    kinds |= {dict: "an object", str: "a text", datetime: "a date with a time"}
    return kinds.get(type(value), f"a value of type {type(value).__name__}")


def _describe_date(text: str) -> str:
    if _DATE_LIKE.fullmatch(text):
        return f"a date written {_DIGIT.sub('9', text)}"
    return "nothing" if text == "" else f"{len(text)} characters that are no date"
