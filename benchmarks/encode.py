"""Encoding and framing without the signature: columns in memory → HC1 texts, on one core.

The signatures are 64 random bytes each, made beforehand, so that nothing but our own work is timed.
The peer is python-cwt + zlib + base45 on the same records and signatures (see peer_cwt.py for how
its signature is left out); it runs in .venv-cwt, in turn with us. Claims, kid, alg and signature of
both sides' first texts must be equal.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from itertools import cycle
from statistics import median
from typing import Any

from common import Report, alternate, arguments, median_ratio
from peer import NO_PEER, PEER_PYTHON, open_peer
from vaxpass_sign import sample
from vaxpass_sign.hcert import claims, codec, cose
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.hcert.columns import ColumnEncoder, Columns
from vaxpass_sign.record.model import VaccinationRecord
from vaxpass_sign.record.uvci import random_uvci

KID = random.Random(1).randbytes(8)
PROTECTED = cose.encode_protected(Alg.ES256, KID)
FACTS: dict[str, Any] = {
    "country": "VN",
    "issuer_name": "Bộ Y tế",
    "issued_at_s": 1_768_478_400,
    "expires_at_s": 1_800_014_400,
}
PEER_ROWS = 1000
STAGES = ("payloads", "sig_structures", "texts")


class Ours:
    """The columnar encoder; a round is timed as a whole and by stages."""

    def __init__(self, columns: Columns, signatures: list[bytes]) -> None:
        self._columns, self._signatures = columns, signatures
        self.stages: dict[str, list[float]] = {stage: [] for stage in STAGES}

    def encode(self) -> list[str]:
        """The texts of all rows, a block at a time, as an issuer does it."""
        clock, seconds, texts = time.perf_counter, [0.0, 0.0, 0.0], []
        encoder = ColumnEncoder(protected=PROTECTED, **FACTS)
        for block in self._columns.blocks():
            start = clock()
            payloads = encoder.payloads(block)
            after_payloads = clock()
            encoder.sig_structures(payloads)
            after_structures = clock()
            signatures = self._signatures[len(texts) : len(texts) + len(payloads)]
            texts += encoder.texts(payloads, signatures)
            end = clock()
            seconds[0] += after_payloads - start
            seconds[1] += after_structures - after_payloads
            seconds[2] += end - after_structures
        for stage, spent in zip(STAGES, seconds, strict=True):
            self.stages[stage].append(microseconds(spent, len(texts)))
        return texts

    def round(self) -> float:
        started = time.perf_counter()
        texts = self.encode()
        return microseconds(time.perf_counter() - started, len(texts))


@contextmanager
def peer_rounds(
    columns: Columns, signatures: list[bytes], our_texts: list[str]
) -> Iterator[Callable[[], float]]:
    """The peer's round, after a look at what it makes of the first rows."""
    with open_peer("peer_cwt.py") as peer:
        job = FACTS | {
            "columns": {
                field.name: list(getattr(columns, field.name)) for field in fields(columns)
            },
            "signatures": [signature.hex() for signature in signatures],
            "kid": KID.hex(),
        }
        their_texts = peer.ask(job)
        for row, (a, b) in enumerate(zip(our_texts, their_texts, strict=False)):
            check_equal(row, codec.decode(a), codec.decode(b))
        starts = cycle(range(0, len(columns), PEER_ROWS))

        def round_of_theirs() -> float:
            """The next rows: as many as take about as long as our round over all of them."""
            first = next(starts)
            end = min(first + PEER_ROWS, len(columns))
            return microseconds(peer.ask([first, end]), end - first)

        yield round_of_theirs


def check_equal(row: int, a: codec.Hcert, b: codec.Hcert) -> None:
    """Stop unless both sides did the same work for a row."""
    for what, ours, theirs in (
        ("claims", a.claims, b.claims),
        ("kid and alg", (a.kid, a.alg), (b.kid, b.alg)),
        ("signature", a.sign1.signature, b.sign1.signature),
    ):
        if ours != theirs:
            raise SystemExit(f"row {row}: the {what} of the two sides differ; no ratio is fair")


def one_at_a_time(
    records: list[VaccinationRecord], uvcis: list[str], signatures: list[bytes]
) -> float:
    """Microseconds a record when each is encoded on its own, as at a counter."""
    started = time.perf_counter()
    for record, uvci, signature in zip(records, uvcis, signatures, strict=True):
        payload = claims.encode_claims(claims.record_claims(record, uvci=uvci, **FACTS))
        cose.sig_structure(PROTECTED, payload)
        codec.encode(PROTECTED, payload, signature)
    return microseconds(time.perf_counter() - started, len(records))


def microseconds(seconds: float, rows: int) -> float:
    return seconds / rows * 1e6


def main() -> None:
    flags = arguments(__doc__)
    rows, rounds = (10_000, 15) if flags.quick else (20_000, 99)
    records = sample.records(rows)
    uvcis = [random_uvci("VN") for _ in records]
    signatures = [os.urandom(64) for _ in records]
    columns = Columns.from_records(records, uvcis)
    ours = Ours(columns, signatures)
    some = slice(PEER_ROWS)
    sides = {
        "encode": ours.round,
        "one": lambda: one_at_a_time(records[some], uvcis[some], signatures[some]),
    }
    report = Report("encode", ("cbor2", "numpy", "zlib-ng"))
    if PEER_PYTHON.exists():
        with peer_rounds(columns, signatures, ours.encode()) as theirs:
            found = alternate(rounds, sides | {"cwt": theirs})
        report.ratios["vs_python_cwt"] = median_ratio(found["cwt"], found["encode"])
        report.ratios["one_at_a_time_vs_python_cwt"] = median_ratio(found["cwt"], found["one"])
    else:
        found = alternate(rounds, sides)
        report.notes.append(NO_PEER)
    report.figures["encode_us_per_record"] = median(found["encode"])
    for stage in STAGES:
        report.figures[f"{stage}_us_per_record"] = median(ours.stages[stage])
    report.figures["one_at_a_time_us_per_record"] = median(found["one"])
    if "cwt" in found:
        report.figures["python_cwt_us_per_record"] = median(found["cwt"])
    report.show(as_json=flags.json)


if __name__ == "__main__":
    main()
