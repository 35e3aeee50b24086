"""``demo``: the whole way on a SoftHSM token made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vaxpass_sign.demo import DemoReport

__all__ = ["command"]

_TITLES = {"token": "making a token", "sign": "signing", "verify": "verifying"}


def command(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A new folder; all stays inside it.", show_default=False
        ),
    ],
    people: Annotated[int, typer.Option(min=1, max=1_000_000, help="Rows of the table.")] = 10_000,
) -> None:
    """Make a token, sign a dose table on it, verify every credential, write QR pictures."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from vaxpass_sign.demo import run_demo

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description:16}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as bars:
        tasks = {}

        def progress(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(_TITLES[step], total=total)
            bars.update(tasks[step], completed=done)

        report = run_demo(directory, people, progress)
    for line in _summary(report):
        typer.echo(line)


def _summary(report: DemoReport) -> list[str]:
    table = report.table
    rate = table.rows / table.seconds
    verify_rate = report.verified / report.verify_seconds
    here = _short(report.directory)
    python = "python -m vaxpass_sign"
    return [
        "",
        typer.style("Signed and verified.", fg="green", bold=True),
        f"  rows      {table.rows:>9,}   in {here / 'doses.csv'}",
        f"  signed    {table.signed:>9,}   in {table.seconds:.1f} s ({rate:,.0f} a second) "
        f"→ {here / 'signed.parquet'}",
        f"  rejected  {table.rejected:>9,}   → {here / 'rejected.csv'}",
        f"  verified  {report.verified:>9,}   in {report.verify_seconds:.1f} s "
        f"({verify_rate:,.0f} a second), every one valid",
        f"  pictures  {', '.join(str(_short(path)) for path in report.pictures)}",
        f"  DSC       {_short(report.trust) / 'dsc.pem'}, kid {report.dsc.kid.hex()}, "
        f"until {report.dsc.not_after:%Y-%m-%d}",
        "",
        "Check one as a border guard would:",
        f"  {python} verify --trust {_short(report.trust)} {_short(report.pictures[0])}",
        "",
        typer.style("For demonstration only.", fg="yellow", bold=True)
        + " The CSCA's and the DSC's key are on one token, with the PIN in a file beside it;",
        "in production the CSCA's key is on another token, offline, and a PIN is never in a file.",
    ]


def _short(path: Path) -> Path:
    """The path from here when it lies below, else as it is."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
