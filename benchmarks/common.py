"""What every benchmark shares: alternate rounds, medians, the machine, the table and the JSON.

A ratio is the median of the ratios of rounds that ran one right after the other, so that what else
the machine does in the meantime strikes both sides alike. The first round warms up and counts
for nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median

__all__ = ["Report", "alternate", "arguments", "median_ratio", "parser"]


def arguments(docstring: str | None) -> argparse.Namespace:
    """The flags that every benchmark takes: ``quick`` and ``json``."""
    return parser(docstring).parse_args()


def parser(docstring: str | None) -> argparse.ArgumentParser:
    """A parser with those flags, for a benchmark that has more."""
    made = argparse.ArgumentParser(
        description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--quick", action="store_true", help="a first answer in under 30 s")
    made.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    return made


def alternate(rounds: int, sides: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Let the sides run in turn; each call measures one round and returns its figure.

    Every second round goes the other way about, so that neither side is always the first.
    """
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        names = list(sides) if number % 2 else list(reversed(sides))
        for name in names:
            figure = sides[name]()
            if number:
                figures[name].append(figure)
    return figures


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of ours / theirs, round by round."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def machine() -> str:
    """CPU model, cores that we may use, system and Python in one line."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*: *(.+)$", text, re.MULTILINE)
    cpu = found[1] if found else platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0))
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{cpu}, {cores} cores, {platform.system()} {platform.release()}, {python}"


@dataclass
class Report:
    """What a benchmark found: numbers by name, and lines for the reader."""

    benchmark: str
    packages: tuple[str, ...]
    """The distributions whose versions matter here."""
    figures: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def show(self, *, as_json: bool) -> None:
        """Print one JSON object, or the table; notes go to stderr beside the JSON."""
        if as_json:
            for note in self.notes:
                print(note, file=sys.stderr)
            names = {"benchmark": self.benchmark, "machine": machine()}
            print(json.dumps({**names, "figures": self.figures, "ratios": self.ratios}))
            return
        versions = ", ".join(f"{name} {version(name)}" for name in self.packages)
        print(f"{self.benchmark} on {machine()}\n{versions}\n")
        width = max(map(len, (*self.figures, *self.ratios)))
        for name, figure in self.figures.items():
            print(f"{name:<{width}}  {figure:>12,.{0 if figure >= 1000 else 2}f}")
        for name, ratio in self.ratios.items():
            print(f"{name:<{width}}  {ratio:>12.2f} ×")
        for note in self.notes:
            print(f"\n{note}")
