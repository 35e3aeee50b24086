"""A file of payloads to a table of verdicts, against two bare loops.

``table_vs_bare_loops``: ``write_verdicts`` with two workers over a text file with one payload a
line, to a CSV file on the disk, process starts included, against two processes that only call
``public_key.verify`` of cryptography as many times. Both in turn, several rounds. ``pss_mb``: the
most memory that ``vaxpass-sign verify --out`` and its workers had together, as PSS, in a round
that is not timed.

Every payload has its own record and signature, of one signing run with a software key.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

# Each worker process imports this script when it starts, and its start is part of what is measured:
# what only the benchmark needs is imported in the functions that need it.
from common import Report, alternate, median_ratio, parser

WORKERS = 2
_AT_ONCE = 20_000


def main() -> None:
    flags = _flags()
    payloads = flags.payloads or (20_000 if flags.quick else 1_000_000)
    rounds = flags.rounds or (2 if flags.quick else 3)
    report = Report("verify_table", ("cbor2", "cryptography", "numpy", "zlib-ng"))
    from province import compiled_once

    with tempfile.TemporaryDirectory() as folder:
        compiled_once(Path(folder))
        measure(report, Path(folder), payloads, rounds)
    report.show(as_json=flags.json)


def measure(report: Report, folder: Path, payloads: int, rounds: int) -> None:
    """Enter the figures and the ratio of so many payloads."""
    from province import BareLoops, bare_verifying, most_memory

    source, dsc = folder / "payloads.txt", folder / "dsc.pem"
    write_payloads(source, dsc, payloads)
    out = folder / "verdicts.csv"
    report.figures["payloads"] = payloads
    report.figures["pss_mb"] = most_memory(
        *("verify", "--out", str(out), "--trust", str(dsc), str(source))
    )
    with BareLoops(WORKERS, bare_verifying) as bare:
        found = alternate(
            rounds,
            {
                "table": lambda: payloads / seconds(source, dsc, out, payloads),
                "bare": lambda: payloads / bare.seconds(payloads),
            },
        )
    report.figures["verdicts_per_s"] = median(found["table"])
    report.figures["bare_loops_per_s"] = median(found["bare"])
    report.ratios["table_vs_bare_loops"] = median_ratio(found["table"], found["bare"])


def write_payloads(source: Path, dsc: Path, payloads: int) -> None:
    """A file with one payload a line, and the DSC that signed them."""
    from vaxpass_sign.x509 import pem
    from verify import make_issuer, signed_texts

    issuer = make_issuer()
    dsc.write_bytes(pem(issuer.dsc.der))
    with source.open("w", encoding="ascii") as file:
        for start in range(0, payloads, _AT_ONCE):
            texts = signed_texts(issuer, min(_AT_ONCE, payloads - start))
            file.writelines(f"{text}\n" for text in texts)


def seconds(source: Path, dsc: Path, out: Path, payloads: int) -> float:
    """Seconds to verify the file; ends the benchmark when not all are valid."""
    from vaxpass_sign import TrustStore
    from vaxpass_sign.check.asked import Asked
    from vaxpass_sign.check.payload_files import text_blocks
    from vaxpass_sign.check.verdict_table import write_verdicts

    began = time.perf_counter()
    asked = Asked(TrustStore.load(dsc))
    with source.open("rb") as file:
        counts = write_verdicts(out, asked, text_blocks(file, source.name), workers=WORKERS)
    taken = time.perf_counter() - began
    if counts.valid != payloads:
        raise SystemExit(f"{counts.valid} of {payloads} are valid, so that no rate is fair")
    return taken


def _flags() -> argparse.Namespace:
    flags = parser(__doc__)
    flags.add_argument("--payloads", type=int, help="payloads in the file (1,000,000)")
    flags.add_argument("--rounds", type=int, help="rounds that count (3)")
    return flags.parse_args()


if __name__ == "__main__":
    main()
