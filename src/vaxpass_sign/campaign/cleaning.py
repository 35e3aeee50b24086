"""One ``clean``: dose tables in, clean parts and rejected tables committed.

What a row must keep and how a person's doses are merged is :mod:`vaxpass_sign.prepare`'s. Here is
what makes it durable: the secret is the one of the first time, a table that was cleaned before is
passed over (by the hash of its bytes), and all files of a run are committed by one ledger row, so
that a run counts as a whole or not at all.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vaxpass_sign.campaign.commit import (
    StagedFile,
    commit,
    file_sha256,
    make_run_folder,
    recover,
)
from vaxpass_sign.campaign.layout import Layout
from vaxpass_sign.campaign.ledger import Ledger
from vaxpass_sign.campaign.run_facts import who
from vaxpass_sign.campaign.settings import Settings, read_secret, read_settings
from vaxpass_sign.campaign.state import State
from vaxpass_sign.errors import CampaignError, InputError, LedgerError, MissingExtraError
from vaxpass_sign.workers import Pool, refuse_in_a_starting_worker, spawn_worker

if TYPE_CHECKING:
    from vaxpass_sign.prepare.clean import CleanResult

__all__ = ["CleanReport", "clean_campaign"]

_SECRET_CHECK: Final = b"vaxpass_sign: which secret is this? v1"
_WORTH_A_WORKER: Final = 2_000_000  # bytes of input; starting a process takes as long as its rows


@dataclass(frozen=True, slots=True)
class CleanReport:
    """What a run did: input ``rows`` = ``clean`` + ``rejected`` + ``repeated``.

    ``known``: tables that were cleaned before and passed over. ``people``: clean rows that were
    written, one for each person (and disease); ``superseding`` of them take an older one's place.
    ``secret``: tells one secret from another; the same each year. ``head``: the ledger's.
    """

    tables: int
    known: int
    rows: int
    clean: int
    rejected: int
    repeated: int
    people: int
    superseding: int
    secret: str
    head: str
    seconds: float


def clean_campaign(
    layout: Layout,
    inputs: Sequence[Path],
    *,
    workers: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    clock: Callable[[], float] = time.time,
) -> CleanReport:
    """Clean dose tables into a campaign.

    Raises: InputError for a table that is none; CampaignError for settings, a secret that is not
        the campaign's, or a campaign in use; LedgerError when its files are not what they were.
    """
    refuse_in_a_starting_worker()
    began = time.monotonic()
    settings = read_settings(layout.settings)
    secret = read_secret(settings)
    if not inputs:
        raise InputError("no input: expected dose tables (.csv, .jsonl or .parquet)")
    with layout.locked(alone=True):
        layout.make()
        with _ledger(layout) as ledger:
            state = State.of(ledger.rows)
            recover(layout, ledger, state.purged)
            check = _check_secret(state, secret)
            _check_clean_parts(layout, state)
            new = _unknown(inputs, {table.sha256 for table in state.inputs})
            result = None
            if new:
                run_folder = make_run_folder(layout)
                result = _clean(
                    layout, settings, state, new, secret, run_folder, workers, progress, clock
                )
                _commit(layout, ledger, state, result, check, run_folder, clock)
                run_folder.rmdir()
            return _report(inputs, result, check, ledger.head, time.monotonic() - began)


def _ledger(layout: Layout) -> Ledger:
    if layout.ledger.exists():
        return Ledger.open(layout.ledger)
    strangers = next(layout.committed_names(), None)
    if strangers is not None:
        raise LedgerError(
            f"{layout.ledger} is missing, and {layout.of(strangers)} is there: restore the ledger "
            "from its backup; a new one would forget what was issued"
        )
    return Ledger.create(layout.ledger)


def _check_secret(state: State, secret: bytes) -> str:
    """What tells this secret from others, 16 hexadecimal digits.

    Raises: CampaignError when it is not the one that the campaign was begun with.
    """
    check = hmac.digest(secret, _SECRET_CHECK, "sha256").hex()[:16]
    if state.secret and not hmac.compare_digest(state.secret, check):
        raise CampaignError(
            f"the secret (it shows as {check}) is not the one that this campaign was begun with "
            f"({state.secret}): with another one each person would get a second identity; restore "
            "the right file from its backup"
        )
    return check


def _check_clean_parts(layout: Layout, state: State) -> None:
    """Refuse to build on a clean part that is not what was committed.

    A later dose takes the place of what is clean already; with a part that lacks a person, the
    person would get a second credential that nobody connects with the first.
    """
    for part in state.clean.values():
        path = layout.of(part.name)
        try:
            sha256, size = file_sha256(path)
        except OSError as error:
            raise LedgerError(f"{path} can't be read: {error.strerror}; restore it") from error
        if sha256 != part.sha256:
            raise LedgerError(
                f"{path}: found {size} bytes with another hash than the ledger's: it was changed "
                "or cut after it was committed; restore it from its backup"
            )


def _unknown(inputs: Sequence[Path], known: set[str]) -> list[Path]:
    """The tables that were not cleaned before."""
    new = []
    for path in inputs:
        try:
            digest = file_sha256(path)[0] if path.is_file() else ""
        except OSError:
            digest = ""  # the one who reads it says what is wrong
        if digest not in known:
            new.append(path)
    return new


def _clean(  # noqa: PLR0913, PLR0917 (what a run is made of)
    layout: Layout,
    settings: Settings,
    state: State,
    inputs: Sequence[Path],
    secret: bytes,
    run_folder: Path,
    workers: int | None,
    progress: Callable[[str, int, int], None] | None,
    clock: Callable[[], float],
) -> CleanResult:
    try:
        from vaxpass_sign.prepare.clean import CleanSettings, clean_tables, open_checker
    except ModuleNotFoundError as error:
        raise MissingExtraError("cleaning dose tables", "batch") from error
    # The date that it already is somewhere on earth.
    today = datetime.fromtimestamp(clock(), UTC) + timedelta(hours=14)
    rules = CleanSettings(
        country=settings.country,
        today=today.date().isoformat(),
        value_sets=settings.value_sets(),
        columns=settings.columns,
    )

    def run(pool: Pool | None) -> CleanResult:
        def tell(stage: str, done: int, total: int) -> None:
            if pool is not None and stage == "merge":
                pool.close()  # all rows are checked, and merging needs the memory
            if progress is not None:
                progress(stage, done, total)

        return clean_tables(
            inputs,
            run_folder,
            batch=state.batches + 1,
            prior=[layout.of(name) for name in state.clean],
            settings=rules,
            secret=secret,
            executors=None if pool is None else pool.executors,
            progress=tell,
        )

    count = _workers(workers, inputs)
    if count == 1:
        return run(None)
    with Pool(count, lambda _: spawn_worker(open_checker, secret, rules)) as pool:
        return run(pool)


def _workers(workers: int | None, inputs: Sequence[Path]) -> int:
    if workers is not None:
        if not 1 <= workers <= 256:
            raise InputError(f"workers: found {workers}, expected 1 to 256")
        return workers
    size = sum(path.stat().st_size for path in inputs if path.is_file())
    return max(1, min(len(os.sched_getaffinity(0)), size // _WORTH_A_WORKER))


def _commit(  # noqa: PLR0913, PLR0917 (what a commit is made of)
    layout: Layout,
    ledger: Ledger,
    state: State,
    result: CleanResult,
    check: str,
    run_folder: Path,
    clock: Callable[[], float],
) -> None:
    files = []
    for folder, parts in (("clean", result.clean_parts), ("rejected", result.rejected_parts)):
        for part in parts:
            sha256, size = file_sha256(part.path)
            staged = f"{run_folder.name}/{part.path.name}"
            name = f"{folder}/{part.path.name.removeprefix(f'{folder}-')}"
            files.append(StagedFile(name, staged, sha256, size, part.rows))
    body: dict[str, Any] = {
        "at": int(clock()),
        **who(),
        "batch": state.batches + 1,
        "inputs": [asdict(table) for table in result.inputs],
        "superseding": result.superseding,
        "secret": check,
    }
    commit(layout, ledger, "clean", body, files)


def _report(
    inputs: Sequence[Path], result: CleanResult | None, check: str, head: bytes, seconds: float
) -> CleanReport:
    tables = result.inputs if result else ()
    return CleanReport(
        tables=len(inputs),
        known=len(inputs) - len(tables),
        rows=sum(table.rows for table in tables),
        clean=sum(table.clean for table in tables),
        rejected=sum(table.rejected for table in tables),
        repeated=sum(table.repeated for table in tables),
        people=sum(part.rows for part in result.clean_parts) if result else 0,
        superseding=result.superseding if result else 0,
        secret=check,
        head=head.hex(),
        seconds=seconds,
    )
