"""One row of a dose table → one VaccinationRecord.

The columns are DESIGN's: ``full_name``, or ``surname`` and ``given_name``; ``birth_date``;
``dose_number``; ``vaccination_date``; ``product``, or ``vaccine_name``; and the optional ones. All
values are text, as CSV has them; empty means absent. What a row holds besides (lot, sex, a personal
number) is for matching and reports, and never reaches a credential.

>>> row = {"full_name": "Nguyễn Thị Minh Khai", "birth_date": "1987-04-12", "dose_number": "2",
...        "vaccination_date": "2021-11-20", "vaccine_name": "Pfizer"}
>>> record = record_from_row(row)
>>> record.product, record.dose_number, record.dose_total
('EU/1/20/1528', 2, 2)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from vaxpass_sign.errors import InputError, RecordError, Violation
from vaxpass_sign.record.model import VaccinationRecord
from vaxpass_sign.record.names import normalise_name
from vaxpass_sign.record.valuesets import ValueSets

__all__ = [
    "COLUMNS",
    "check_columns",
    "dose_total",
    "record_from_mapping",
    "record_from_row",
    "split_full_name",
]

REQUIRED = ("birth_date", "dose_number", "vaccination_date")
ONE_OF = (("full_name", "surname"), ("product", "vaccine_name"))
OPTIONAL = (
    *("record_id", "given_name", "sex", "nationality", "personal_id", "id_kind", "dose_total"),
    *("lot", "vaccine", "manufacturer", "disease", "facility_id", "province_code", "country"),
    *("issuer", "fnt", "gnt"),
)
COLUMNS = frozenset({*REQUIRED, *OPTIONAL, *(name for pair in ONE_OF for name in pair)})
"""Every column that has a meaning."""

# Vietnamese family names of more than one word; everything else is split after the first word.
_FAMILY_NAMES = (
    ("công", "tằng", "tôn", "nữ"),
    ("công", "huyền", "tôn", "nữ"),
    ("công", "tôn", "nữ"),
    ("tôn", "nữ"),
    ("tôn", "thất"),
    ("âu", "dương"),
)

_FIRST_WORDS = frozenset(family[0] for family in _FAMILY_NAMES)

_WHOLE_NUMBER = re.compile(r"[0-9]{1,4}", re.ASCII)


def check_columns(found: Iterable[str], also_required: Iterable[str] = ()) -> None:
    """Check that a table has the columns it needs, whatever else it has.

    Raises: InputError that names every missing one.
    """
    present = set(found)
    missing = [name for name in (*also_required, *REQUIRED) if name not in present]
    missing += [" or ".join(names) for names in ONE_OF if present.isdisjoint(names)]
    if missing:
        # Without one known name the first line is a row, not a header, and what it holds are a
        # person's name and birth date.
        shown = ", ".join(sorted(present)[:40]) if present & COLUMNS else "none of a dose table's"
        raise InputError(
            f"the dose table has no column {', '.join(missing)}; found {shown}: "
            "add it, or rename the column that holds it; a table begins with its header"
        )


def record_from_mapping(values: Mapping[str, Any]) -> VaccinationRecord:
    """The record of one mapping, such as a JSON object: numbers may be numbers.

    Stricter than a row: a name that is no column is refused, because it may be a misspelt one.

    Raises: InputError for such a name or a missing one; RecordError for values.
    """
    unknown = sorted(str(name) for name in values if name not in COLUMNS)
    if unknown:
        raise InputError(
            f"found {', '.join(map(repr, unknown[:10]))}, which no record has; expected names of "
            f"{', '.join(sorted(COLUMNS))}"
        )
    check_columns(values)
    return record_from_row(values)


def record_from_row(
    row: Mapping[str, Any], value_sets: ValueSets | None = None
) -> VaccinationRecord:
    """The record of one dose-table row.

    Raises: RecordError with every violation at once.
    """
    value_sets = value_sets or ValueSets.default()
    violations: list[Violation] = []
    given = {name: value for name, value in row.items() if value is not None and value != ""}
    surname, given_name = given.get("surname", ""), given.get("given_name", "")
    if isinstance(full_name := given.get("full_name"), str) and not (surname or given_name):
        surname, given_name = split_full_name(full_name)
    product = given.get("product", "")
    if not product and "vaccine_name" in given:
        named = given["vaccine_name"]
        known = value_sets.product_for_name(named) if isinstance(named, str) else None
        if known is None:
            violations.append(
                # What stands there may be a person's name in the wrong column: not repeated.
                Violation(
                    "vaccine_name",
                    f"{len(str(named))} characters that are no known name of a vaccine",
                    "a name that the value sets know, or a code in the column product",
                )
            )
        else:
            product = known.code
    dose_number = _whole(given.get("dose_number", ""))
    total = _whole(given.get("dose_total", ""))
    if total == "":
        total = dose_total(dose_number, product, value_sets)
    optional = {
        name: given[name]
        for name in ("vaccine", "manufacturer", "disease", "country", "issuer", "fnt", "gnt")
        if name in given
    }
    try:
        record = VaccinationRecord(
            surname=surname,
            given_name=given_name,
            birth_date=given.get("birth_date", ""),
            product=product,
            dose_number=dose_number,
            dose_total=total,
            vaccination_date=given.get("vaccination_date", ""),
            value_sets=value_sets,
            **optional,
        )
    except RecordError as error:
        # What follows from an unknown vaccine name is not worth a line of its own.
        follows = {"product", "vaccine", "manufacturer"} if violations else set()
        violations += [v for v in error.violations if v.field not in follows]
        raise RecordError(violations) from None
    if violations:
        raise RecordError(violations)
    return record


def split_full_name(full_name: str) -> tuple[str, str]:
    """Family name and given names of a Vietnamese full name: the first word is the family's.

    >>> split_full_name("Tôn Nữ Thị Ninh"), split_full_name("Nguyễn Văn A"), split_full_name("Y")
    (('Tôn Nữ', 'Thị Ninh'), ('Nguyễn', 'Văn A'), ('Y', ''))
    """
    words = normalise_name(full_name).split(" ")
    folded: tuple[str, ...] = ()
    if words[0].casefold() in _FIRST_WORDS:
        folded = tuple(word.casefold() for word in words)
    for family in _FAMILY_NAMES if folded else ():
        if folded[: len(family)] == family and len(words) > len(family):
            return " ".join(words[: len(family)]), " ".join(words[len(family) :])
    return words[0], " ".join(words[1:])


def dose_total(dose_number: Any, product: str, value_sets: ValueSets) -> Any:
    """Doses in the series, by the EU's rule, where a row does not say.

    Two-dose series: 1/2, 2/2, booster 3/3; one-dose series: 1/1, booster 2/1.
    """
    known = value_sets.product(product) if isinstance(product, str) else None
    if known is None or not isinstance(dose_number, int):
        return dose_number
    if known.doses == 1:
        return 1
    return max(known.doses, dose_number)


def _whole(value: Any) -> Any:
    """The number of a text of digits; anything else as it is, for the record to judge."""
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value.strip()):
        return int(value)
    return value
