"""What ``verify`` does with its inputs: show each Verdict, or write a table of them.

Single payloads are verified here, one by one, as they come; files of many on all cores.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from vaxpass_sign.check.asked import Asked
from vaxpass_sign.check.many import BatchVerifier
from vaxpass_sign.check.payload_files import ColumnBlock, PayloadBlock
from vaxpass_sign.check.verdict import Verdict
from vaxpass_sign.cli.inputs import Input, Payload, PayloadFile, Unread
from vaxpass_sign.cli.output import json_line, print_line, tell
from vaxpass_sign.cli.show import verdict_lines, verdict_object
from vaxpass_sign.errors import InputError, VaxpassError

__all__ = ["show_verdicts", "write_table"]

_NOTHING = "found no payload, expected one a line"


def show_verdicts(inputs: Iterable[Input], asked: Asked, language: str, *, as_json: bool) -> int:
    """Print the Verdict of each payload, in order; the exit code."""
    shown = _Shown(language, as_json)
    for item in inputs:
        if isinstance(item, Unread):
            shown.unread(item)
        elif isinstance(item, Payload):
            verdict = asked.verify(item.text)
            shown.add([_said(verdict, item, language, as_json)], verdict.valid, 1)
        else:
            _show_file(item, asked, shown)
    shown.sum_up()
    return shown.code


class _Shown:
    """What has been printed so far."""

    def __init__(self, language: str, as_json: bool) -> None:
        self.language, self.as_json = language, as_json
        self.valid = self.total = self.undecided = 0

    def add(self, texts: list[str], valid: int, total: int) -> None:
        # For a person there is an empty line between two Verdicts.
        if texts and self.total and not self.as_json:
            print_line()
        if texts:
            print_line(("\n" if self.as_json else "\n\n").join(texts))
        self.valid, self.total = self.valid + valid, self.total + total

    def unread(self, item: Unread) -> None:
        self.undecided += 1
        tell(item.error)
        if self.as_json:
            unread = {"input": item.source, "line": None, "valid": None}
            print_line(json_line(unread | {"error": str(item.error)}))

    def sum_up(self) -> None:
        if self.total + self.undecided > 1 and not self.as_json:
            invalid = self.total - self.valid
            tell(f"{self.valid} valid, {invalid} not valid, {self.undecided} could not be read")

    @property
    def code(self) -> int:
        return 1 if self.valid < self.total else 2 if self.undecided else 0


def _said(verdict: Verdict, item: Payload, language: str, as_json: bool) -> str:
    if as_json:
        return json_line(
            {"input": item.source, "line": item.line} | verdict_object(verdict, language)
        )
    return "\n".join(verdict_lines(verdict, item.place, language))


def _show_file(file: PayloadFile, asked: Asked, shown: _Shown) -> None:
    from vaxpass_sign.check.parallel import verify_blocks

    work = partial(_said_of_block, shown.language, shown.as_json)
    before, at_terminal = shown.total, sys.stdout is not None and sys.stdout.isatty()
    try:
        with _progress(0 if at_terminal else file.total) as show:
            for texts, valid in verify_blocks(asked, file.blocks, work):
                shown.add(texts, valid, len(texts))
                show(shown.total - before, file.total)
        if shown.total == before:
            raise InputError(f"{file.source}: {_NOTHING}")
    except VaxpassError as error:
        shown.unread(Unread(file.source, error))


def _said_of_block(
    language: str, as_json: bool, verifier: BatchVerifier, block: PayloadBlock
) -> tuple[list[str], int]:
    """What is printed of each payload, and how many are valid."""
    numbers, texts = block.rows()
    verdicts = verifier.verify(texts)
    said = [
        _said(verdict, Payload(text, block.source, number), language, as_json)
        for verdict, text, number in zip(verdicts, texts, numbers, strict=True)
    ]
    return said, sum(map(bool, verdicts))


def write_table(out: Path, asked: Asked, inputs: Iterable[Input]) -> int:
    """Write a verdict a row of all payloads; the exit code.

    An input that can't be read is told and left out; a file that can't be read to its end ends it.
    """
    from vaxpass_sign.check.verdict_table import write_verdicts

    undecided = total = 0

    def blocks() -> Iterator[PayloadBlock]:
        nonlocal undecided, total
        for item in inputs:
            if isinstance(item, Unread):
                undecided += 1
                tell(item.error)
            elif isinstance(item, Payload):
                total += 1
                # As a column's value it is one row, whatever characters an argument or code holds.
                yield ColumnBlock(item.source, item.line or 1, [item.text])
            else:
                total += item.total
                found_any = False
                for block in item.blocks:
                    found_any = found_any or not block.is_empty
                    yield block
                if not found_any:
                    undecided += 1
                    tell(f"{item.source}: {_NOTHING}")

    with _progress(None) as show:
        counts = write_verdicts(
            out, asked, blocks(), progress=lambda counts: show(counts.total, total)
        )
    said = f"{counts.valid:,} valid, {counts.invalid:,} not valid, {undecided} could not be read"
    tell(f"{out}: {said}")
    return 1 if counts.invalid else 2 if undecided else 0


@contextmanager
def _progress(total: int | None) -> Iterator[Callable[[int, int], None]]:
    """Shows how far it is; nothing for a ``total`` of 0."""
    if total == 0:
        yield lambda done, of: None
        return
    from vaxpass_sign.cli.progress import counting

    with counting("payloads", last=False) as show:
        yield lambda done, of: show("verified", done, of)
