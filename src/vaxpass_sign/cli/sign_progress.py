"""What sign shows on stderr while it works: a bar, or plain lines without a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vaxpass_sign.campaign.signing.coordinator import SignProgress
from vaxpass_sign.cli.progress import at_a_terminal, clock_text, lines

__all__ = ["signing"]


@contextmanager
def signing() -> Iterator[Callable[[SignProgress], None]]:
    """Shows how far signing is: records a second, done, left, time left, refused."""
    if not at_a_terminal():
        with lines() as line:
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
