"""base45 + zlib + python-cwt's decode, as a process that :mod:`verify` speaks to over a pipe.

Runs in .venv-cwt. The first line in is the job: texts, the public key as PEM, the kid in hex. The
answer is the claims of the first texts, to be compared. Each further line is a round over all
texts; the answer is its seconds. The key is read once, before the first round.
"""

from __future__ import annotations

import json
import sys
import time
import zlib
from typing import Any

import base45
import cwt

COMPARED = 100


def main() -> None:
    job = json.loads(sys.stdin.readline())
    texts = job["texts"]
    key = cwt.COSEKey.from_pem(job["pem"], kid=bytes.fromhex(job["kid"]), alg="ES256")
    answer([said(text, key) for text in texts[:COMPARED]])
    for _ in sys.stdin:
        started = time.perf_counter()
        for text in texts:
            decode(text, key)
        answer(time.perf_counter() - started)


def decode(text: str, key: Any) -> Any:
    return cwt.decode(zlib.decompress(base45.b45decode(text[4:])), key)


def said(text: str, key: Any) -> dict[str, Any]:
    claims = decode(text, key)
    dcc = cwt.Claims.new(claims).hcert[1]
    return {"iss": claims[1], "exp": claims[4], "iat": claims[6], "dcc": dcc}


def answer(value: object) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
