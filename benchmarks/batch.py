"""The province's job: sign a cleaned campaign on SoftHSM and audit it, against the bare limits.

``sign_vs_bare_loop``: ``Campaign.sign`` with two workers, Parquet in to durable Parquet out with a
ledger, process starts included, against two processes that only call C_SignInit and C_Sign on the
same key. ``audit_vs_bare_loop``: ``Campaign.audit`` with two workers, all of it, against two
processes that only call ``public_key.verify`` of cryptography. Everything in turn, several rounds,
each on a fresh copy of the same cleaned campaign. ``pss_mb``: the most memory that all processes
had together, as PSS, in a round that is not timed.

``--people 1174432`` is one province of Vietnam.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

# Each worker process imports this script when it starts, and its start is part of what is measured:
# what only the benchmark needs is imported in the functions that need it.
from common import Report, alternate, median_ratio, parser

if TYPE_CHECKING:
    from province import Province

WORKERS = 2
PROVINCE = 1_174_432


def main() -> None:
    flags = _flags()
    people = flags.people or (30_000 if flags.quick else 300_000)
    rounds = flags.rounds or (2 if flags.quick else 3)
    report = Report("batch", ("cryptography", "python-pkcs11", "pyarrow"))
    from province import Province, compiled_once

    with tempfile.TemporaryDirectory() as folder:
        compiled_once(Path(folder))
        province = Province.make(Path(folder) / "province", people, _say)
        measure(report, province, rounds)
    report.show(as_json=flags.json)


def measure(report: Report, province: Province, rounds: int) -> None:
    """Enter the figures and ratios of one province."""
    from province import BareLoops, bare_signing, bare_verifying, most_memory

    people = province.people
    root = str(province.fresh().layout.root)
    report.figures["people"] = people
    report.figures["pss_mb"] = max(
        most_memory("sign", root, "--yes", "--workers", str(WORKERS)), most_memory("audit", root)
    )
    with (
        BareLoops(WORKERS, bare_signing, *province.bare_key()) as signing,
        BareLoops(WORKERS, bare_verifying) as verifying,
    ):
        found = alternate(
            rounds,
            {
                "sign": lambda: people / sign(province),
                "bare_sign": lambda: people / signing.seconds(people),
                "audit": lambda: people / audit(province),
                "bare_audit": lambda: people / verifying.seconds(people),
            },
        )
    report.figures["clean_us_per_row"] = province.clean_seconds / people * 1e6
    for name in ("sign", "audit"):
        rate, bare = median(found[name]), median(found[f"bare_{name}"])
        report.figures[f"{name}_per_s"] = rate
        report.figures[f"{name}_bare_loops_per_s"] = bare
        report.figures[f"{name}_us_per_record"] = 1e6 / rate
        report.ratios[f"{name}_vs_bare_loop"] = median_ratio(found[name], found[f"bare_{name}"])
    total = people / median(found["sign"]) + people / median(found["audit"])
    report.figures["sign_and_audit_seconds"] = total
    report.notes.append(
        f"A province of {PROVINCE:,} people at these rates: "
        f"{total / people * PROVINCE:.0f} s to sign and audit."
    )


def sign(province: Province) -> float:
    """Seconds to sign a fresh copy; ends the benchmark when not all was signed."""
    done = province.fresh().sign(workers=WORKERS)
    if done.signed != province.people:
        raise SystemExit(f"{done.signed} of {province.people} were signed, so no rate is fair")
    return done.seconds


def audit(province: Province) -> float:
    """Seconds to audit what was signed last; ends the benchmark at any finding."""
    from vaxpass_sign.campaign import Campaign

    done = Campaign(province.folder / "round").audit(workers=WORKERS)
    if done.findings or done.verified != province.people:
        raise SystemExit(f"the audit found {[str(f) for f in done.findings[:3]]}")
    return done.seconds


def _say(words: str) -> None:
    print(words, file=sys.stderr)


def _flags() -> argparse.Namespace:
    flags = parser(__doc__)
    flags.add_argument("--people", type=int, help="records to sign (300,000)")
    flags.add_argument("--rounds", type=int, help="rounds that count (3)")
    return flags.parse_args()


if __name__ == "__main__":
    main()
