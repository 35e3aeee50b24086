"""The doses of one person and disease → one clean row, or the reasons why not.

The rules, in this order:

1. **The person**: the doses, earlier clean ones included, agree in the name (fnt and gnt without
   <) and the birth date (one that begins the other, as 1987 begins 1987-04-12, agrees with it); no
   day has two products; no vaccination lies before the most precise of the birth dates. Otherwise
   all new doses are rejected: two people are never merged because a number was mistyped.
2. **The dose**: a new dose that is clean already (the same product and day) is rejected, and so is
   one before the latest clean dose.
3. What is left becomes one clean row. It is the latest dose's (of several rows of one day that
   with the highest dose_number, then one that gives its dose_total, then the last by facility_id
   and record_id), with these changes:

   * birth_date: the most precise.
   * dn: the row's own dose_number, or the number of days with a vaccination when that is more; the
     latest earlier clean row counts as its dn days. When dn is above 9, all are rejected.
   * sd: the row's own dose_total when it gave one and dn is its own dose_number. Otherwise the
     EU's rule: 1 after a one-dose series; else the doses of the series, or dn when that is more.
     The series is that of the earliest known dose with dose_number 1, or else of the earliest
     known; an earlier clean row with sd 1 says that it was a one-dose series.
   * supersedes: the UVCI of the latest earlier clean row.

Pure: rows in, decisions out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from vaxpass_sign.errors import Violation
from vaxpass_sign.prepare.doses import dose_total
from vaxpass_sign.record.valuesets import ValueSets

__all__ = ["Dose", "Merged", "Refusal", "merge_person", "refuse_shared_doses"]

NAMES: Final = Violation(
    "full_name",
    "another name than other rows of this personal_id have",
    "one name; mend the number or the name",
)
BIRTHS: Final = Violation(
    "birth_date",
    "one that does not fit other rows of this personal_id",
    "one birth date, before every vaccination; mend the number or the date",
)
PRODUCTS: Final = Violation(
    "product",
    "two products on one day in rows of this personal_id",
    "one; mend the number, the product or the day",
)
DISEASES: Final = Violation(
    "disease", "one dose against two diseases in rows of this personal_id", "one disease a dose"
)
KNOWN: Final = Violation(
    "row",
    "a dose that is clean already, from another facility_id and record_id",
    "each dose of a person once",
)
EARLIER: Final = Violation(
    "vaccination_date",
    "a day before the dose that is clean",
    "a later one; an earlier dose can't be added yet",
)
TOO_MANY: Final = Violation("dose_number", "more than 9 doses of one person", "at most 9")


class Dose(NamedTuple):
    """One row; ``uvci`` and ``file`` tell an earlier clean row (uvci, None) from a new one."""

    uvci: str | None
    file: int | None
    place: int | None
    person_key: bytes
    facility_id: str
    record_id: str
    dose_sha256: bytes
    surname: str
    given_name: str
    fnt: str
    gnt: str
    birth_date: str
    sex: str | None
    nationality: str | None
    tg: str
    vp: str
    mp: str
    ma: str
    dn: int
    sd: int
    sd_given: bool
    dt: str
    co: str
    issuer: str
    lot: str | None
    province_code: str


class Merged(NamedTuple):
    """A clean row: ``dose`` with what differs from it, and the rows that it was merged from."""

    dose: Dose
    birth_date: str
    dn: int
    sd: int
    supersedes: str | None
    members: Sequence[Dose]


class Refusal(NamedTuple):
    """A new dose that is rejected, and why."""

    dose: Dose
    reasons: Sequence[Violation]


def merge_person(
    new: Sequence[Dose], earlier: Sequence[Dose], value_sets: ValueSets
) -> tuple[Merged | None, list[Refusal]]:
    """Merge the doses of one person and disease.

    Args:
        new: the run's doses, at least one. The order doesn't matter.
        earlier: the person's clean rows for the disease.

    Returns: the clean row, or None, and what is rejected: each new dose is in one of them.
    """
    if len(new) == 1 and not earlier:
        dose = new[0]
        return Merged(dose, dose.birth_date, dose.dn, dose.sd, None, new), []
    everything = (*earlier, *new)
    birth_date = max([dose.birth_date for dose in everything], key=len)
    if disagreement := _disagreement(everything, birth_date):
        return None, [Refusal(dose, disagreement) for dose in new]
    # What is rejected from here on is no evidence of anything.
    last = max(earlier, key=lambda dose: dose.dt, default=None)
    members, refusals = list(new), []
    if last is not None:
        clean = {(dose.mp, dose.dt) for dose in earlier}
        members = [dose for dose in new if dose.dt > last.dt]
        refusals = [
            Refusal(dose, [KNOWN if (dose.mp, dose.dt) in clean else EARLIER])
            for dose in new
            if dose.dt <= last.dt
        ]
    if not members:
        return None, refusals
    known = (*earlier, *members)
    birth_date = max([dose.birth_date for dose in known], key=len)
    dose = max(members, key=lambda d: (d.dt, d.dn, d.sd_given, d.facility_id, d.record_id))
    days = len({member.dt for member in members}) + (last.dn if last else 0)
    dn = max(dose.dn, days)
    if dn > 9:
        return None, refusals + [Refusal(member, [TOO_MANY]) for member in members]
    if dose.sd_given and dn == dose.dn:
        sd = dose.sd
    elif any(clean_row.sd == 1 for clean_row in earlier):
        sd = 1
    else:
        first = min(known, key=lambda d: (d.dn != 1, d.dt))
        sd = dose_total(dn, first.mp, value_sets)
    members.sort(key=lambda member: (member.facility_id, member.record_id))
    return Merged(dose, birth_date, dn, sd, last.uvci if last else None, members), refusals


def _disagreement(doses: Sequence[Dose], birth_date: str) -> list[Violation]:
    """Why these can't be one person's doses; ``birth_date`` is one of the most precise."""
    reasons = []
    if len({(dose.fnt + dose.gnt).replace("<", "") for dose in doses}) > 1:
        reasons.append(NAMES)
    if not all(
        birth_date.startswith(dose.birth_date) and dose.dt[: len(birth_date)] >= birth_date
        for dose in doses
    ):
        reasons.append(BIRTHS)
    if len({(dose.dt, dose.mp) for dose in doses}) > len({dose.dt for dose in doses}):
        reasons.append(PRODUCTS)
    return reasons


def refuse_shared_doses(new: Sequence[Dose], earlier: Sequence[Dose]) -> list[Refusal]:
    """Refusals of all of a person's new doses, of several diseases, when one dose is against two.

    A UVCI names the person, the product and the day: two diseases would share it.
    """
    everything = (*earlier, *new)
    if len({(d.tg, d.mp, d.dt) for d in everything}) == len({(d.mp, d.dt) for d in everything}):
        return []
    return [Refusal(dose, [DISEASES]) for dose in new]
