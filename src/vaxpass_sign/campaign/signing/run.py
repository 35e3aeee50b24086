"""One ``sign`` from its beginning to its end: the lock, recovery, the plan, the run, how it ended.

Everything that can be wrong is found before the first credential is signed, and before a worker
starts (:mod:`vaxpass_sign.campaign.signing.job`). The ledger has a row for the beginning of each
run and one for its end.
"""

from __future__ import annotations

import shutil
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaxpass_sign.campaign.commit import make_run_folder, recover
from vaxpass_sign.campaign.layout import Layout
from vaxpass_sign.campaign.ledger import Ledger
from vaxpass_sign.campaign.run_facts import who
from vaxpass_sign.campaign.settings import read_settings
from vaxpass_sign.campaign.signing.coordinator import Signing, SignProgress
from vaxpass_sign.campaign.signing.interrupt import stop_on_signals
from vaxpass_sign.campaign.signing.job import (
    OpenedToken,
    SignJob,
    SignOptions,
    SignPlan,
    check_clock,
    plan_job,
    plan_shown,
    prove_key,
)
from vaxpass_sign.campaign.signing.signals import Signals
from vaxpass_sign.campaign.signing.worker import WorkerSettings, start_worker
from vaxpass_sign.campaign.state import State
from vaxpass_sign.errors import VaxpassError
from vaxpass_sign.keys.pin import AskedOnce, hidden, pin_source_of
from vaxpass_sign.workers import Pool, refuse_in_a_starting_worker, spawn_worker

__all__ = ["SignOptions", "SignPlan", "SignReport", "sign_campaign"]


@dataclass(frozen=True, slots=True)
class SignReport:
    """How a run ended. ``planned`` = ``signed`` + ``refused`` + ``left``; ``left`` is still to do.

    ``head``: the ledger's, 64 hexadecimal digits; note it down outside the campaign.
    """

    planned: int
    signed: int
    refused: int
    left: int
    seconds: float
    stopped: bool
    head: str


def sign_campaign(  # noqa: PLR0913 (each is a part of one job)
    layout: Layout,
    options: SignOptions,
    *,
    pin: str | Callable[[], str] | None = None,
    confirm: Callable[[SignPlan], bool] | None = None,
    progress: Callable[[SignProgress], None] | None = None,
    clock: Callable[[], float] = time.time,
) -> SignReport:
    """Sign what was never signed, and renew what was asked for.

    Args:
        confirm: shown the plan before the first signature; False ends the run, nothing signed.
        progress: called about four times a second.

    Raises: InputError, CampaignError, LedgerError, CertificateError, PinError, TokenError. Whatever
        was committed before an error stands, and the same call goes on from there.
    """
    refuse_in_a_starting_worker()
    options.check()
    secret = hidden(pin)
    del pin
    settings = read_settings(layout.settings)
    with layout.locked(alone=True), Ledger.open(layout.ledger) as ledger:
        layout.make()  # a backup may have left out a folder that was empty
        state = State.of(ledger.rows)
        recover(layout, ledger, state.purged)
        check_clock(clock, state)
        job = plan_job(layout, settings, ledger, state, options, clock)
        if not job.work.rows:
            return SignReport(0, 0, 0, 0, 0.0, False, ledger.head.hex())
        # The PIN is asked for once; what was typed is kept for the workers.
        asked = AskedOnce(secret or pin_source_of(job.key))
        token = prove_key(job, asked.hidden)
        plan = plan_shown(job, token)
        if confirm is not None and not confirm(plan):
            rows = job.work.rows
            return SignReport(rows, 0, 0, rows, 0.0, True, ledger.head.hex())
        return _run(job, plan, token, asked, progress)


def _run(
    job: SignJob,
    plan: SignPlan,
    token: OpenedToken,
    asked: AskedOnce,
    progress: Callable[[SignProgress], None] | None,
) -> SignReport:
    began = time.monotonic()
    job.ledger.append("start", _start_row(job, plan, token))
    run_folder = make_run_folder(job.layout)
    signals = Signals.create(run_folder / "signals", plan.workers)

    def launch(number: int) -> Any:
        return spawn_worker(
            start_worker, _worker(job, plan, token, run_folder, number), asked.answered
        )

    with closing(signals), Pool(plan.workers, launch) as workers:
        signing = Signing(
            layout=job.layout,
            ledger=job.ledger,
            state=job.state,
            work=job.work,
            profile=plan.profile_hash,
            workers=workers,
            signals=signals,
            run_folder=run_folder,
            removable=token.removable,
            clock=job.clock,
            part_rows=job.options.part_rows,
            close_after_s=job.options.close_after_s,
            progress=progress,
        )
        with stop_on_signals(signing.stop), _ended(job, signing):
            signing.run()
    shutil.rmtree(run_folder, ignore_errors=True)
    return SignReport(
        planned=plan.records,
        signed=signing.signed,
        refused=signing.refused,
        left=plan.records - signing.signed - signing.refused,
        seconds=time.monotonic() - began,
        stopped=signing.stopping,
        head=job.ledger.head.hex(),
    )


@contextmanager
def _ended(job: SignJob, signing: Signing) -> Iterator[None]:
    """Write how the run ended, when it can still be written."""
    why = "done"
    try:
        yield
        why = "stopped" if signing.stopping else "done"
    except BaseException as error:
        why = type(error).__name__
        with suppress(VaxpassError):  # the first error says more
            job.ledger.append("end", _end_row(job, signing, why))
        raise
    job.ledger.append("end", _end_row(job, signing, why))


def _end_row(job: SignJob, signing: Signing, why: str) -> dict[str, Any]:
    return {
        "command": "sign",
        "at": int(job.clock()),
        "why": why,
        "signed": signing.signed,
        "refused": signing.refused,
    }


def _start_row(job: SignJob, plan: SignPlan, token: OpenedToken) -> dict[str, Any]:
    return {
        "command": "sign",
        "at": int(job.clock()),
        **who(),
        "key": token.key,
        "key_serial": token.serial,
        "dsc": b64encode(job.dsc.der).decode(),
        "profile": dict(plan.profile),
        "profile_hash": plan.profile_hash,
        "new": plan.new,
        "renewals": plan.renewals,
        "workers": plan.workers,
        "sessions": plan.sessions,
    }


def _worker(
    job: SignJob, plan: SignPlan, token: OpenedToken, run_folder: Path, number: int
) -> WorkerSettings:
    rate = job.options.limit_rate
    return WorkerSettings(
        key=token.uri,
        dsc=job.dsc.der,
        country=job.settings.country,
        name=job.settings.name,
        validity=job.settings.validity,
        max_qr_version=job.settings.max_qr_version,
        sessions=plan.sessions,
        patience_s=job.options.patience_s,
        run_folder=run_folder,
        number=number,
        per_second=None if rate is None else rate / plan.workers,
    )
