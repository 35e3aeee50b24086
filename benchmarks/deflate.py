"""Whether deflating a message is worth its time: the figures behind docs/decisions/0003.

For Vietnamese records with random UVCIs and random bytes for a signature: what zlib-ng's level 9
saves against a stored block, how many QR symbols would be a version smaller by it, what both take;
and how far the lengths of one payload's streams differ with the signature's bytes, which is what
an issuer's margin is for.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from statistics import median, pstdev

from zlib_ng import zlib_ng

from common import Report, arguments
from vaxpass_sign import sample
from vaxpass_sign.hcert import cose, framing
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.hcert.columns import ColumnEncoder, Columns
from vaxpass_sign.hcert.qr_capacity import qr_version
from vaxpass_sign.record.uvci import random_uvci

PROTECTED = cose.encode_protected(Alg.ES256, bytes(range(8)))


def payloads(count: int) -> list[bytes]:
    records = sample.records(count)
    columns = Columns.from_records(records, [random_uvci("VN") for _ in records])
    encoder = ColumnEncoder(
        protected=PROTECTED,
        country="VN",
        issuer_name="Bộ Y tế",
        issued_at_s=int(time.time()),
        expires_at_s=int(time.time()) + 365 * 86_400,
    )
    return encoder.payloads(columns)


def microseconds(work: Callable[[bytes], bytes], messages: list[bytes]) -> float:
    started = time.perf_counter()
    for message in messages:
        work(message)
    return (time.perf_counter() - started) / len(messages) * 1e6


def symbol(stream: bytes) -> int:
    return qr_version(framing.text_length(len(stream))) or 41


def deflated(message: bytes) -> bytes:
    return bytes(zlib_ng.compress(message, 9))


def main() -> None:
    flags = arguments(__doc__)
    rng = random.Random(1)
    report = Report("deflate", ("zlib-ng",))
    found = payloads(2_000 if flags.quick else 10_000)
    messages = [cose.encode_sign1(PROTECTED, p, rng.randbytes(64)) for p in found]
    streams = [(framing.stored(message), deflated(message)) for message in messages]
    report.figures["payload_bytes"] = median(map(len, found))
    report.figures["saved_bytes"] = median(len(a) - len(b) for a, b in streams)
    smaller = sum(symbol(b) < symbol(a) for a, b in streams)
    report.figures["smaller_symbols_percent"] = 100 * smaller / len(streams)
    stored_us = [microseconds(framing.stored, messages) for _ in range(5)]
    deflated_us = [microseconds(deflated, messages[::5]) for _ in range(5)]
    report.figures["stored_us"] = median(stored_us)
    report.figures["deflate_us"] = median(deflated_us)
    # One long payload, as only such are deflated by an issuer.
    long = b"".join(found[:3])
    for size in (64, 256, 384):
        lengths = [
            len(deflated(cose.encode_sign1(PROTECTED, long, rng.randbytes(size))))
            for _ in range(500 if flags.quick else 3_000)
        ]
        report.figures[f"stream_bytes_deviation_signature_{size}"] = pstdev(lengths)
    report.show(as_json=flags.json)


if __name__ == "__main__":
    main()
