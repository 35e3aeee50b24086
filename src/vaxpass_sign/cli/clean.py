"""``clean``: dose tables in, clean rows and rejects out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaxpass_sign.campaign.campaign import Campaign
from vaxpass_sign.cli.output import print_line, tell
from vaxpass_sign.cli.progress import counting

__all__ = ["command"]


def command(
    campaign: Annotated[
        Path,
        typer.Argument(
            metavar="CAMPAIGN", help="A directory with a campaign.toml.", show_default=False
        ),
    ],
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT", help="Dose tables: .csv, .jsonl or .parquet.", show_default=False
        ),
    ],
) -> None:
    """Check dose tables and merge each person's doses.

    What is clean is added to the campaign. Rejected rows go to rejected/ with their reasons. A
    table that was cleaned before is passed over.
    """
    with counting("rows") as progress:
        report = Campaign(campaign).clean(inputs, progress=progress)
    if report.known:
        tell(f"{report.known} of {report.tables} tables were cleaned before and are passed over")
    print_line(f"{report.rows:,} rows: {report.clean:,} clean, {report.rejected:,} rejected, "
               f"{report.repeated:,} repeated")  # fmt: skip
    newer = f", {report.superseding:,} of them with a newer dose" if report.superseding else ""
    print_line(f"{report.people:,} people to sign{newer}; in {report.seconds:.1f} s")
    print_line(f"secret {report.secret}")
    print_line(f"head   {report.head}")
