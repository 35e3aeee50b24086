"""What a command shows on stderr while it works: a bar, or plain lines without a terminal.

>>> clock_text(3725), clock_text(59.4), clock_text(None)
('1:02:05', '0:59', '?')
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vaxpass_sign.cli.output import tell

__all__ = ["at_a_terminal", "clock_text", "counting", "lines"]

_LINE_EVERY_S = 5.0


def clock_text(seconds: float | None) -> str:
    """Seconds as h:mm:ss or m:ss."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def at_a_terminal() -> bool:
    """Whether a person sees stderr."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def counting(unit: str, *, last: bool = True) -> Iterator[Callable[[str, int, int], None]]:
    """Shows how far a stage is: called with its name, what is done and what there is.

    ``last``: whether, without a terminal, where it ended is a line too.
    """
    if not at_a_terminal():
        with lines(last=last) as line:
            yield lambda stage, done, total: line(lambda: _counted(stage, done, total, unit))
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description:8}"), BarColumn(), TextColumn("{task.fields[words]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=None, words="")
            words = f"{done:,} of {total:,}" if total else f"{done:,}"
            bars.update(tasks[stage], completed=done, total=total or None, words=words)

        yield show


def _counted(stage: str, done: int, total: int, unit: str) -> str:
    return f"{stage}: {done:,}{f' of {total:,}' if total else ''} {unit}"


@contextmanager
def lines(*, last: bool = True) -> Iterator[Callable[[Callable[[], str]], None]]:
    """Tells a line now and then, and where wanted the last one at the end."""
    told, waiting = time.monotonic(), None

    def line(words: Callable[[], str]) -> None:
        nonlocal told, waiting
        waiting = words
        if time.monotonic() - told >= _LINE_EVERY_S:
            tell(words())
            told, waiting = time.monotonic(), None

    yield line
    if last and waiting is not None:
        tell(waiting())
