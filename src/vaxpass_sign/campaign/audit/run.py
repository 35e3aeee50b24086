"""Audit a campaign: is everything that was committed there, whole, valid and right?

1. **ledger**: its chain of hashes holds, and a head that was noted is part of it.
2. **files**: each committed file is in its folder with the bytes that were committed; no other is.
3. **inputs**: input rows = clean + rejected + repeated, by the ledger and by the tables.
4. **generations**: no clean row is signed twice in a generation; none skips one.
5. **duplicates**: no uvci stands twice in the clean tables, and a person's clean rows supersede one
   another in one line. From this, 4 and 6 it follows that no (uvci, generation) was issued twice;
   when anything was found, the signed tables are asked as well.
6. **credentials**: each one verifies by :mod:`vaxpass_sign.check` against its profile's DSC, and
   says what its clean row says.
7. **sums**: clean rows = signed + refused + superseded before they were signed + pending.

Nothing is mended, and nothing but the reports is written. What an audit can't see: that the last
rows of a ledger were cut off together with their files; a head noted elsewhere shows it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any

from vaxpass_sign.campaign.audit.books import (
    check_chain,
    check_duplicates,
    check_files,
    check_generations,
    check_inputs,
)
from vaxpass_sign.campaign.audit.findings import Finding
from vaxpass_sign.campaign.audit.worker import (
    AuditedPart,
    AuditTask,
    audit_part,
    start_auditor,
)
from vaxpass_sign.campaign.commit import make_run_folder
from vaxpass_sign.campaign.layout import Layout
from vaxpass_sign.campaign.ledger import Row, read_rows
from vaxpass_sign.campaign.plan import UNSIGNED, row_states, superseded_rows
from vaxpass_sign.campaign.profile import profile_hash
from vaxpass_sign.campaign.state import State
from vaxpass_sign.campaign.tables import CommittedTable
from vaxpass_sign.errors import CampaignError, LedgerError
from vaxpass_sign.workers import Pool, refuse_in_a_starting_worker, spawn_worker

__all__ = ["AuditReport", "Sums", "audit_campaign"]


@dataclass(frozen=True, slots=True)
class Sums:
    """Clean rows by what became of them; ``clean`` is the sum of the other four."""

    clean: int
    signed: int
    refused: int
    superseded: int
    """Rows that were never signed, because a newer row took their place before."""
    pending: int


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found; ``findings`` is empty when all is well.

    ``verified`` credentials are valid and say what their clean row says, out of ``credentials``.
    """

    campaign: str
    head: str
    rows: int
    """Rows of the ledger."""
    inputs: int
    input_rows: int
    rejected: int
    repeated: int
    sums: Sums
    parts: int
    credentials: int
    verified: int
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


@dataclass
class _Audit:
    layout: Layout
    rows: list[Row]
    state: State
    findings: list[Finding] = field(default_factory=list)


def audit_campaign(
    layout: Layout,
    *,
    head: str | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AuditReport:
    """Audit a campaign.

    Args:
        head: a ledger head (64 hexadecimal digits) that an earlier run printed.
        workers: processes; None: one for each core.
        progress: called with the credentials verified so far, and how many there are.

    Raises: CampaignError when there is no campaign, its ledger can't be read, or somebody writes to
        it; InputError when a report can't be written.
    """
    if head is not None and not _is_hash(head):
        raise CampaignError("head: found no hash, expected the 64 hexadecimal digits of a run")
    refuse_in_a_starting_worker()
    began = time.monotonic()
    with layout.locked(alone=False):
        rows = read_rows(layout.ledger)
        audit = _Audit(layout, rows, State.of(rows))
        # Most of the books is reading and hashing, which lets the workers start beside it.
        with ThreadPoolExecutor(1) as aside:
            books = aside.submit(_check_books, audit, head.lower() if head else None)
            verified, found = _verify_all(audit, workers, progress)
            audit.findings += [*books.result(), *found]
        if audit.findings:
            audit.findings += _find_duplicates(audit, signed=True)
        sums = _sums(audit)
        if verified != audit.state.signed_rows and not audit.findings:
            what = (
                f"{verified} of {audit.state.signed_rows} credentials are all right, and no finding"
            )
            audit.findings.append(Finding("count", "signed/", f"{what} says why"))
    state = audit.state
    return AuditReport(
        campaign=state.campaign,
        head=rows[-1].hash.hex() if rows else "",
        rows=len(rows),
        inputs=len(state.inputs),
        input_rows=sum(table.rows for table in state.inputs),
        rejected=sum(table.rejected for table in state.inputs),
        repeated=sum(table.repeated for table in state.inputs),
        sums=sums,
        parts=len(state.signed),
        credentials=state.signed_rows,
        verified=verified,
        findings=tuple(dict.fromkeys(audit.findings)),
        seconds=time.monotonic() - began,
    )


def _check_books(audit: _Audit, head: str | None) -> list[Finding]:
    """Steps 1 to 5."""
    layout, state = audit.layout, audit.state
    return [
        *check_chain(audit.rows, head),
        *check_files(layout, audit.rows, state),
        *check_inputs(layout, state),
        *check_generations(state),
        *_find_duplicates(audit, signed=False),
    ]


def _find_duplicates(audit: _Audit, *, signed: bool) -> list[Finding]:
    work = make_run_folder(audit.layout)
    try:
        return list(check_duplicates(audit.layout, audit.state, work, signed=signed))
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _is_hash(text: str) -> bool:
    return len(text) == 64 and all(c in "0123456789abcdefABCDEF" for c in text)


# --- credentials ---------------------------------------------------------------------------


def _verify_all(
    audit: _Audit, workers: int | None, progress: Callable[[int, int], None] | None
) -> tuple[int, list[Finding]]:
    """Verify every credential of every part that is there; how many are all right."""
    findings: list[Finding] = []
    tasks = list(_tasks(audit, findings))
    count = min(workers or len(os.sched_getaffinity(0)), max(len(tasks), 1))
    total, seen, verified = audit.state.signed_rows, 0, 0
    for part in _run(tasks, count):
        verified += part.verified
        findings += part.findings
        seen += audit.state.signed[part.name].rows
        if progress:
            progress(seen, total)
    return verified, findings


def _tasks(audit: _Audit, findings: list[Finding]) -> Iterator[AuditTask]:
    """A task for each signed part that can be looked into, those of one clean part together.

    What keeps one from being looked into is added to ``findings``.
    """
    profiles = {start["profile_hash"]: start for start in audit.state.starts}
    for parts in audit.state.parts_of.values():
        for part in parts:
            signed = audit.layout.of(part.name)
            clean = audit.state.clean.get(part.clean)
            if not signed.exists() or clean is None:
                continue  # found before
            start = profiles.get(part.profile)
            fault = _profile_fault(start)
            if start is None or fault:
                what = f"names the profile {part.profile[:16]}…, {fault}"
                findings.append(Finding("plan", part.name, what))
                continue
            yield AuditTask(
                part,
                signed,
                audit.layout.of(clean.name),
                clean.sha256,
                dict(start["profile"]),
                b64decode(start["dsc"]),
            )


def _profile_fault(start: Mapping[str, Any] | None) -> str | None:
    """What is wrong with the row that a profile comes from: its DSC and hash must be its own."""
    if start is None:
        return "which no run began with"
    if profile_hash(start["profile"]) != start["profile_hash"]:
        return "whose content has another hash"
    if hashlib.sha256(b64decode(start["dsc"])).hexdigest() != start["profile"]["dsc_sha256"]:
        return "whose DSC is not the one that the ledger keeps with it"
    return None


def _run(tasks: list[AuditTask], count: int) -> Iterator[AuditedPart]:
    if count == 1:
        yield from map(audit_part, tasks)
        return
    with Pool(count, lambda _: spawn_worker(start_auditor)) as workers:
        waiting = iter(tasks)
        under_way: dict[Future[AuditedPart], int] = {}

        def give(worker: int) -> None:
            task = next(waiting, None)
            if task is not None:
                under_way[workers.submit(worker, audit_part, task)] = worker

        # One part is audited while the next one waits at its worker.
        for worker in [*range(count)] * 2:
            give(worker)
        while under_way:
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                worker = under_way.pop(future)
                try:
                    part = future.result()
                except BrokenProcessPool:
                    raise CampaignError(
                        "an audit's worker process died (out of memory?): run audit again"
                    ) from None
                give(worker)
                yield part


# --- sums ----------------------------------------------------------------------------------


def _sums(audit: _Audit) -> Sums:
    """Every clean row in exactly one place."""
    layout, state = audit.layout, audit.state

    def read(name: str, columns: list[str]) -> Any:
        return CommittedTable(layout.of(name), state.clean[name].sha256).read_all(columns)

    try:
        superseded = superseded_rows(state, read)
    except LedgerError:
        superseded = {}  # the file was found before
    return sums_of(state, superseded)


def sums_of(state: State, superseded: dict[str, Any]) -> Sums:
    """Clean rows by what became of them."""
    signed = refused = gone = pending = 0
    for name, part in state.clean.items():
        states = row_states(part.rows, state.parts_of.get(name, ()))
        unsigned = states.generation == UNSIGNED
        signed += int((~unsigned).sum())
        lost = superseded.get(name, [])
        gone += int(unsigned[lost].sum())
        unsigned[lost] = False
        rows = sorted({row for listed in states.refused.values() for row in listed})
        refused += int(unsigned[rows].sum())
        unsigned[rows] = False
        pending += int(unsigned.sum())
    return Sums(state.clean_rows, signed, refused, gone, pending)
