"""What the columns of an input are called, and what they mean.

An operator's map gives other systems' names a meaning ({"hoten": "full_name"}). A rejected table
that was mended comes back as an input: what cleaning had added to it is dropped. The input's own
columns of such a name go out with ``input_`` in front and lose it when they come back.

>>> rejected_name("line"), rejected_name("lot"), returned_name("input_line"), returned_name("line")
('input_line', 'lot', 'line', '')
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vaxpass_sign.errors import InputError
from vaxpass_sign.prepare.doses import COLUMNS, check_columns

__all__ = [
    "Columns",
    "check_map",
    "is_rejected_table",
    "name_columns",
    "rejected_name",
    "returned_name",
]

MAX_COLUMNS: Final = 1000
_OURS: Final = re.compile(r"(?:input_)*(?:source|line|reasons|rest|row)")
_PREFIX: Final = "input_"


@dataclass(frozen=True, slots=True)
class Columns:
    """An input's own columns. Sequences of one length."""

    places: tuple[int, ...]
    """Where each stands in the file, counted from 0."""
    names: tuple[str, ...]
    """What the input calls it."""
    meanings: tuple[str, ...]
    """Which of ``doses.COLUMNS`` it is, or "" for none."""
    mended: bool = False
    """Whether the input is a rejected table that comes back."""


def check_map(columns: Mapping[str, str]) -> None:
    """Check an operator's map of column names, theirs → ours.

    Raises: InputError for a name of ours that does not exist.
    """
    unknown = sorted({ours for ours in columns.values() if ours not in COLUMNS})
    if unknown:
        raise InputError(
            f"columns: found {', '.join(map(repr, unknown[:10]))}, which no dose table has; "
            f"expected names of {', '.join(sorted(COLUMNS))}"
        )


def name_columns(file: str, header: Sequence[str], columns: Mapping[str, str]) -> Columns:
    """The columns of an input whose header (or schema) names them so; ``columns`` is the map.

    Raises: InputError when there are none or more than 1000, one has two columns of a name or a
    meaning, or one that a dose table needs is missing.
    """
    names = [name.strip() for name in header]
    if len(set(names)) < len(names) or not 0 < len(names) <= MAX_COLUMNS:
        raise InputError(
            f"{file}: found {len(names)} columns, {len(set(names))} of them different; expected a "
            f"header of 1 to {MAX_COLUMNS} different names"
        )
    if not all(map(_is_text, names)):
        raise InputError(f"{file}: found a header that is not UTF-8; save it as UTF-8")
    places = list(range(len(names)))
    mended = is_rejected_table(names)
    if mended:
        own = [(place, returned_name(name)) for place, name in enumerate(names)]
        places, names = [p for p, name in own if name], [name for _, name in own if name]
    meanings = [columns.get(name, name) for name in names]
    twice = sorted({m for m in meanings if m in COLUMNS and meanings.count(m) > 1})
    if twice:
        raise InputError(
            f"{file}: found two columns that mean {twice[0]}, expected one; take one out, or "
            "change the map of columns"
        )
    try:
        check_columns(meanings, also_required=("record_id",))
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    return Columns(
        tuple(places),
        tuple(names),
        tuple(meaning if meaning in COLUMNS else "" for meaning in meanings),
        mended,
    )


def is_rejected_table(names: Iterable[str]) -> bool:
    """Whether these are the columns of a rejected table."""
    found = set(names)
    return {"reasons", "rest"} <= found and not found.isdisjoint(("line", "row"))


def rejected_name(name: str) -> str:
    """What an input's column is called in its rejected table."""
    return _PREFIX + name if _OURS.fullmatch(name) else name


def returned_name(name: str) -> str:
    """What a rejected table's column was called in its input; "" for one that cleaning added."""
    if _OURS.fullmatch(name):
        return name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else ""
    return name


def _is_text(name: str) -> bool:
    """Whether there is no lone surrogate in it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
