"""The file format of value sets: reading with bounds, and checking every part.

``valuesets`` says what the format looks like. Nothing is skipped or guessed: a part that isn't in
the format is an error that says where it stands, so that a slip of the pen can't go unnoticed.

>>> sets, products, names = check_document(
...     "mine.json", {"format": FORMAT, "product_names": {"Nano Covax": "Nanocovax"}}
... )
>>> names
{'Nano Covax': 'Nanocovax'}
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import date

from vaxpass_sign.errors import InputError

__all__ = ["FORMAT", "SETS", "CodeSet", "Product", "check_document", "read_document"]

FORMAT = "vaxpass-sign value sets 1"
SETS = (
    "country-2-codes",
    "disease-agent-targeted",
    "test-result",
    "test-type",
    "vaccine-mah-manf",
    "vaccine-medicinal-product",
    "vaccine-prophylaxis",
)
"""The names of the sets, as the DCC schema's valueset-uri spells them."""

_MAX_BYTES = 1_000_000
_CODE = re.compile(r"[!-~]{1,80}")
_COUNTRY = re.compile(r"[A-Z]{2}")


@dataclass(frozen=True, slots=True)
class CodeSet:
    """One value set, or what a file adds to one."""

    version: str
    date: str
    displays: dict[str, str]
    inactive: frozenset[str]


@dataclass(frozen=True, slots=True)
class Product:
    """What a product code brings along."""

    code: str
    manufacturer: str
    """The default ma: a code of vaccine-mah-manf."""
    vaccine: str
    """The default vp: a code of vaccine-prophylaxis."""
    doses: int
    """Doses of the primary series, 1 to 9."""
    deprecated: bool = False
    """The EU asks that new credentials don't use this code."""


def read_document(path: str | os.PathLike[str]) -> object:
    """The JSON of a file of at most 1 MB, UTF-8, without doubled keys.

    Raises: InputError for a file that can't be read or isn't that.
    """
    import json
    from pathlib import Path

    from vaxpass_sign.files import read_bounded

    where = f"value sets {os.fspath(path)}"
    try:
        data = read_bounded(Path(path), _MAX_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{where}: can't be read ({reason}), expected a JSON file") from None
    if len(data) > _MAX_BYTES:
        raise InputError(f"{where}: found more than {_MAX_BYTES} bytes, expected at most that many")
    try:
        # Editors on Windows put a byte order mark in front; json refuses it otherwise.
        document: object = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_without_doubles)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{where}: not JSON at {place}: {error.msg}; mend the file") from None
    except UnicodeDecodeError:
        raise InputError(f"{where}: not UTF-8, expected JSON in UTF-8") from None
    except _DoubledKeyError as error:
        raise InputError(f"{where}: the key {error} stands twice; keep one") from None
    except (ValueError, RecursionError):
        raise InputError(f"{where}: a number or nesting out of all bounds; mend the file") from None
    return document


def check_document(
    where: str, document: object
) -> tuple[dict[str, CodeSet], dict[str, Product], dict[str, str]]:
    """The sets, products and product names of a document; ``where`` begins every message.

    Raises: InputError at the first part that breaks the format.
    """
    entries = dict(
        _entries(where, document, {"sets", "products", "product_names"}, required={"format"})
    )
    if entries["format"] != FORMAT:
        raise InputError(f"{where}: another format, expected {FORMAT!r}")
    sets, products, names = {}, {}, {}
    for name, value in _entries(f"{where}: sets", entries.get("sets", {}), set(SETS)):
        sets[name] = _check_set(f"{where}: sets, {name}", name, value)
    for code, value in _entries(f"{where}: products", entries.get("products", {}), None):
        products[code] = _check_product(f"{where}: products, {_show(code)}", code, value)
    for name, value in _entries(f"{where}: product_names", entries.get("product_names", {}), None):
        at = f"{where}: product_names, {_show(name)}"
        names[_text(at, name)] = _code(at, value)
    return sets, products, names


def _check_set(where: str, name: str, value: object) -> CodeSet:
    entries = dict(_entries(where, value, required={"version", "date", "codes"}))
    displays, inactive = {}, set()
    for code, entry in _entries(f"{where}, codes", entries["codes"], None):
        at = f"{where}, codes, {_show(code)}"
        shape = _COUNTRY if name == "country-2-codes" else _CODE
        if not shape.fullmatch(code):
            kind = "two capital letters" if shape is _COUNTRY else "1 to 80 ASCII characters"
            raise InputError(f"{at}: not a code, expected {kind}")
        details = {"display": entry}
        if isinstance(entry, Mapping):
            details = dict(_entries(at, entry, {"active"}, required={"display"}))
        displays[code] = _text(at, details["display"])
        if not _flag(f"{at}, active", details.get("active", True)):
            inactive.add(code)
    day = entries["date"]
    try:
        if not isinstance(day, str) or date.fromisoformat(day).isoformat() != day:
            raise ValueError
    except ValueError:
        raise InputError(f"{where}, date: expected a date, YYYY-MM-DD") from None
    return CodeSet(
        _text(f"{where}, version", entries["version"]), day, displays, frozenset(inactive)
    )


def _check_product(where: str, code: str, value: object) -> Product:
    required = {"manufacturer", "vaccine", "doses"}
    entries = dict(_entries(where, value, {"deprecated"}, required=required))
    doses = entries["doses"]
    if isinstance(doses, bool) or not isinstance(doses, int) or not 1 <= doses <= 9:
        raise InputError(f"{where}, doses: expected a whole number from 1 to 9")
    return Product(
        code=_code(where, code),
        manufacturer=_code(f"{where}, manufacturer", entries["manufacturer"]),
        vaccine=_code(f"{where}, vaccine", entries["vaccine"]),
        doses=doses,
        deprecated=_flag(f"{where}, deprecated", entries.get("deprecated", False)),
    )


def _entries(
    where: str,
    value: object,
    optional: Set[str] | None = frozenset(),
    *,
    required: Set[str] = frozenset(),
) -> Iterator[tuple[str, object]]:
    """The entries of an object with these keys; with ``optional`` None, with any text as key."""
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: found {_kind(value)}, expected an object")
    missing = sorted(required - value.keys())
    if missing:
        raise InputError(f"{where}: without {missing[0]}, expected it there")
    for key, entry in value.items():
        if not isinstance(key, str) or (optional is not None and key not in optional | required):
            expected = ", ".join(sorted(optional | required)) if optional is not None else "a text"
            raise InputError(f"{where}: found the key {_show(key)}, expected {expected}")
        yield key, entry


def _flag(where: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{where}: found {_kind(value)}, expected true or false")
    return value


def _text(where: str, value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 200 or not value.isprintable():
        raise InputError(f"{where}: expected a text of 1 to 200 printable characters")
    return value


def _code(where: str, value: object) -> str:
    if not isinstance(value, str) or not _CODE.fullmatch(value):
        raise InputError(f"{where}: found {_kind(value)}, expected a code")
    return value


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a value of type {type(value).__name__}"


def _show(value: object) -> str:
    return f"{value[:40]!r}" if isinstance(value, str) else _kind(value)


class _DoubledKeyError(Exception):
    pass


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        raise _DoubledKeyError(_show(next(key for key in keys if keys.count(key) > 1)))
    return result
