"""Checks by code that we did not write: pycose, python-cwt, the published JSON schemas.

cwt needs an older cbor2, so it lives in an environment of its own (`make` makes it) and is spoken
to over a pipe: one JSON object a line in, one out.
"""

from __future__ import annotations

import json
import os
import subprocess
import zlib
from functools import cache
from pathlib import Path

import base45
import cbor2
import jsonschema
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pycose.keys import EC2Key, RSAKey
from pycose.messages import Sign1Message

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
CWT_PYTHON = ROOT / ".venv-cwt" / "bin" / "python"

CWT_WORKER = """
import base64, json, sys, zlib
import base45, cwt
for line in sys.stdin:
    job = json.loads(line)
    try:
        message = zlib.decompress(base45.b45decode(job["text"][4:]))
        key = cwt.COSEKey.from_pem(job["pem"], kid=bytes.fromhex(job["kid"]), alg=job["alg"])
        claims = cwt.decode(message, key)
        dcc = cwt.Claims.new(claims).hcert
        out = {"iss": claims[1], "iat": claims[6], "exp": claims[4], "dcc": dcc[1]}
    except Exception as error:
        out = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(out), flush=True)
"""


def missing(what: str) -> None:
    """Skip the test by name; on CI fail, because everything must be there."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"{what} is missing")


def shared(*parts: str) -> Path:
    """A path of the published data; skips where it is missing."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        missing(f"shared/{'/'.join(parts)}")
    return path


@cache
def _cwt() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(CWT_PYTHON), "-c", CWT_WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def stop_cwt() -> None:
    """End the cwt process, if one was started."""
    if _cwt.cache_info().currsize:
        worker = _cwt()
        worker.stdin.close()
        worker.wait(timeout=10)
        worker.stdout.close()
        _cwt.cache_clear()


def read_by_cwt(text: str, public_key, kid: bytes, alg: str) -> dict:
    """What python-cwt says of a text whose signature it verified."""
    if not CWT_PYTHON.exists():
        missing(".venv-cwt (make venv-cwt)")
    worker = _cwt()
    pem = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    job = {"text": text, "pem": pem, "kid": kid.hex(), "alg": alg}
    worker.stdin.write(json.dumps(job) + "\n")
    worker.stdin.flush()
    answer = json.loads(worker.stdout.readline())
    assert "error" not in answer, answer
    return answer


def read_by_pycose(text: str, public_key) -> dict:
    """The claims of a text whose signature pycose verified."""
    message = zlib.decompress(base45.b45decode(text.removeprefix("HC1:")))
    assert message[0] == 0xD2  # tag 18
    # pycose's own decode takes what cbor2 6 gives inside a tag (a tuple, a frozendict) for an error.
    sign1 = Sign1Message.from_cose_obj(cbor2.loads(message[1:]), allow_unknown_attributes=True)
    if isinstance(public_key, EllipticCurvePublicKey):
        numbers = public_key.public_numbers()
        key = EC2Key(crv="P_256", x=numbers.x.to_bytes(32), y=numbers.y.to_bytes(32))
    else:
        numbers = public_key.public_numbers()
        length = (public_key.key_size + 7) // 8
        key = RSAKey(n=numbers.n.to_bytes(length), e=numbers.e.to_bytes(3))
    sign1.key = key
    assert sign1.verify_signature()
    return cbor2.loads(sign1.payload)


@cache
def _schema(version: str) -> jsonschema.Draft202012Validator:
    schema = json.loads(shared("schema", f"{version}.json").read_text())
    return jsonschema.Draft202012Validator(schema)


def schema_errors(dcc: dict, version: str) -> list[str]:
    """What the published JSON schema of a version finds wrong with a DCC."""
    return [error.message for error in _schema(version).iter_errors(dcc)]


def assert_read_by_others(text: str, public_key, kid: bytes, alg: str) -> dict:
    """pycose and cwt verify the signature and read the same claims, and the schemas are kept.

    Returns: the DCC.
    """
    claims = read_by_pycose(text, public_key)
    dcc = claims[-260][1]
    by_cwt = read_by_cwt(text, public_key, kid, alg)
    assert by_cwt == {"iss": claims[1], "iat": claims[6], "exp": claims[4], "dcc": dcc}
    for version in ("1.3.0", "1.3.3"):
        assert schema_errors(dcc, version) == []
    return dcc
