"""Rows of a raw table → checked rows, and faults with every reason at once.

What a row must keep beside the record's own rules (:mod:`vaxpass_sign.record.model`):

* ``record_id`` is there; with ``facility_id`` it identifies the row. Both are taken exactly as they
  are written. They, ``lot`` and ``province_code`` have at most 80 characters and none that is
  invisible.
* ``sex`` is M, F or empty; ``nationality`` is a code of country-2-codes or empty.
* ``vaccination_date`` is not after the last day that the settings allow.
* ``personal_id`` is text (a number has lost its leading zeros), in one spelling: without spaces, in
  capitals. Without ``id_kind``, 12 digits are a cccd, 9 a cmnd, anything else a passport.

Each row is judged on its own, so rows may be checked in any order and in any process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from vaxpass_sign.errors import RecordError, Violation
from vaxpass_sign.prepare.doses import record_from_row, split_full_name
from vaxpass_sign.record.fields import check_day, check_text, describe_type
from vaxpass_sign.record.uvci import person_key, row_key
from vaxpass_sign.record.valuesets import ValueSets

__all__ = ["MEANT", "Checker", "CleanSettings"]

_KINDS: Final = ("cccd", "cmnd", "passport")
_NAME: Final = ("full_name", "surname", "given_name", "fnt", "gnt")
_DOSE: Final = (
    *("product", "vaccine_name", "vaccine", "manufacturer", "disease", "dose_number", "dose_total"),
    *("country", "issuer"),
)
_DATES: Final = ("birth_date", "vaccination_date")
_RECORD: Final = (*_NAME, *_DOSE, *_DATES)
MEANT: Final = frozenset(
    (
        *_RECORD,
        *("facility_id", "record_id", "province_code", "lot", "sex", "nationality"),
        *("personal_id", "id_kind"),
    )
)
"""The columns that a row is checked by."""

_TEXT: Final = frozenset((str, type(None)))
_LONG: Final = 200
_MANY: Final = 50_000
_FUTURE: Final = Violation("vaccination_date", "a day in the future", "today or earlier")


@dataclass(frozen=True, slots=True)
class CleanSettings:
    """How tables are cleaned; travels to other processes, and holds no secret.

    ``country``: the issuer's, ISO 3166-1 alpha-2, for UVCIs. ``today``: YYYY-MM-DD, the last day
    that a vaccination may have (the date that it already is somewhere on earth, UTC+14).
    ``columns``: other systems' column names → ours.
    """

    country: str
    today: str
    value_sets: ValueSets = field(default_factory=ValueSets.default)
    columns: Mapping[str, str] = field(default_factory=dict)


class Checker:
    """Checks rows. Threads may share one.

    Names, doses and dates recur. A record's surname, given name, dose and two dates are judged
    apart from one another but for one rule (the vaccination is not before the birth), so what a
    record made of them is kept, and a row of kept parts needs no record of its own.
    """

    def __init__(self, secret: bytes, settings: CleanSettings) -> None:
        """Raises: InputError for a secret that is not 32 bytes, or a ``today`` that is no day."""
        row_key(secret, "", "a secret of another length is an error, not a table of rejects")
        faults: list[Violation] = []
        check_day("today", settings.today, faults)
        if faults:
            raise RecordError(faults)
        self.settings = settings
        self._secret = secret
        self._texts: dict[str, str] = {}
        self._surnames: dict[str, tuple[str, str]] = {}
        self._given_names: dict[str, tuple[str, str]] = {}
        self._doses: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        self._births: dict[str, str] = {}
        self._days: dict[str, str] = {}

    def check(self, values: Mapping[str, Any]) -> tuple[Any, ...] | list[Violation]:
        """A row's values for CHECKED_SCHEMA from person_key on (with, as dose_sha256, the list that
        is to be hashed), or all that is wrong with it.

        ``values``: by our column names; text, or what JSON has. Nothing and "" are as if absent.
        """
        faults: list[Violation] = []
        get = values.get
        if get("record_id") in (None, ""):
            faults.append(Violation("record_id", "nothing", "the row's number in its facility"))
        facility = self._identity("facility_id", get("facility_id"), faults)
        number = self._identity("record_id", get("record_id"), faults)
        province = self._text("province_code", get("province_code"), faults)
        lot = self._text("lot", get("lot"), faults)
        sex, nationality = get("sex") or "", get("nationality") or ""
        if sex not in ("M", "F", ""):
            faults.append(Violation("sex", _shape(sex), "M, F or empty"))
        if nationality and not (
            isinstance(nationality, str)
            and self.settings.value_sets.knows("country-2-codes", nationality)
        ):
            expected = "two capital letters of country-2-codes (such as VN), or empty"
            faults.append(Violation("nationality", _shape(nationality), expected))
        person = self._person(get("personal_id"), get("id_kind"), (facility, number), faults)
        try:
            (surname, given_name, fnt, gnt), dose, birth_date, day = self._record(values)
        except RecordError as error:
            return [*faults, *error.violations]
        if day > self.settings.today:
            faults.append(_FUTURE)
        if faults:
            return faults
        tg, vp, mp, ma, dn, sd, co, issuer = dose
        sd_given = bool(get("dose_total"))
        # What the row says, in one spelling: what is filled in by default or transliterated is not
        # part of it, so another release of the value sets makes no other content of the same row.
        said = (
            person.hex(), facility, number, surname, given_name, get("fnt") or "", get("gnt") or "",
            birth_date, sex, nationality, tg, mp, get("vaccine") or "", get("manufacturer") or "",
            dn, sd if sd_given else 0, day, co, issuer, lot, province,
        )  # fmt: skip
        return (
            person, facility, number, said, surname, given_name, fnt, gnt, birth_date, sex or None,
            nationality or None, tg, vp, mp, ma, dn, sd, sd_given, day, co, issuer, lot or None,
            province,
        )  # fmt: skip

    def _record(
        self, values: Mapping[str, Any]
    ) -> tuple[tuple[str, str, str, str], tuple[Any, ...], str, str]:
        """(surname, given_name, fnt, gnt), (tg, vp, mp, ma, dn, sd, co, is), birth date and day of
        the row's record. Raises: RecordError.
        """
        get = values.get
        names, doses = tuple(map(get, _NAME)), tuple(map(get, _DOSE))
        born, given = get("birth_date"), get("vaccination_date")
        # JSON's 1, 1.0 and true are one key to a dictionary and not one value to a record.
        text = {*map(type, names), *map(type, doses), type(born), type(given)} <= _TEXT
        parts = _split_name(names) if text else None
        if parts:
            first, last = self._surnames.get(parts[0]), self._given_names.get(parts[1])
            dose = self._doses.get(doses)
            birth_date, day = self._births.get(born or ""), self._days.get(given or "")
            if (
                (first and last and dose and birth_date is not None and day)  # all are known
                and day[: len(birth_date)] >= birth_date
            ):
                return (first[0], last[0], first[1], last[1]), dose, birth_date, day
        record = record_from_row(
            {name: values[name] for name in _RECORD if name in values}, self.settings.value_sets
        )
        dose = (
            record.disease, record.vaccine, record.product, record.manufacturer, record.dose_number,
            record.dose_total, record.country, record.issuer,
        )  # fmt: skip
        if parts:
            _keep(self._surnames, parts[0], (record.surname, record.fnt))
            _keep(self._given_names, parts[1], (record.given_name, record.gnt))
            _keep(self._doses, doses, dose)
            _keep(self._births, born or "", record.birth_date)
            _keep(self._days, given or "", record.vaccination_date)
        name = (record.surname, record.given_name, record.fnt, record.gnt)
        return name, dose, record.birth_date, record.vaccination_date

    def _identity(self, name: str, value: Any, faults: list[Violation]) -> str:
        """A part of the row's identity, as it is written; JSON's whole numbers are taken."""
        if value is None:
            return ""
        if type(value) is int:
            value = str(value)
        before = len(faults)
        if not (type(value) is str and len(value) <= 80 and value.isprintable()):
            check_text(name, value, faults)
        return value if len(faults) == before else ""

    def _text(self, name: str, value: Any, faults: list[Violation]) -> str:
        """A text that is carried along: NFC, single spaces."""
        if not value:
            return ""
        if type(value) is int:
            value = str(value)
        known = self._texts.get(value) if type(value) is str else None
        if known is None:
            before = len(faults)
            known = check_text(name, value, faults)
            if len(faults) == before:
                _keep(self._texts, value, known)
        return known

    def _person(
        self, personal: Any, kind: Any, identity: tuple[str, str], faults: list[Violation]
    ) -> bytes:
        """The person's key; b"" beside a fault."""
        for name, value in (("personal_id", personal), ("id_kind", kind)):
            if value is not None and not isinstance(value, str):
                faults.append(Violation(name, describe_type(value), "a text"))
                return b""
        number = "".join(personal.split()).upper() if personal else ""
        if not number:
            return row_key(self._secret, *identity) if identity[1] else b""
        kind = kind.strip().lower() if kind else ""
        if not kind:
            by_length = {12: "cccd", 9: "cmnd"} if number.isdigit() else {}
            kind = by_length.get(len(number), "passport")
        if kind not in _KINDS:
            faults.append(Violation("id_kind", _shape(kind), "cccd, cmnd, passport or empty"))
            return b""
        return person_key(self._secret, kind, number)


def _split_name(names: tuple[str | None, ...]) -> tuple[str, str] | None:
    """Surname and given name of a row that has both and leaves their transliteration to us: then
    neither has to do with the other. ``names`` are its values of _NAME.
    """
    full_name, surname, given_name, fnt, gnt = names
    if fnt or gnt:
        return None
    if full_name and not (surname or given_name) and len(full_name) <= _LONG:
        surname, given_name = split_full_name(full_name)
    return (surname, given_name) if surname and given_name else None


def _keep(parts: dict[Any, Any], key: Any, part: Any) -> None:
    """Remember a part; what is remembered doesn't grow without bound."""
    if len(parts) >= _MANY:
        parts.clear()
    parts[key] = part


def _shape(value: Any) -> str:
    return f"{len(value)} characters" if isinstance(value, str) else describe_type(value)
