"""What clean, sign and audit show on stderr while they work: a bar, or plain lines without a
terminal.

>>> clock_text(3725), clock_text(59.4), clock_text(None)
('1:02:05', '0:59', '?')
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vaxpass_sign.campaign.signing.coordinator import SignProgress
from vaxpass_sign.cli.output import tell

__all__ = ["clock_text", "counting", "signing"]

_LINE_EVERY_S = 5.0


def clock_text(seconds: float | None) -> str:
    """Seconds as h:mm:ss or m:ss."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _at_a_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def signing() -> Iterator[Callable[[SignProgress], None]]:
    """Shows how far signing is: records a second, done, left, time left, refused."""
    if not _at_a_terminal():
        with _lines() as line:
            yield lambda p: line(lambda: _in_words(p))
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (BarColumn(), TextColumn("{task.fields[words]}"))
    bars = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bars.add_task("", total=None, words="")

    def show(p: SignProgress) -> None:
        # Begun only now: a bar would draw over the question and the prompt for the PIN.
        bars.start()
        total = p.done + p.refused + p.left
        words = _in_words(p) if p.done else "opening the key …"
        bars.update(task, completed=p.done, total=total, words=words)

    try:
        yield show
    finally:
        bars.stop()


def _in_words(p: SignProgress) -> str:
    left = f"{p.left:,} left"
    if p.left:
        left += f", {clock_text(p.seconds_left)}"
    refused = f", {p.refused:,} refused" if p.refused else ""
    return f"{p.done:,} signed, {p.per_second:,.0f}/s, {left}{refused}"


@contextmanager
def counting(unit: str) -> Iterator[Callable[[str, int, int], None]]:
    """Shows how far a stage is: called with its name, what is done and what there is."""
    if not _at_a_terminal():
        with _lines() as line:
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
def _lines() -> Iterator[Callable[[Callable[[], str]], None]]:
    """Tells a line now and then, and the last one at the end."""
    last, waiting = time.monotonic(), None

    def line(words: Callable[[], str]) -> None:
        nonlocal last, waiting
        waiting = words
        if time.monotonic() - last >= _LINE_EVERY_S:
            tell(words())
            last, waiting = time.monotonic(), None

    yield line
    if waiting is not None:
        tell(waiting())
