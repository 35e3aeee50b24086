"""Step 10: does the payload keep the DCC schema (eu-dcc-schema 1.0.0 to 1.3.3)?

One superset of all versions is read, because issuers did not always say which one they wrote:
lengths of 1.3.0, names of 1.3.2, partial birth dates of 1.1.0, empty ones of 1.3.0, exactly one
entry in v, t and r together (a null group counts as absent), date-times in date fields. An unknown
code of a value set is a warning, never a fault: sets grow, and a reader may be older.

>>> check_dcc({"ver": "1.3.0"})
'dob: found nothing, expected text'
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from typing import Any, Final

__all__ = [
    "ENTRY_KINDS",
    "NAME_CHECKS",
    "REQUIRED",
    "TOP_CHECKS",
    "Check",
    "check_dcc",
    "entry_kinds",
]

ENTRY_KINDS: Final = ("v", "t", "r")
"""Vaccination, test, recovery: the groups of a DCC."""

Check = Callable[[Any], str | None]

_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+", re.ASCII)
_BIRTH_DATE = re.compile(r"((19|20)[0-9]{2}(-[0-9]{2}){0,2})?", re.ASCII)
_STANDARD_NAME = re.compile(r"[A-Z<]{0,80}")
_TIME = re.compile(
    r"[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)?"
)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else f"{_kind(value)}, expected text"


def _short(value: Any) -> str | None:
    if isinstance(value, str) and len(value) <= 80:
        return None
    if isinstance(value, str):
        return f"{len(value)} characters, expected at most 80"
    return f"{_kind(value)}, expected text"


def _matching(pattern: re.Pattern[str], expected: str) -> Check:
    def check(value: Any) -> str | None:
        if isinstance(value, str) and pattern.fullmatch(value):
            return None
        return f"{_kind(value)} of another form, expected {expected}"

    return check


def _dose(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return None
    return f"{_kind(value)}, expected a whole number from 1"


def _date(value: Any) -> str | None:
    """A full-date, or a date-time in its place, as some issuers wrote."""
    if (
        isinstance(value, str)
        and _is_date(value[:10])
        and (len(value) == 10 or _TIME.fullmatch(value[10:]))
    ):
        return None
    return f"{_kind(value)} that is no date, expected YYYY-MM-DD"


def _birth_date(value: Any) -> str | None:
    """YYYY, YYYY-MM, YYYY-MM-DD or empty; some issuers wrote a midnight behind the day."""
    if (
        isinstance(value, str)
        and _BIRTH_DATE.fullmatch(value[:10])
        and (len(value) <= 10 or _TIME.fullmatch(value[10:]))
    ):
        return None
    return f"{_kind(value)} of another form, expected YYYY-MM-DD, YYYY-MM, YYYY or nothing"


def _date_time(value: Any) -> str | None:
    if isinstance(value, str) and _is_date(value[:10]) and _TIME.fullmatch(value[10:]):
        return None
    return f"{_kind(value)} that is no date-time, expected RFC 3339"


@lru_cache(maxsize=4096)
def _is_date(text: str) -> bool:
    if not _DAY.fullmatch(text):
        return False  # fromisoformat would take a week date too
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "something else")


_KINDS = {
    str: "text", bool: "a truth value", int: "a number", float: "a number",
    dict: "a map", list: "a list", bytes: "bytes", type(None): "null",
}  # fmt: skip


def _country(value: Any) -> str | None:
    """The published pattern, [A-Z]{1,10}, is not anchored: one capital letter anywhere keeps it."""
    if isinstance(value, str) and len(value) <= 80 and re.search("[A-Z]", value):
        return None
    return f"{_kind(value)} of another form, expected a country code"


_CODE = _text
TOP_CHECKS = {
    "ver": _matching(_VERSION, "a version such as 1.3.0"),
    "dob": _birth_date,
}
NAME_CHECKS = {
    "fn": _short,
    "gn": _short,
    "fnt": _matching(_STANDARD_NAME, "at most 80 of A to Z and <"),
    "gnt": _matching(_STANDARD_NAME, "at most 80 of A to Z and <"),
}

# For each kind of entry: what it must have, and what it may have.
REQUIRED: dict[str, dict[str, Check]] = {
    "v": {
        "tg": _CODE, "vp": _CODE, "mp": _CODE, "ma": _CODE, "dn": _dose, "sd": _dose,
        "dt": _date, "co": _country, "is": _short, "ci": _short,
    },
    "t": {
        "tg": _CODE, "tt": _CODE, "sc": _date_time, "tr": _CODE,
        "co": _country, "is": _short, "ci": _short,
    },
    "r": {
        "tg": _CODE, "fr": _date, "co": _country, "is": _short,
        "df": _date, "du": _date, "ci": _short,
    },
}  # fmt: skip
_OPTIONAL: dict[str, dict[str, Check]] = {
    "v": {},
    "t": {"nm": _short, "ma": _text, "tc": _short, "dr": _date_time},
    "r": {},
}


def entry_kinds(dcc: dict[str, Any]) -> list[str]:
    """Which of v, t and r are present (a null group is not)."""
    return [kind for kind in ENTRY_KINDS if dcc.get(kind) is not None]


def check_dcc(dcc: dict[str, Any]) -> str | None:
    """The first fault of a DCC as "path: found …, expected …", or None when it has none.

    The text names fields and shapes, never values.
    """
    return _check_required(dcc, TOP_CHECKS) or _check_name(dcc.get("nam")) or _check_groups(dcc)


def _check_required(mapping: dict[str, Any], checks: dict[str, Check]) -> str | None:
    for field, check in checks.items():
        if field not in mapping:
            return f"{field}: found nothing, expected text"
        if found := check(mapping[field]):
            return f"{field}: found {found}"
    return None


def _check_name(name: Any) -> str | None:
    if not isinstance(name, dict):
        return f"nam: found {_kind(name)}, expected a map"
    if "fnt" not in name and "gnt" not in name:
        return "nam: found neither fnt nor gnt, expected at least one"
    for field, check in NAME_CHECKS.items():
        if field in name and (found := check(name[field])):
            return f"nam.{field}: found {found}"
    return None


def _check_groups(dcc: dict[str, Any]) -> str | None:
    kinds = entry_kinds(dcc)
    if len(kinds) != 1:
        return f"v, t, r: found {len(kinds)} groups of entries, expected exactly one"
    kind = kinds[0]
    entries = dcc[kind]
    if not isinstance(entries, list) or len(entries) != 1:
        found = f"{len(entries)} entries" if isinstance(entries, list) else _kind(entries)
        return f"{kind}: found {found}, expected a list of exactly one entry"
    entry = entries[0]
    if not isinstance(entry, dict):
        return f"{kind}: found {_kind(entry)}, expected a map"
    fault = _check_required(entry, REQUIRED[kind])
    if fault:
        return f"{kind}.{fault}"
    for field, check in _OPTIONAL[kind].items():
        fault = check(entry[field]) if entry.get(field) is not None else None
        if fault:
            return f"{kind}.{field}: found {fault}"
    return None
