"""Time and memory against size: the same job, ten times as large.

For each size a dose table of made-up people is cleaned; then ``vaxpass-sign sign`` and
``vaxpass-sign audit`` run as an operator runs them: processes of their own on a SoftHSM token, with
two workers to sign and one for each core to audit. The small campaign is measured before, between
and after the steps of the large one, each time on a fresh copy, so that what else the machine does
strikes both.

``time_per_record_growth``: the time that signing and auditing take for a record of the large
campaign, over that of the small one (the median of its rounds). ``pss_mb_small``, ``pss_mb_large``:
the most memory that all processes of a step had together, as PSS, sampled ten times a second; the
benchmark's own is not in it. ``clean_us_per_row_…`` is measured once for each size.

The usual sizes, 300,000 and 3,000,000, take some ten minutes and 5 GB of disk.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from common import Report, parser
from province import Province, compiled_once, most_memory

WORKERS = 2
SIZES = (300_000, 3_000_000)
STEPS = ("sign", "audit")


@dataclass(frozen=True, slots=True)
class Step:
    """What a step took: microseconds a record, and MB at the most."""

    us_per_record: float
    pss_mb: float


def main() -> None:
    flags = _flags()
    sizes = flags.sizes or ((5_000, 20_000) if flags.quick else SIZES)
    report = Report("scale", ("duckdb", "pyarrow", "python-pkcs11"))
    with tempfile.TemporaryDirectory() as folder:
        compiled_once(Path(folder))
        small, large = (Province.make(Path(folder) / f"{n}", n, _say) for n in sizes)
        measure(report, small, large)
    report.show(as_json=flags.json)


def measure(report: Report, small: Province, large: Province) -> None:
    """Enter the figures of both sizes and the ratio."""
    small_steps = {name: [step] for name, step in run(small, STEPS).items()}
    large_steps: dict[str, Step] = {}
    for name in STEPS:
        large_steps |= run(large, (name,), fresh=name == STEPS[0])
        for again, step in run(small, STEPS).items():
            small_steps[again].append(step)
    time_of = {
        "small": {name: median(s.us_per_record for s in small_steps[name]) for name in STEPS},
        "large": {name: large_steps[name].us_per_record for name in STEPS},
    }
    for size, province in (("small", small), ("large", large)):
        report.figures[f"records_{size}"] = province.people
        report.figures[f"clean_us_per_row_{size}"] = province.clean_seconds / province.people * 1e6
        for name in STEPS:
            report.figures[f"{name}_us_per_record_{size}"] = time_of[size][name]
    for name in STEPS:
        report.figures[f"{name}_pss_mb_small"] = max(step.pss_mb for step in small_steps[name])
        report.figures[f"{name}_pss_mb_large"] = large_steps[name].pss_mb
    for size in ("small", "large"):
        report.figures[f"pss_mb_{size}"] = max(
            report.figures[f"{name}_pss_mb_{size}"] for name in STEPS
        )
    growth = sum(time_of["large"].values()) / sum(time_of["small"].values())
    report.ratios["time_per_record_growth"] = growth


def run(province: Province, steps: tuple[str, ...], *, fresh: bool = True) -> dict[str, Step]:
    """Run steps of ``vaxpass-sign`` on a fresh copy of the cleaned campaign, or on the last one.

    Ends the benchmark when one does not end with 0.
    """
    # Each province has a token of its own, and SoftHSM sees one of them at a time.
    os.environ["SOFTHSM2_CONF"] = str(province.folder / "token" / "softhsm2.conf")
    root = str(province.fresh().layout.root if fresh else province.folder / "round")
    found = {}
    for name in steps:
        _say(f"{name} {province.people:,} …")
        # An audit has a worker for each core.
        flags = ("--yes", "--workers", str(WORKERS)) if name == "sign" else ()
        began = time.perf_counter()
        memory = most_memory(name, root, *flags)
        seconds = time.perf_counter() - began
        found[name] = Step(seconds / province.people * 1e6, memory)
    return found


def _say(words: str) -> None:
    print(words, file=sys.stderr)


def _flags() -> argparse.Namespace:
    flags = parser(__doc__)
    flags.add_argument(
        "--sizes", type=int, nargs=2, metavar=("SMALL", "LARGE"), help="people (300,000 3,000,000)"
    )
    return flags.parse_args()


if __name__ == "__main__":
    main()
