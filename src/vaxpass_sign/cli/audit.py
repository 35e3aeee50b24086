"""``audit``: verify every signed credential and reconcile the counts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaxpass_sign.campaign.audit.outcome import audit_lines, write_audit
from vaxpass_sign.campaign.campaign import Campaign
from vaxpass_sign.cli.output import plain, print_line, tell
from vaxpass_sign.cli.progress import counting

__all__ = ["command"]


def command(
    campaign: Annotated[
        Path,
        typer.Argument(metavar="CAMPAIGN", help="The campaign's directory.", show_default=False),
    ],
    head: Annotated[
        str | None,
        typer.Option(
            metavar="HASH",
            help="A ledger head that an earlier run printed: it must still be in the ledger.",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Verify every credential, file and count of a campaign.

    Writes reports/audit.json and reports/audit.html.

    Exit codes: 0 nothing was found, 1 something was, 2 the audit could not be done.
    """
    job = Campaign(campaign)
    with counting("credentials") as progress:
        report = job.audit(head=head, progress=lambda done, total: progress("audit", done, total))
    for line in audit_lines(report):
        print_line(plain(line))
    for path in write_audit(job.layout, report):
        tell(f"wrote {path}")
    return 0 if report.clean else 1
