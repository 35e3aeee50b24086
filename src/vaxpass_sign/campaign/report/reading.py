"""A campaign's progress, from its ledger and tables: who waits for what, by province and facility.

Reading needs no lock and disturbs nobody: a report can be made while the campaign is signed, and
shows what was committed by then.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from vaxpass_sign.campaign.layout import Layout
from vaxpass_sign.campaign.ledger import read_rows
from vaxpass_sign.campaign.plan import UNSIGNED, row_states, superseded_rows
from vaxpass_sign.campaign.report.progress import FacilityProgress, Progress, RatePoint
from vaxpass_sign.campaign.settings import read_settings
from vaxpass_sign.campaign.state import SignedPart, State
from vaxpass_sign.campaign.tables import open_parquet
from vaxpass_sign.errors import LedgerError, MissingExtraError

__all__ = ["campaign_progress"]

_Place = tuple[str, str]
"""(province_code, facility_id)."""

_PLACE: Final = ("province_code", "facility_id")
_FATES: Final = ("waiting", "signed", "refused", "superseded")
_MAX_REASONS: Final = 10_000


def campaign_progress(layout: Layout, *, clock: Callable[[], float] = time.time) -> Progress:
    """How far a campaign is.

    Raises: CampaignError when there is no campaign or ledger; LedgerError when a table is missing.
    """
    settings = read_settings(layout.settings)
    rows = read_rows(layout.ledger)
    state = State.of(rows)
    clean = _count_clean(layout, state)
    rejected, reasons = _count_rejected(layout, state, settings.columns)
    facilities = []
    for place in sorted(clean.keys() | rejected.keys()):
        fates = dict(zip(_FATES, clean.get(place, [0] * len(_FATES)), strict=True))
        facilities.append(
            FacilityProgress(
                province_code=place[0],
                facility_id=place[1],
                rows_clean=sum(fates.values()),
                rejected=rejected[place],
                **fates,
            )
        )
    parts = sorted(state.signed.values(), key=lambda part: part.committed_at)
    return Progress(
        campaign=layout.root.resolve().name,
        generated_at=datetime.fromtimestamp(int(clock()), UTC),
        time_zone=settings.time_zone.key,
        issuer=settings.name,
        facilities=tuple(facilities),
        reasons=tuple(reasons.most_common(_MAX_REASONS)),
        rate=tuple(_rate(parts)),
        input_rows=sum(table.rows for table in state.inputs),
        repeated=sum(table.repeated for table in state.inputs),
        head=rows[-1].hash.hex(),
        last_issued_at=_moment(state.last_issued_at),
        expires_first=_moment(_first_expiry(state)),
        renewals=sum(part.rows for part in parts if part.generation),
    )


def _moment(seconds: int) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _rate(parts: list[SignedPart]) -> Iterator[RatePoint]:
    """What was signed when. Parts are made side by side: each counts from the last commit on, so
    that no second is counted twice.
    """
    before = 0
    for part in parts:
        start = min(max(part.issued_at, before), part.committed_at)
        yield RatePoint(start, part.committed_at - start, part.rows)
        before = part.committed_at


def _first_expiry(state: State) -> int:
    """When the first of the newest credentials expires, UTC seconds; 0 when there is none."""
    first = []
    for name, part in state.clean.items():
        states = row_states(part.rows, state.parts_of.get(name, ()))
        issued = states.expires_at[states.generation != UNSIGNED]
        if len(issued):
            first.append(int(issued.min()))
    return min(first, default=0)


def _count_clean(layout: Layout, state: State) -> dict[_Place, list[int]]:
    """Clean rows of each facility by what became of them, in the order of ``_FATES``."""
    import numpy as np
    import pyarrow.compute as pc

    def read(name: str, columns: list[str]) -> Any:
        return _read(layout.of(name), columns)

    counts: dict[_Place, list[int]] = {}
    superseded = superseded_rows(state, read)
    for name, part in state.clean.items():
        states = row_states(part.rows, state.parts_of.get(name, ()))
        fate = np.where(states.generation == UNSIGNED, 0, 1)
        for rows in states.refused.values():
            fate[rows] = np.where(fate[rows] == 1, 1, 2)
        lost = superseded.get(name, np.empty(0, np.intp))
        fate[lost] = np.where(fate[lost] == 1, 1, 3)
        table = read(name, list(_PLACE))
        joined = pc.binary_join_element_wise(*(table[c] for c in _PLACE), "\x1f")
        places = joined.combine_chunks().dictionary_encode()
        cells = places.indices.to_numpy(zero_copy_only=False) * len(_FATES) + fate
        found = np.bincount(cells, minlength=len(places.dictionary) * len(_FATES))
        for place, row in zip(
            places.dictionary.to_pylist(), found.reshape(-1, len(_FATES)).tolist(), strict=True
        ):
            province, _, facility = place.partition("\x1f")
            before = counts.setdefault((province, facility), [0] * len(_FATES))
            counts[province, facility] = [a + b for a, b in zip(before, row, strict=True)]
    return counts


def _count_rejected(
    layout: Layout, state: State, columns: Mapping[str, str]
) -> tuple[Counter[_Place], Counter[str]]:
    """Rejected rows of each facility, and of each reason. Purged ones have neither any more."""
    theirs = {ours: name for name, ours in columns.items()}
    places: Counter[_Place] = Counter()
    reasons: Counter[str] = Counter()
    for name, part in state.rejected.items():
        if name in state.purged:
            places["", ""] += part.rows
            continue
        for batch in _batches(layout.of(name), [*_PLACE, *theirs.values(), "reasons"]):
            place = [_texts(batch, theirs.get(column, column)) for column in _PLACE]
            places.update(zip(*place, strict=True))
            reasons.update(reason for row in batch["reasons"].to_pylist() for reason in row)
    return places, reasons


def _texts(batch: Any, name: str) -> list[str]:
    if name not in batch.schema.names:
        return [""] * len(batch)
    return [(value or "").strip() for value in batch[name].to_pylist()]


def _read(path: Path, columns: list[str]) -> Any:
    import pyarrow as pa

    return pa.Table.from_batches(list(_batches(path, columns)))


def _batches(path: Path, columns: list[str]) -> Iterator[Any]:
    """The columns that a table has of these, block by block."""
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingExtraError("campaigns", "batch") from error
    try:
        with open_parquet(path) as file:
            found = [name for name in file.schema_arrow.names if name in columns]
            yield from file.iter_batches(batch_size=20_000, columns=found)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise LedgerError(
            f"{path} can't be read, and the ledger commits it: run audit, which names what is wrong"
        ) from error
