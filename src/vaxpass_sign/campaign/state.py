"""What a ledger says, folded row by row: what is clean, what is signed, what is left to do.

The kinds of rows and their bodies; "files" is a list of {name, staged, sha256, bytes, rows}:

* ``campaign``: {id, created_at}; the first row.
* ``clean``: {batch, inputs: [{name, sha256, rows, clean, rejected, repeated}], superseding, secret,
  files}. The files of clean/ and of rejected/.
* ``start``: {command, user, host, …}: who began to sign, with which key, profile and plan.
* ``part``: {clean, ranges, generation, profile, issued_at, expires_at, refused, files}. One signed
  file: of the clean file ``clean`` the rows in ``ranges``, [[start, stop], …] counted from 0,
  but for the ``refused`` ones, {why: [row, …]}.
* ``end``: {command, why, signed, …}: how that run ended.
* ``purge``: {names}: files that were deleted on purpose.

A credential is (uvci, generation): a clean row is signed as generation 0 and renewed as 1, 2, ….
Times are UTC seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vaxpass_sign.campaign.ledger import Row
from vaxpass_sign.campaign.ranges import Ranges
from vaxpass_sign.errors import CampaignError

__all__ = ["CleanPart", "InputTable", "SignedPart", "State", "part_name", "part_number"]


@dataclass(frozen=True, slots=True)
class InputTable:
    """A dose table that was cleaned: ``rows`` = ``clean`` + ``rejected`` + ``repeated``."""

    name: str
    sha256: str
    rows: int
    clean: int
    rejected: int
    repeated: int


@dataclass(frozen=True, slots=True)
class CleanPart:
    """A committed file of clean/ or rejected/."""

    name: str
    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class SignedPart:
    """A committed file of signed/: these rows of that clean file, but for the refused ones."""

    name: str
    sha256: str
    bytes: int
    rows: int
    clean: str
    ranges: Ranges
    generation: int
    profile: str
    issued_at: int
    expires_at: int
    committed_at: int
    refused: Mapping[str, Sequence[int]]

    @property
    def refused_rows(self) -> list[int]:
        """The rows of the clean file that were refused, in order."""
        return sorted(row for rows in self.refused.values() for row in rows)


@dataclass(slots=True)
class State:
    """Everything that the rows so far say. :meth:`add` goes one row on."""

    campaign: str = ""
    inputs: list[InputTable] = field(default_factory=list)
    batches: int = 0
    superseding: int = 0
    """Clean rows that take the place of an older one."""
    secret: str = ""
    """What tells the secret of the first clean from another one; "" before it."""
    clean: dict[str, CleanPart] = field(default_factory=dict)
    rejected: dict[str, CleanPart] = field(default_factory=dict)
    signed: dict[str, SignedPart] = field(default_factory=dict)
    parts_of: dict[str, list[SignedPart]] = field(default_factory=dict)
    """Clean file → its signed parts, in the order of their commits."""
    starts: list[Mapping[str, Any]] = field(default_factory=list)
    purged: set[str] = field(default_factory=set)
    wrong_purges: list[str] = field(default_factory=list)
    """Names in purge rows that are no rejected file: only those may be purged."""
    last_issued_at: int = 0
    last_part: int = 0
    """The highest number of a signed part; names are never used twice."""

    @classmethod
    def of(cls, rows: Iterable[Row]) -> State:
        """The state after all of these rows.

        Raises: CampaignError when a row's body is not of this version's form.
        """
        state = cls()
        for row in rows:
            try:
                state.add(row)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise CampaignError(
                    f"the ledger's row {row.number} ({row.kind}) has a body that can't be "
                    f"understood ({type(error).__name__}): it was changed, or written by another "
                    "version; restore the ledger from its backup"
                ) from error
        return state

    def add(self, row: Row) -> None:
        """Take in the next row; a kind that is not known (of a later command) says nothing here."""
        body = row.body
        if row.kind == "campaign":
            self.campaign = body["id"]
        elif row.kind == "clean":
            self._add_clean(body)
        elif row.kind == "start":
            self.starts.append(body)
        elif row.kind == "part":
            self._add_part(body)
        elif row.kind == "purge":
            self.purged.update(name for name in body["names"] if name in self.rejected)
            self.wrong_purges += [name for name in body["names"] if name not in self.rejected]

    @property
    def clean_rows(self) -> int:
        """People with a clean row, older rows that were superseded included."""
        return sum(part.rows for part in self.clean.values())

    @property
    def rejected_rows(self) -> int:
        """Input rows that were rejected."""
        return sum(part.rows for part in self.rejected.values())

    @property
    def signed_rows(self) -> int:
        """Credentials, of all generations."""
        return sum(part.rows for part in self.signed.values())

    def _add_clean(self, body: Mapping[str, Any]) -> None:
        self.batches = body["batch"]
        self.superseding += body["superseding"]
        self.secret = self.secret or body["secret"]
        self.inputs += [InputTable(**table) for table in body["inputs"]]
        for file in body["files"]:
            kept = self.clean if file["name"].startswith("clean/") else self.rejected
            kept[file["name"]] = CleanPart(**_facts(file))

    def _add_part(self, body: Mapping[str, Any]) -> None:
        [file] = body["files"]
        part = SignedPart(
            **_facts(file),
            clean=body["clean"],
            ranges=tuple((start, stop) for start, stop in body["ranges"]),
            generation=body["generation"],
            profile=body["profile"],
            issued_at=body["issued_at"],
            expires_at=body["expires_at"],
            committed_at=body["committed_at"],
            refused=body["refused"],
        )
        self.signed[part.name] = part
        self.parts_of.setdefault(part.clean, []).append(part)
        self.last_issued_at = max(self.last_issued_at, part.issued_at)
        self.last_part = max(self.last_part, part_number(part.name))


def _facts(file: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in file.items() if name != "staged"}


def part_name(number: int) -> str:
    """The name of a signed part in the campaign.

    >>> part_name(7), part_number(part_name(7))
    ('signed/part-000007.parquet', 7)
    """
    return f"signed/part-{number:06}.parquet"


def part_number(name: str) -> int:
    """The number in a signed part's name."""
    return int(name.rpartition("-")[2].partition(".")[0])
