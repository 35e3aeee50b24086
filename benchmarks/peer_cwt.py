"""python-cwt + zlib + base45, as a process that :mod:`encode` speaks to over a pipe.

Runs in .venv-cwt (cwt needs an older cbor2). The first line in is the job: columns by name,
signatures and kid in hex, country, issuer name, times. The answer holds the first texts, to be
compared. Each further line is the rows of a round, [first, end); the
answer is its seconds.

The peer gets every advantage that leaves its own code as it is:

* The key is cwt's own class with one method replaced: ``sign`` hands out ready-made signatures,
  64 raw bytes. Neither ECDSA nor cwt's conversion of its DER is in the figure.
* The COSE layer is called with the CBOR of the claims and the whole protected header, and not
  ``cwt.encode``, which checks the claims besides and takes longer.
* zlib runs at its default level; the claims' maps are written as they come, not sorted.
"""

from __future__ import annotations

import json
import sys
import time
import zlib
from collections.abc import Iterator
from typing import Any

import base45
import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cwt import COSE
from cwt.algs.ec2 import EC2Key

COMPARED = 100


class ReadyMade(EC2Key):
    """A P-256 key whose signatures were made before."""

    signatures: Iterator[bytes]

    def sign(self, msg: bytes) -> bytes:
        return next(self.signatures)


def main() -> None:
    job = json.loads(sys.stdin.readline())
    signatures = [bytes.fromhex(signature) for signature in job["signatures"]]
    kid = bytes.fromhex(job["kid"])
    key = ReadyMade(EC2Key.to_cose_key(ec.generate_private_key(ec.SECP256R1())) | {2: kid, 3: -7})
    columns = job["columns"]
    answer(encode(columns_of(job, 0, COMPARED), signatures[:COMPARED], key, job))
    for line in sys.stdin:
        first, end = json.loads(line)
        columns, ready_made = columns_of(job, first, end), signatures[first:end]
        started = time.perf_counter()
        texts = encode(columns, ready_made, key, job)
        seconds = time.perf_counter() - started
        del texts  # freeing them is not part of the round
        answer(seconds)


def columns_of(job: dict[str, Any], first: int, end: int) -> list[list[Any]]:
    return [column[first:end] for column in job["columns"].values()]


def answer(value: object) -> None:
    print(json.dumps(value), flush=True)


def encode(
    columns: list[list[Any]], signatures: list[bytes], key: ReadyMade, job: dict[str, Any]
) -> list[str]:
    """The HC1 text of each row."""
    iss, name, iat, exp = (
        job["country"],
        job["issuer_name"],
        job["issued_at_s"],
        job["expires_at_s"],
    )
    key.signatures = iter(signatures)
    sign, dumps = COSE.new().encode_and_sign, cbor2.dumps
    compress, b45encode = zlib.compress, base45.b45encode
    texts = []
    for ci, fn, gn, fnt, gnt, dob, dt, dn, sd, tg, vp, mp, ma, co, issuer in zip(
        *columns, strict=True
    ):
        nam = {"fn": fn, "fnt": fnt}
        if gn or gnt:
            nam |= {"gn": gn, "gnt": gnt}
        entry = {
            "ci": ci,
            "co": co or iss,
            "dn": dn,
            "dt": dt,
            "is": issuer or name,
            "ma": ma,
            "mp": mp,
            "sd": sd,
            "tg": tg,
            "vp": vp,
        }
        dcc = {"v": [entry], "dob": dob, "nam": nam, "ver": "1.3.0"}
        payload = dumps({1: iss, 4: exp, 6: iat, -260: {1: dcc}})
        message = sign(payload, key, protected={1: -7, 4: key.kid})
        texts.append("HC1:" + b45encode(compress(message)).decode())
    return texts


if __name__ == "__main__":
    main()
