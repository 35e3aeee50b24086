"""``demo``: the whole way on a SoftHSM token made on the spot."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from vaxpass_sign.cli.output import plain, print_line, tell
from vaxpass_sign.demo import DemoReport, Progress, run_demo

__all__ = ["command"]

_TITLES = {
    "token": "making a token",
    "clean": "cleaning",
    "sign": "signing",
    "verify": "verifying",
}


def command(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A new folder; all stays inside it.", show_default=False
        ),
    ],
    people: Annotated[int, typer.Option(min=1, max=1_000_000, help="Rows of the table.")] = 10_000,
) -> None:
    """Sign a made-up dose table on a new SoftHSM token.

    Makes the token, a CSCA and a DSC, a table of people and a campaign; cleans and signs the table,
    audits every credential, writes a page with the progress and three QR pictures.
    """
    with _progress() as progress:
        report = run_demo(directory, people, progress)
    for line in _summary(report):
        print_line(line)


@contextmanager
def _progress() -> Iterator[Progress]:
    """Bars on a terminal; elsewhere one line on stderr as each step begins."""
    if sys.stderr is None or not sys.stderr.isatty():
        told = set()

        def begun(step: str, done: int, total: int) -> None:
            if step not in told:
                told.add(step)
                tell(f"{_TITLES[step]} …")

        yield begun
        return

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description:16}"), BarColumn(), MofNCompleteColumn())
    # A bar goes when all is done: the summary says the same.
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks = {step: bars.add_task(title, total=None) for step, title in _TITLES.items()}
        yield lambda step, done, total: bars.update(tasks[step], completed=done, total=total)


def _summary(report: DemoReport) -> Iterator[str]:
    cleaned, signed, audit, dsc = report.cleaned, report.signed, report.audit, report.dsc
    yield typer.style("Signed on the token, and verified.", fg="green", bold=True)
    for label, path, words in (
        ("dose table", report.doses, f"{cleaned.rows:,} people, all made up"),
        ("campaign", report.campaign, f"{cleaned.people:,} clean, {cleaned.rejected:,} rejected"),
        ("signed", report.credentials, f"{signed.signed:,} {_rate(signed.signed, signed.seconds)}"),
        ("verified", None, f"each of them valid, {_rate(audit.verified, audit.seconds)}"),
        ("audit", report.audit_page, "nothing was found"),
        ("report", report.report_page, "by province and facility"),
        ("QR pictures", report.pictures[0].parent, f"{len(report.pictures)}, ready for print"),
        ("DSC", report.dsc_file, f"kid {dsc.kid.hex()}, until {dsc.not_after:%Y-%m-%d}"),
        ("CSCA", report.csca_file, "issued the DSC"),
        ("token", report.token, "SoftHSM's, with its PIN"),
    ):
        yield f"  {label:13}{'' if path is None else _shown(path):20}  {words}"
    yield ""
    yield "Check one as a border guard would:"
    yield _command_line(
        "verify",
        *("--trust", _shown(report.dsc_file.parent)),
        *("--anchor", _shown(report.csca_file)),
        _shown(report.pictures[0]),
    )
    yield "Audit all as an inspector would, and see how far the campaign is:"
    yield _command_line("audit", _shown(report.campaign))
    yield _command_line("report", _shown(report.campaign))
    yield ""
    yield typer.style("For demonstration only.", fg="yellow", bold=True)
    yield "The keys of the CSCA and of the DSC are on one token, its PIN in a file there."
    yield "In production the CSCA's key is on a token of its own, offline, and no PIN is in"
    yield "a file."


def _rate(count: int, seconds: float) -> str:
    return f"in {seconds:.1f} s ({count / seconds:,.0f}/s)"


def _command_line(*arguments: str) -> str:
    """A command as the user would type it here."""
    return "  " + shlex.join([*_program(), *arguments])


def _program() -> list[str]:
    """How this program was called, as the user would type it here."""
    name = Path(sys.argv[0]).name
    if name == "vaxpass-sign":
        return [_command(name, Path(sys.argv[0]))]
    python = Path(sys.executable)
    return [_command(python.name, python), "-m", "vaxpass_sign"]


def _command(name: str, path: Path) -> str:
    """The bare name where the shell would find this very file by it, else its path."""
    for short in (name, "python", "python3"):
        found = shutil.which(short)
        # Not resolved: a virtual environment's python is a link to the system's.
        if found is not None and Path(found).absolute() == path.absolute():
            return short
    return _shown(path.absolute())


def _shown(path: Path) -> str:
    """The path from here when it lies below, else as it is."""
    here = Path.cwd()
    return plain(str(path.relative_to(here) if path.is_relative_to(here) else path))
