"""A campaign's progress as tables in the terminal: by province, by facility, and why rows wait.

Facilities are shown when they are few, else those with the most waiting. Ids and reasons come from
tables that anybody may have written: nothing of them reaches the terminal raw.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from vaxpass_sign.campaign.report.progress import Counts, FacilityProgress, Progress, percent
from vaxpass_sign.cli.output import plain, print_line

__all__ = ["print_progress", "progress_lines"]

_FEW: Final = 20
_MOST_REASONS: Final = 10
_ID_LENGTH: Final = 24
_PIPED_WIDTH: Final = 100
_LEAST_WIDTH: Final = 80  # a narrower terminal breaks the lines; no figure is cut
_FIGURES: Final = ("clean", "signed", "waiting", "refused", "superseded", "done", "rejected")


def print_progress(progress: Progress) -> None:
    """Print the tables on stdout, as wide as the terminal.

    Raises: OutputClosed when nobody reads any more; InputError when it can't be written.
    """
    for line in progress_lines(progress, width=_width()):
        print_line(line)


def progress_lines(progress: Progress, *, width: int) -> Iterator[str]:
    """The lines of the tables; ASCII but for what ids, names and reasons hold."""
    total = progress.total
    yield f"{plain(progress.campaign, 60)}, {plain(progress.issuer, 80)}"
    yield (
        f"input rows {progress.input_rows:,} = {progress.merged:,} merged + {total.rejected:,} "
        f"rejected + {progress.repeated:,} repeated"
    )
    if progress.last_issued_at and progress.expires_first:
        yield (
            f"last signed {progress.last_issued_at:%Y-%m-%d %H:%MZ}, first expires "
            f"{progress.expires_first:%Y-%m-%d %H:%MZ}, renewals {progress.renewals:,}"
        )
    yield ""
    rows = [(province.province_code, province) for province in progress.by_province()]
    yield from _table("province", [*rows, ("all", total)], width)
    facilities = _shown(progress.facilities)
    if facilities:
        yield ""
        if len(facilities) < len(progress.facilities):
            count = len(progress.facilities)
            yield f"the {len(facilities)} of {count:,} facilities with most waiting"
        names = [(f"{f.province_code} {f.facility_id}".strip(), f) for f in facilities]
        yield from _table("facility", names, width)
    reasons = progress.top_reasons()
    if reasons:
        yield ""
        yield "rejected because"
        for reason, count in reasons[:_MOST_REASONS]:
            yield f"{count:>11,}  {plain(reason, max(width - 13, 20))}"
        if len(reasons) > _MOST_REASONS:
            others = sum(count for _, count in reasons[_MOST_REASONS:])
            yield f"{others:>11,}  {len(reasons) - _MOST_REASONS:,} other reasons"
    yield ""
    yield f"head {progress.head}"


def _shown(facilities: Sequence[FacilityProgress]) -> list[FacilityProgress]:
    if len(facilities) <= _FEW:
        return list(facilities)
    return sorted(facilities, key=lambda f: (-f.waiting, f.province_code, f.facility_id))[:_FEW]


def _table(title: str, rows: Iterable[tuple[str, Counts]], width: int) -> Iterator[str]:
    """A table with one line for each row; rich knows how wide a letter is."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(title, no_wrap=True, overflow="ellipsis", max_width=_ID_LENGTH)
    for name in _FIGURES:
        table.add_column(name, justify="right", no_wrap=True)
    for name, counts in rows:
        figures = (
            counts.rows_clean,
            counts.signed,
            counts.waiting,
            counts.refused,
            counts.superseded,
        )
        cells: list[Any] = [f"{figure:,}" for figure in figures]
        cells += [percent(counts.share_done), f"{counts.rejected:,}"]
        table.add_row(_text(name), *cells)
    console = Console(
        width=max(width, _LEAST_WIDTH), color_system=None, highlight=False, markup=False
    )
    with console.capture() as captured:
        console.print(table)
    yield from (line.rstrip() for line in captured.get().splitlines())


def _text(name: str) -> Any:
    """An id as it may be shown; rich would take [brackets] for markup."""
    from rich.text import Text

    return Text(plain(name, _ID_LENGTH) or "(none)")


def _width() -> int:
    if sys.stdout is None or not sys.stdout.isatty():
        return _PIPED_WIDTH
    import shutil

    return shutil.get_terminal_size().columns
