"""``report``: how far a campaign is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaxpass_sign.campaign.campaign import Campaign
from vaxpass_sign.cli.output import tell
from vaxpass_sign.cli.progress_table import print_progress

__all__ = ["command"]


def command(
    campaign: Annotated[
        Path,
        typer.Argument(metavar="CAMPAIGN", help="The campaign's directory.", show_default=False),
    ],
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.html", help="Also write one page with charts.", show_default=False
        ),
    ] = None,
) -> None:
    """Show progress by province and facility."""
    progress = Campaign(campaign).report()
    # The page first: whoever reads the table by `head` shall have it too.
    if html is not None:
        from vaxpass_sign.campaign.pages.page import render_report
        from vaxpass_sign.durable import write_file

        write_file(html, render_report(progress).encode())
        tell(f"wrote {html}")
    print_progress(progress)
