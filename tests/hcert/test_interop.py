"""HCERTs as pycose messages and back."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from pycose.algorithms import Es256
from pycose.headers import KID, Algorithm
from pycose.keys import EC2Key
from pycose.messages import Sign1Message

from issuing import AT, dsc, make_issuer, private_key, trust
from strategies import records
from vaxpass_sign import verify
from vaxpass_sign.errors import HcertError
from vaxpass_sign.hcert import codec, cose, framing
from vaxpass_sign.hcert.interop import from_sign1message, to_sign1message


def pycose_key() -> EC2Key:
    numbers = private_key("dsc").private_numbers()
    public = numbers.public_numbers
    return EC2Key(
        crv="P_256",
        x=public.x.to_bytes(32),
        y=public.y.to_bytes(32),
        d=numbers.private_value.to_bytes(32),
    )


@settings(deadline=None, max_examples=40)
@given(records)
def test_there_and_back(record) -> None:
    """An HCERT becomes a pycose message that pycose verifies, and comes back as the same text."""
    text = make_issuer().issue(record)
    message = to_sign1message(text)
    assert message.phdr[KID] == dsc().kid
    message.key = pycose_key()
    assert message.verify_signature()
    assert from_sign1message(message) == text


def test_signed_by_pycose() -> None:
    """What pycose signed is an HCERT that verifies here."""
    payload = codec.decode(make_issuer().issue(_record())).sign1.payload
    message = Sign1Message(phdr={Algorithm: Es256, KID: dsc().kid}, payload=payload)
    message.key = pycose_key()
    message.signature = message.compute_signature()
    assert verify(from_sign1message(message), trust(), at=AT)


def test_an_unprotected_header_survives() -> None:
    """A kid in the unprotected header stays where it was."""
    sign1 = codec.decode(make_issuer().issue(_record())).sign1
    protected = b"\xa1\x01\x26"
    message = cose.encode_sign1(protected, sign1.payload, sign1.signature)
    message = message.replace(protected + b"\xa0", protected + b"\xa1\x04\x48" + dsc().kid, 1)
    text = framing.frame(message, len(sign1.payload))
    assert from_sign1message(to_sign1message(text)) == text
    assert codec.decode(text).kid == dsc().kid


def test_headers_that_pycose_refuses() -> None:
    """A message that decodes here but that pycose can't hold is an HcertError too."""
    sign1 = codec.decode(make_issuer().issue(_record())).sign1
    protected = b"\xa1\x01\x39\x03\xe6"  # {1: -999}
    text = framing.frame(cose.encode_sign1(protected, sign1.payload, sign1.signature), 0)
    assert codec.decode(text).alg == -999
    with pytest.raises(HcertError, match="pycose"):
        to_sign1message(text)


def test_unsigned_is_refused() -> None:
    """A message without a signature is no HCERT."""
    with pytest.raises(HcertError):
        from_sign1message(Sign1Message(phdr={Algorithm: Es256}, payload=b"\xa0"))


def test_hostile_text_is_refused_before_pycose() -> None:
    """What is no HCERT never reaches pycose."""
    with pytest.raises(HcertError):
        to_sign1message("HC1:NOT ONE")


def test_without_the_extra() -> None:
    """Without pycose the error names the install command."""
    code = (
        "import sys; sys.modules['pycose'] = None\n"
        "from vaxpass_sign.hcert.interop import to_sign1message\n"
        "try: to_sign1message('HC1:')\n"
        "except Exception as e: print(type(e).__name__, e)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("MissingExtraError")
    assert "vaxpass-sign[interop]" in done.stdout


def _record():
    from vaxpass_sign.sample import records as sample_records

    return sample_records(1)[0]
