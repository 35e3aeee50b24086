"""How far a campaign is: figures by facility, province and reason; nothing here reads or writes.

Whoever reads the ledger and the tables fills a :class:`Progress`; the page and the terminal show
it. One sum holds in each line, so that a reader can check it: clean = signed + waiting + refused +
superseded. An input row became part of a clean record, was rejected, or was repeated.

>>> here = FacilityProgress("019", "TN001", rows_clean=10, signed=6, waiting=2, refused=1,
...                         superseded=1, rejected=3)
>>> there = FacilityProgress("019", "TN002", rows_clean=5, signed=5)
>>> total = total_of([here, there])
>>> total.rows_clean, total.signed, percent(total.share_done)
(15, 11, '78.5%')
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import groupby

from vaxpass_sign.errors import InputError

__all__ = [
    "Counts",
    "FacilityProgress",
    "Progress",
    "ProvinceProgress",
    "RatePoint",
    "percent",
    "total_of",
]

_COUNTS = ("rows_clean", "signed", "waiting", "refused", "superseded", "rejected")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Clean records by what became of them, and the input rows rejected beside them.

    Attributes:
        rows_clean: clean records; each is one person's credential to be.
        signed: those with a credential.
        waiting: those still to be signed.
        refused: those that can't be signed as they are (too large for the QR symbol).
        superseded: those that a later clean record of the same person replaced.
        rejected: input rows that cleaning rejected; not among the clean records.

    Raises: InputError when a figure is negative, or rows_clean is not the sum of the four.
    """

    rows_clean: int = 0
    signed: int = 0
    waiting: int = 0
    refused: int = 0
    superseded: int = 0
    rejected: int = 0

    def __post_init__(self) -> None:
        for name in _COUNTS:
            _not_negative(name, getattr(self, name))
        parts = self.signed + self.waiting + self.refused + self.superseded
        if self.rows_clean != parts:
            raise InputError(
                f"a facility's figures do not add up: found {self.rows_clean:,} clean records, "
                f"expected the {parts:,} that are signed, waiting, refused or superseded; "
                "run audit, which names what differs"
            )

    @property
    def to_sign(self) -> int:
        """Clean records that should have a credential: all but the superseded."""
        return self.rows_clean - self.superseded

    @property
    def share_done(self) -> float | None:
        """Signed out of those that should be, from 0 to 1; None when there is none to sign."""
        return self.signed / self.to_sign if self.to_sign else None


@dataclass(frozen=True, slots=True)
class FacilityProgress(Counts):
    """One facility's figures; ``facility_id`` and ``province_code`` are "" where unknown."""

    province_code: str
    facility_id: str


@dataclass(frozen=True, slots=True)
class ProvinceProgress(Counts):
    """One province's figures, the sums of its facilities', which are in order of their ids."""

    province_code: str
    facilities: tuple[FacilityProgress, ...]


@dataclass(frozen=True, slots=True)
class RatePoint:
    """``signed`` credentials in ``seconds`` of work that began at ``start_s`` (UTC seconds).

    Raises: InputError when a figure is negative or not finite.
    """

    start_s: float
    seconds: float
    signed: int

    def __post_init__(self) -> None:
        for field in fields(self):
            _not_negative(field.name, getattr(self, field.name))


@dataclass(frozen=True, slots=True)
class Progress:
    """A campaign's progress at one moment.

    Attributes:
        campaign: the campaign's name.
        generated_at: when the figures were read; aware.
        time_zone: IANA name, in which times are shown.
        issuer: who issues the credentials.
        facilities: one for each (province_code, facility_id).
        reasons: why input rows were rejected, with the number of rows; a row may have several.
        rate: what was signed when, in order of time.
        input_rows: rows of all input files.
        repeated: input rows that stood in an earlier input, and were counted only.
        head: the ledger's head hash.
        last_issued_at: of the newest credential; aware, None before the first.
        expires_first: when the first of the current credentials expires; aware, or None.
        renewals: credentials issued again for a record that had one.

    Raises: InputError when a facility stands twice, a datetime is not aware, or more rows were
        rejected and repeated than came in.
    """

    campaign: str
    generated_at: datetime
    time_zone: str
    issuer: str
    facilities: tuple[FacilityProgress, ...]
    reasons: tuple[tuple[str, int], ...]
    rate: tuple[RatePoint, ...]
    input_rows: int
    repeated: int
    head: str
    last_issued_at: datetime | None = None
    expires_first: datetime | None = None
    renewals: int = 0

    def __post_init__(self) -> None:
        for name in ("input_rows", "repeated", "renewals"):
            _not_negative(name, getattr(self, name))
        for _, count in self.reasons:
            _not_negative("rows with a reason", count)
        for name in ("generated_at", "last_issued_at", "expires_first"):
            moment = getattr(self, name)
            if moment is not None and moment.tzinfo is None:
                raise InputError(f"{name}: found no offset from UTC, expected one; give a tzinfo")
        if len({(f.province_code, f.facility_id) for f in self.facilities}) < len(self.facilities):
            raise InputError("a facility stands twice, expected once; add up its figures first")
        if self.merged < 0:
            raise InputError(
                f"the input rows do not add up: found {self.input_rows:,}, expected at least the "
                f"{self.input_rows - self.merged:,} rejected and repeated; run audit"
            )

    @property
    def total(self) -> Counts:
        """The sums over all facilities."""
        return total_of(self.facilities)

    @property
    def merged(self) -> int:
        """Input rows that became part of a clean record."""
        return self.input_rows - self.repeated - sum(f.rejected for f in self.facilities)

    def by_province(self) -> tuple[ProvinceProgress, ...]:
        """The provinces in order of their codes; the one without a code comes last."""
        ordered = sorted(self.facilities, key=_place)
        provinces = []
        for code, group in groupby(ordered, lambda f: f.province_code):
            facilities = tuple(group)
            total = total_of(facilities)
            sums = {name: getattr(total, name) for name in _COUNTS}
            provinces.append(ProvinceProgress(code, facilities, **sums))
        return tuple(provinces)

    def top_reasons(self) -> tuple[tuple[str, int], ...]:
        """The reasons with the most rows first; equal ones in order of their text."""
        return tuple(sorted(self.reasons, key=lambda item: (-item[1], item[0])))


def total_of(counts: Iterable[Counts]) -> Counts:
    """The sums of several figures."""
    sums = dict.fromkeys(_COUNTS, 0)
    for one in counts:
        for name in _COUNTS:
            sums[name] += getattr(one, name)
    return Counts(**sums)


def percent(share: float | None) -> str:
    """A share as per cent, rounded down: only all of it reads 100%; no share is "-".

    >>> percent(1.0), percent(0.99999), percent(0.00001), percent(0.0), percent(None)
    ('100%', '99.9%', '<0.1%', '0%', '-')
    """
    if share is None:
        return "-"
    if share in (0, 1):
        return f"{share:.0%}"
    tenths = math.floor(share * 1000)
    return f"{tenths / 10:.1f}%" if tenths else "<0.1%"


def _place(facility: FacilityProgress) -> tuple[bool, str, bool, str]:
    code, name = facility.province_code, facility.facility_id
    return not code, code, not name, name


def _not_negative(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise InputError(f"{name}: found {value}, expected 0 or more; run audit")
