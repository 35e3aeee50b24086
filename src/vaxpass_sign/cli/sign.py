"""``sign``: sign what a campaign has to sign."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import date, datetime
from datetime import time as midnight
from pathlib import Path
from typing import Annotated

import typer

from vaxpass_sign.campaign.campaign import Campaign
from vaxpass_sign.campaign.settings import read_settings
from vaxpass_sign.campaign.signing.run import SignPlan
from vaxpass_sign.cli.output import print_line, show_line, tell
from vaxpass_sign.cli.pins import ForceFinalTry, PinEnv, pin_source
from vaxpass_sign.cli.sign_progress import signing
from vaxpass_sign.errors import InputError, VaxpassError

__all__ = ["command"]


def command(
    campaign: Annotated[
        Path,
        typer.Argument(metavar="CAMPAIGN", help="The campaign's directory.", show_default=False),
    ],
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Processes that sign. Left out: one for each core, one for a removable token.",
            show_default=False,
        ),
    ] = None,
    sessions: Annotated[
        int, typer.Option(metavar="M", help="Sessions of each process on the token.")
    ] = 1,
    limit_rate: Annotated[
        float | None,
        typer.Option(
            metavar="R",
            help="At most so many signatures a second, for an HSM that others share.",
            show_default=False,
        ),
    ] = None,
    most: Annotated[
        int | None,
        typer.Option(
            "--max", metavar="N", help="At most so many records in this run.", show_default=False
        ),
    ] = None,
    renew_before: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="Also sign again what expires before this day (YYYY-MM-DD).",
            show_default=False,
        ),
    ] = None,
    pin_env: PinEnv = None,
    force_final_try: ForceFinalTry = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before the first signature.")
    ] = False,
) -> int:
    """Sign every clean row that has no credential yet.

    Shows what will be signed with which key and asks. It can be stopped at any time: the same
    command goes on.

    Exit codes: 0 all is signed, 2 it was stopped or could not go on.
    """
    settings = read_settings(campaign / "campaign.toml")
    before = None
    if renew_before is not None:
        before = datetime.combine(_day(renew_before), midnight(), settings.time_zone)
    try:
        with signing() as progress:
            report = Campaign(campaign).sign(
                workers=workers,
                sessions=sessions,
                limit_rate=limit_rate,
                most=most,
                renew_before=before,
                pin=pin_source(settings.key, pin_env) if settings.key else None,
                final_try=force_final_try,
                confirm=lambda plan: _confirm(plan, yes),
                progress=progress,
            )
    except VaxpassError as error:
        tell(error)
        tell("what was committed stands; the same command goes on from there")
        return 2
    if not report.planned:
        print_line("nothing to sign")
    else:
        rate = report.signed / report.seconds if report.seconds else 0
        refused = f", {report.refused:,} refused" if report.refused else ""
        print_line(
            f"{report.signed:,} signed in {report.seconds:.1f} s ({rate:,.0f}/s){refused}, "
            f"{report.left:,} left"
        )
    print_line(f"head {report.head}")
    if report.stopped and report.left:
        tell("stopped; what was committed stands, and the same command goes on from there")
        return 2
    return 0


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"--renew-before: found {text[:40]!r}, expected a day: YYYY-MM-DD"
        ) from None


def _confirm(plan: SignPlan, yes: bool) -> bool:
    for line in _lines(plan):
        show_line(line)
    if yes:
        return True
    if sys.stdin is None or not sys.stdin.isatty():
        raise InputError("nothing was signed: there is no terminal to ask at; --yes answers")
    return typer.confirm(f"vaxpass-sign: sign {plan.records:,} records now?", err=True)


def _lines(plan: SignPlan) -> Iterator[str]:
    renewals = f", {plan.renewals:,} renewals" if plan.renewals else ""
    yield f"to sign   {plan.new:,} new{renewals}"
    yield f"with      {plan.key}"
    yield f"DSC       {plan.dsc.subject}, kid {plan.dsc.kid.hex()}"
    yield f"          can sign until {plan.last_day:%Y-%m-%d %H:%MZ}"
    profile = plan.profile
    yield (
        f"profile   {profile['alg']}, {profile['country']}, {profile['name']}, "
        f"{profile['validity_s'] / 86_400:g} days ({plan.profile_hash[:16]})"
    )
    for number, change in enumerate(plan.changes):
        yield f"{'changed' if not number else '':9} {change}"
    if not plan.changes:
        yield f"changed   {'first run' if plan.first else 'nothing since the last run'}"
    sessions = f" x {plan.sessions} sessions" if plan.sessions > 1 else ""
    yield f"workers   {plan.workers}{sessions}"
