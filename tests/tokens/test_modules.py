"""One driver, many modules: six that have nothing in common but the standard sign what pycose verifies."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import base45
import cbor2
import pytest

from foreign import missing, read_by_pycose
from tokens.conftest import get
from tokens.device import Device
from tokens.devices import MODULES, make_soft
from tokens.findings import (
    ALGS,
    KID,
    PAYLOADS,
    Findings,
    committed_rows,
    public_key,
    rows,
    sig_structures,
)
from tokens.softhsm import find_softhsm
from vaxpass_sign.hcert.cose import encode_protected

SERVING = {
    "ES256": {"CKM_ECDSA", "CKM_ECDSA_SHA256"},
    "PS256": {"CKM_RSA_PKCS_PSS", "CKM_SHA256_RSA_PKCS_PSS"},
}
"""The mechanisms that may be used, and no others."""

NO_EC = {"opencryptoki"}
MAY_LACK_PSS = {"tpm2"}
"""tpm2-pkcs11 1.9 doesn't offer PSS."""

CAN_HASH = [
    ("nss", "ec"),
    ("nss", "rsa"),
    ("piv", "ec"),
    ("piv", "rsa"),
    ("tpm2", "ec"),
    ("softhsm", "rsa"),
]


def assert_verified(device: Device, kind: str, signed: dict[str, Any]) -> None:
    """pycose verifies each COSE_Sign1 that is made of the signatures, and reads its payload."""
    assert "signatures" in signed, signed
    alg = "ec" if kind == "PIN always" else kind
    assert signed["alg"] == ALGS[alg].name
    assert signed["mechanisms"]
    assert set(signed["mechanisms"]) <= SERVING[signed["alg"]]
    key = public_key(device, kind, signed)
    protected = encode_protected(ALGS[alg], KID)
    for signatures in (signed["signatures"], signed["again"]):
        assert len(set(signatures)) == len(PAYLOADS)
        for payload, signature in zip(PAYLOADS, signatures, strict=True):
            sign1 = b"\xd2" + cbor2.dumps([protected, {}, payload, bytes.fromhex(signature)])
            text = "HC1:" + base45.b45encode(zlib.compress(sign1)).decode()
            assert read_by_pycose(text, key) == cbor2.loads(payload)


@pytest.mark.parametrize("kind", ALGS)
@pytest.mark.parametrize("name", MODULES)
def test_signs(findings: Findings, name: str, kind: str) -> None:
    """Each module signs with ES256 and PS256, opened twice, or says clearly that it can't."""
    device = get(findings, name)
    signed = findings.signed(name, kind)
    if kind == "ec" and name in NO_EC:
        assert "ec" not in device.keys
        return
    if kind == "rsa" and name in MAY_LACK_PSS and "error" in signed:
        assert_refused(signed, "PS256")
        return
    assert_verified(device, kind, signed)
    assert signed["pins"] == 2, "once for each opening"


def assert_refused(signed: dict[str, Any], alg: str) -> None:
    """It is a TokenError that names both mechanisms, and the module was asked for none."""
    assert signed["error"] == "TokenError"
    assert f"can't sign {alg}: it offers neither" in signed["message"]
    assert all(mechanism in signed["message"] for mechanism in SERVING[alg])
    assert signed["mechanisms"] == []


def test_a_key_that_wants_its_pin_each_time(findings: Findings) -> None:
    """The PIV card's key in 9C signs, and the login before it is sent once for each opening."""
    device = get(findings, "piv")
    signed = findings.signed("piv", "PIN always")
    assert_verified(device, "PIN always", signed)
    assert signed["pins"] == 2


@pytest.mark.parametrize(("name", "kind"), CAN_HASH)
def test_a_token_that_hashes_itself(findings: Findings, name: str, kind: str) -> None:
    """When only the mechanism that hashes is offered, it gets messages and not hashes."""
    device = get(findings, name)
    signed = findings.signed(name, kind, hashing=True)
    assert_verified(device, kind, signed)
    assert all("SHA256" in mechanism for mechanism in signed["mechanisms"])


@pytest.mark.parametrize(
    ("mechanisms", "kind", "refused"),
    [
        pytest.param("CKM_SHA256_RSA_PKCS_PSS", "rsa", None, id="hashing PSS alone"),
        pytest.param("CKM_RSA_PKCS,CKM_SHA256_RSA_PKCS_PSS", "ec", "ES256", id="no ECDSA"),
        pytest.param("CKM_RSA_PKCS,CKM_RSA_X_509,CKM_SHA256_RSA_PKCS", "rsa", "PS256", id="no PSS"),
    ],
)
def test_a_token_with_fewer_mechanisms(
    tmp_path: Path, mechanisms: str, kind: str, refused: str | None
) -> None:
    """SoftHSM set to offer less: what hashes is used, and RS256 or raw RSA is never a way out."""
    module = find_softhsm()
    if module is None:
        missing("SoftHSM (Debian: apt-get install softhsm2)")
    assert module is not None
    device = make_soft(tmp_path, module, mechanisms)
    signed = device.probe(do="sign", uri=device.uri(kind), messages=sig_structures(kind))
    if refused:
        assert_refused(signed, refused)
    else:
        assert_verified(device, kind, signed)
        assert signed["mechanisms"] == [mechanisms]


@pytest.mark.parametrize("name", MODULES)
def test_four_sessions(findings: Findings, name: str) -> None:
    """Four sessions sign side by side after one login."""
    device = get(findings, name)
    for kind in device.keys:
        if kind not in ALGS or "error" in findings.signed(name, kind):
            continue
        signed = findings.signed(name, kind, sessions=4)
        assert_verified(device, kind, signed)
        assert signed["pins"] == 2


@pytest.mark.parametrize("name", MODULES)
def test_a_wrong_pin_is_sent_once(findings: Findings, name: str) -> None:
    """It is a PinError that doesn't repeat it, and the right one is taken afterwards."""
    get(findings, name)
    refused = findings.wrong_pin(name)
    assert refused["error"] == "PinError"
    assert "sent once" in refused["message"]
    assert "00000000" not in refused["message"].replace("0000000000000000", "")
    assert refused["pins"] == 1
    assert "signatures" in refused["after"]


@pytest.mark.parametrize(
    ("name", "kind", "made"),
    [
        ("softhsm", "ec", True),
        ("softhsm", "rsa", True),
        ("nss", "ec", True),
        ("nss", "rsa", True),
        ("opencryptoki", "rsa", True),
        ("opencryptoki", "ec", False),
    ],
)
def test_new_key(findings: Findings, name: str, kind: str, made: bool) -> None:
    """A safe key pair is made, or the error names the mechanism that is missing."""
    get(findings, name)
    found = findings.new_key(name, kind)
    if made:
        assert "CKA_ALWAYS_SENSITIVE=true" in found.get("checked", ()), found
        assert "CKA_NEVER_EXTRACTABLE=true" in found["checked"]
    else:
        assert found["error"] == "TokenError"
        assert "CKM_EC_KEY_PAIR_GEN" in found["message"]


@pytest.mark.parametrize("name", MODULES)
def test_the_page_says_so(findings: Findings, name: str) -> None:
    """docs/reference/tokens.md has what was found; findings.py writes it anew."""
    device = get(findings, name)
    [found] = rows(findings, [name]).values()
    said = committed_rows()[device.name]
    if said[1] != found[1]:
        pytest.skip(f"{device.name}: the page is of {said[1]}, here is {found[1]}")
    assert found == said, "run PYTHONPATH=tests python tests/tokens/findings.py"
