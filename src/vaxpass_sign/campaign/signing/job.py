"""What one ``sign`` is about to do, and whether all fits together: before the first signature.

Settings, clock, DSC and plan are looked at first; only when there is something to sign is the key
opened, once, and one test signature proves that it is the DSC's. The PIN is sent once here; the
workers send it again only because it was right.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vaxpass_sign.campaign.layout import Layout
from vaxpass_sign.campaign.ledger import Ledger
from vaxpass_sign.campaign.plan import (
    Selection,
    Work,
    plan_new,
    plan_renewals,
    superseded_rows,
)
from vaxpass_sign.campaign.profile import changes, last_day, profile_hash, profile_of
from vaxpass_sign.campaign.ranges import split_ranges
from vaxpass_sign.campaign.settings import Settings
from vaxpass_sign.campaign.signing.coordinator import CLOSE_AFTER_S, PART_ROWS, clock_error
from vaxpass_sign.campaign.state import State
from vaxpass_sign.campaign.tables import CommittedTable
from vaxpass_sign.errors import CampaignError, InputError, TokenError
from vaxpass_sign.issuer import Issuer
from vaxpass_sign.keys import MAX_SESSIONS, PATIENCE_S, open_signer
from vaxpass_sign.keys.pin import Hidden
from vaxpass_sign.keys.token import pinned
from vaxpass_sign.keys.uri import Pkcs11Uri
from vaxpass_sign.x509 import Certificate, read_certificate

__all__ = [
    "OpenedToken",
    "SignJob",
    "SignOptions",
    "SignPlan",
    "check_clock",
    "plan_job",
    "plan_shown",
    "prove_key",
]

MAX_WORKERS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class SignOptions:
    """How to sign. ``workers``: processes; None: one for each core, and one for a removable token.

    ``sessions``: of each worker. ``limit_rate``: signatures a second, of all workers together.
    ``most``: at most so many records in this run. ``renew_before``: also sign again what expires
    before this moment. ``part_rows``, ``close_after_s``: when a signed part is closed.
    ``final_try``: send the PIN even when a wrong one would lock the token. ``patience_s``: when a
    call into the token's module that has not returned is given up.
    """

    workers: int | None = None
    sessions: int = 1
    limit_rate: float | None = None
    most: int | None = None
    renew_before: datetime | None = None
    part_rows: int = PART_ROWS
    close_after_s: float = CLOSE_AFTER_S
    final_try: bool = False
    patience_s: float = PATIENCE_S

    def check(self) -> None:
        """Raises: InputError for a number out of its bounds."""
        for name, value, least, most in (
            ("workers", self.workers, 1, MAX_WORKERS),
            ("sessions", self.sessions, 1, MAX_SESSIONS),
            ("limit rate", self.limit_rate, 0.01, 1_000_000),
            ("max", self.most, 1, 1_000_000_000),
            ("part rows", self.part_rows, 1, 1_000_000),
            ("close after", self.close_after_s, 0.1, 3600),
            ("patience", self.patience_s, 0.1, 3600),
        ):
            if value is not None and not least <= value <= most:
                raise InputError(f"{name}: found {value}, expected {least} to {most}")
        if self.renew_before is not None and self.renew_before.utcoffset() is None:
            raise InputError("renew before: found a time without a UTC offset, expected one")


@dataclass(frozen=True, slots=True)
class SignPlan:
    """What is about to be signed; shown before the first signature."""

    new: int
    renewals: int
    key: str
    """The key and its token in words."""
    dsc: Certificate
    last_day: datetime
    """The last moment at which this DSC can sign credentials of this validity."""
    profile: Mapping[str, Any]
    profile_hash: str
    changes: tuple[str, ...]
    """What is different from the last run's profile; empty for the first run."""
    first: bool
    workers: int
    sessions: int

    @property
    def records(self) -> int:
        """How many records will be signed."""
        return self.new + self.renewals


@dataclass(frozen=True, slots=True)
class SignJob:
    """Everything that a run needs and that was checked."""

    layout: Layout
    settings: Settings
    ledger: Ledger
    state: State
    options: SignOptions
    dsc: Certificate
    key: str
    work: Work
    profile: dict[str, Any]
    clock: Callable[[], float]


def plan_job(  # noqa: PLR0913, PLR0917 (what a job is made of)
    layout: Layout,
    settings: Settings,
    ledger: Ledger,
    state: State,
    options: SignOptions,
    clock: Callable[[], float],
) -> SignJob:
    if settings.key is None or settings.dsc is None:
        raise CampaignError(
            f"{settings.path}: found no section [key], expected uri and dsc: who signs"
        )
    dsc = read_certificate(settings.dsc)
    profile = profile_of(settings, dsc)
    name = profile_hash(profile)
    # A campaign where all is done, or nothing was asked, need not read a table.
    superseded = superseded_rows(state, lambda part, columns: _read(layout, state, part, columns))
    selections = plan_new(state, superseded, name)
    if options.renew_before is not None:
        before_s = int(options.renew_before.timestamp())
        renewals = plan_renewals(state, superseded, name, before_s)
        if renewals and int(clock()) + settings.validity.total_seconds() < before_s:
            raise InputError(
                f"renew before: found {options.renew_before:%Y-%m-%d}, which is after the day on "
                "which credentials signed now would expire: choose an earlier day, or a longer "
                "validity"
            )
        selections += renewals
    if options.most is not None:
        selections = list(_first(selections, options.most))
    work = Work(selections)
    return SignJob(
        layout, settings, ledger, state, options, dsc, settings.key, work, profile, clock
    )


def _first(selections: list[Selection], most: int) -> Iterator[Selection]:
    for selection in selections:
        if most <= 0:
            return
        kept, _ = split_ranges(selection.ranges, most)
        yield Selection(selection.clean, selection.generation, kept)
        most -= selection.rows


def _read(layout: Layout, state: State, name: str, columns: list[str]) -> Any:
    table = CommittedTable(layout.of(name), state.clean[name].sha256)
    return table.read_all(columns)


def check_clock(clock: Callable[[], float], state: State) -> None:
    now = int(clock())
    if now < state.last_issued_at:
        raise CampaignError(clock_error(now, state.last_issued_at))


@dataclass(frozen=True, slots=True)
class OpenedToken:
    """What is known of the key's token after it was opened once."""

    key: str
    uri: str
    """What workers open: this very token's key, whatever is plugged in meanwhile."""
    serial: str | None
    removable: bool


def prove_key(job: SignJob, secret: Hidden | None) -> OpenedToken:
    """Open the key once, and prove by one test signature that it is the DSC's."""
    settings = job.settings
    options = job.options
    with open_signer(
        job.key, secret, final_try=options.final_try, patience_s=options.patience_s
    ) as signer:
        if getattr(signer, "always_authenticates", False):
            raise TokenError(
                f"{getattr(signer, 'name', 'the key')} wants its PIN for each signature "
                "(CKA_ALWAYS_AUTHENTICATE), so no batch can be signed with it: make a key without "
                "it (vaxpass-sign token new-key), or sign one by one (vaxpass-sign issue)"
            )
        Issuer(
            signer,
            job.dsc,
            settings.country,
            settings.name,
            settings.validity,
            max_qr_version=settings.max_qr_version,
            clock=job.clock,
        )
        token = getattr(signer, "token", None)
        name = getattr(signer, "name", "a key")
    if token is None:
        return OpenedToken(name, job.key, None, removable=False)
    uri = str(pinned(Pkcs11Uri.parse(job.key), token))
    return OpenedToken(name, uri, token.serial, removable="removable" in token.flags)


def plan_shown(job: SignJob, token: OpenedToken) -> SignPlan:
    last = job.state.starts[-1]["profile"] if job.state.starts else None
    generations = {selection.generation: 0 for selection in job.work}
    for selection in job.work:
        generations[selection.generation] += selection.rows
    new = generations.pop(0, 0)
    return SignPlan(
        new=new,
        renewals=sum(generations.values()),
        key=token.key,
        dsc=job.dsc,
        last_day=last_day(job.dsc, job.settings.validity),
        profile=job.profile,
        profile_hash=profile_hash(job.profile),
        changes=tuple(changes(last, job.profile)) if last is not None else (),
        first=last is None,
        workers=_workers(job.options, token),
        sessions=job.options.sessions,
    )


def _workers(options: SignOptions, token: OpenedToken) -> int:
    if options.workers is not None:
        return options.workers
    return 1 if token.removable else min(len(os.sched_getaffinity(0)), MAX_WORKERS)
