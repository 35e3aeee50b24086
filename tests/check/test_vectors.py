"""The published vectors: what each asserts holds, or stands in disagreements.toml with its reason.

Each vector is checked with its own clock and DSC. An assertion is a pair (vector, expectation); the
list must name exactly the ones that we disagree with, so that it can neither grow unseen nor rot.
"""

from __future__ import annotations

import base64
import gzip
import json
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest

from foreign import shared
from vaxpass_sign.check import Reason, Step, TrustStore, Verdict, verify
from vaxpass_sign.check.policy import EU
from vaxpass_sign.check.schema import check_dcc
from vaxpass_sign.check.steps import StepFailedError, check_key_usage, check_validity
from vaxpass_sign.errors import HcertError
from vaxpass_sign.hcert import base45, codec, framing
from vaxpass_sign.x509 import Certificate

DISAGREEMENTS = Path(__file__).parents[1] / "vectors" / "disagreements.toml"


@cache
def vectors() -> dict[str, dict]:
    with gzip.open(shared("vectors", "dcc_vectors_dev.jsonl.gz"), "rt", encoding="utf-8") as file:
        return {vector["id"]: vector for vector in map(json.loads, file)}


def dsc_of(vector: dict) -> Certificate:
    return Certificate.from_bytes(base64.b64decode(vector["TESTCTX"]["CERTIFICATE"]))


def clock_of(vector: dict) -> datetime:
    clock = vector["TESTCTX"].get("VALIDATIONCLOCK")
    at = datetime.fromisoformat(clock) if clock else datetime.now(UTC)
    return at if at.tzinfo else at.replace(tzinfo=UTC)  # One clock names no offset.


def verdict_of(vector: dict) -> Verdict:
    return verify(vector["PREFIX"], TrustStore([dsc_of(vector)]), at=clock_of(vector))


def decoded(vector: dict) -> codec.Hcert | None:
    try:
        return codec.decode(vector["PREFIX"])
    except HcertError:
        return None


def signature_holds(vector: dict) -> bool:
    return verdict_of(vector).step > Step.SIGNATURE


def step_passes(step: Callable[..., None], *arguments: object) -> Reason:
    """Why one step alone fails: an expectation speaks of its step, whatever others say."""
    try:
        step(*arguments)
    except StepFailedError as failure:
        return failure.reason
    return Reason.VALID


def expiration_holds(vector: dict) -> bool:
    """Valid in time as the HCERT says; the expectation does not speak of the DSC's validity."""
    reason = step_passes(check_validity, decoded(vector), dsc_of(vector), clock_of(vector), EU)
    return reason in (Reason.VALID, Reason.DSC_EXPIRED, Reason.DSC_NOT_YET_VALID)


def key_usage_holds(vector: dict) -> bool:
    reason = step_passes(check_key_usage, decoded(vector), dsc_of(vector))
    return reason is Reason.VALID


def schema_holds(vector: dict) -> bool:
    hcert = decoded(vector)
    return hcert is not None and hcert.payload is not None and check_dcc(hcert.payload) is None


def same_json(vector: dict) -> bool:
    hcert = decoded(vector)
    return hcert is not None and hcert.payload == vector["JSON"]


def unprefixed(vector: dict) -> bool:
    text = vector["PREFIX"]
    return text.startswith("HC1:") and text[4:] == vector["BASE45"]


def base45_decodes(vector: dict) -> bool:
    try:
        data = base45.decode(vector["BASE45"])
    except HcertError:
        return False
    expected = vector.get("COMPRESSED")
    return expected is None or data.hex() == expected.lower()


def inflates(vector: dict) -> bool:
    try:
        message = framing.unframe(vector["PREFIX"])
    except HcertError:
        return False
    expected = vector.get("COSE")
    return expected is None or message.hex() == expected.lower()


CHECKS = {
    "EXPECTEDUNPREFIX": unprefixed,
    "EXPECTEDB45DECODE": base45_decodes,
    "EXPECTEDCOMPRESSION": inflates,
    "EXPECTEDDECODE": lambda vector: decoded(vector) is not None,
    "EXPECTEDVERIFY": signature_holds,
    "EXPECTEDEXPIRATIONCHECK": expiration_holds,
    "EXPECTEDKEYUSAGE": key_usage_holds,
    "EXPECTEDSCHEMAVALIDATION": schema_holds,
    "EXPECTEDVALIDOBJECT": schema_holds,
    "EXPECTEDVALIDJSON": same_json,
}
"""EXPECTEDPICTUREDECODE is tested with qr.py; EXPECTEDENCODE is about other encoders' bytes."""
NOT_OURS = {"EXPECTEDPICTUREDECODE", "EXPECTEDENCODE", "EXPECTEDRESULTS", "EXPTECTEDEXPIRED"}


def disagreements() -> dict[tuple[str, str], str]:
    """(vector, expectation) → why we don't do as it says."""
    listed = tomllib.loads(DISAGREEMENTS.read_text(encoding="utf-8"))["disagreement"]
    return {
        (vector, expectation): entry["reason"]
        for entry in listed
        for vector, expectations in entry["vectors"].items()
        for expectation in expectations
    }


def test_every_assertion() -> None:
    """Every assertion of every vector holds, but for exactly the listed ones."""
    failed = set()
    checked = 0
    for name, vector in vectors().items():
        for expectation, expected in vector["EXPECTEDRESULTS"].items():
            if expectation in NOT_OURS:
                continue
            checked += 1
            if CHECKS[expectation](vector) != expected:
                failed.add((name, expectation))
    assert checked == 2508
    assert failed == set(disagreements())


def test_few_disagreements_outside_one_generator() -> None:
    """At most 12 vectors other than the Dutch generator's are disagreed with."""
    names = {name for name, _ in disagreements() if not name.startswith("NL/")}
    assert len(names) <= 12


def test_negative_vectors_say_why() -> None:
    """The vectors that are to fail do so at the step that they are about, with its reason."""
    reasons = {
        "common/2DCode/raw/H2.json": Reason.NOT_HC1,
        "common/2DCode/raw/B1.json": Reason.BASE45,
        "common/2DCode/raw/Z1.json": Reason.NOT_COMPRESSED,
        "common/2DCode/raw/CBO2.json": Reason.CBOR,
        "common/2DCode/raw/CO6.json": Reason.DSC_ENTRY_KIND,
        "common/2DCode/raw/CO7.json": Reason.DSC_ENTRY_KIND,
        "common/2DCode/raw/CO8.json": Reason.DSC_ENTRY_KIND,
        "common/2DCode/raw/CO17.json": Reason.EXPIRED,
        "common/2DCode/raw/CO23.json": Reason.UNKNOWN_KID,
        "common/2DCode/raw/DGC2.json": Reason.SCHEMA,
        "PL/1.0.0/2DCode/raw/6.json": Reason.UNKNOWN_KID,
        "PL/1.0.0/2DCode/raw/10.json": Reason.EXPIRED,
    }
    assert {name: verdict_of(vectors()[name]).reason for name in reasons} == reasons


@pytest.mark.parametrize(
    "name",
    [
        "DVCTestQR",
        "DVCTest2QR",
        "DVCTest3QR",
        "WHOQR1Contents",
        "WHOQR2Contents",
        "WHOSingaporePCRContents",
        "EUItalyAcceptanceQRContents",
        "EUColombiaContents",
        "EUQR1Contents",
        "EUIndonesiaContents",
        "EUUruguay2Contents",
        "EUUruguayContents",
    ],
)
def test_gdhcn_texts_decode(name: str) -> None:
    """The texts of WHO's validator decode: EU-style ones with a DCC, the others without one."""
    text = shared("vectors", "gdhcn", f"{name}.txt").read_text(encoding="utf-8").strip("\n\r")
    hcert = codec.decode(text)
    assert hcert.kid
    assert (hcert.payload is not None) == name.startswith("EU")
