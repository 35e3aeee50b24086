"""Every one-bit change of fifty signed credentials."""

from __future__ import annotations

import base45 as other

from issuing import AT, dsc, make_issuer, trust
from vaxpass_sign import inspect, sample
from vaxpass_sign.check.many import BatchVerifier
from vaxpass_sign.hcert import base45

KEYS = ("dsc", "rsa dsc")


def flipped(text: str) -> list[str]:
    """The text of each change of one bit of what base45 stands for: headers, payload, signature,
    and the zlib stream around them.
    """
    data = bytearray(base45.decode(text[4:]))
    texts = []
    for place in range(8 * len(data)):
        data[place >> 3] ^= 1 << (place & 7)
        texts.append("HC1:" + other.b45encode(bytes(data)).decode())
        data[place >> 3] ^= 1 << (place & 7)
    return texts


def test_no_changed_bit_is_valid_with_another_payload() -> None:
    """What is valid afterwards says, to the byte, what was signed: bits that no message is made of
    (a stored block's padding) may differ.
    """
    verifier = BatchVerifier(trust(*map(dsc, KEYS)), AT)
    issuers = [make_issuer(key) for key in KEYS]
    tried = valid = 0
    for number, record in enumerate(sample.records(50)):
        text = issuers[number % len(issuers)].issue(record)
        signed = inspect(text).sign1
        assert verifier.verify([text])[0].valid
        for verdict in verifier.verify(flipped(text)):
            tried += 1
            if verdict.valid:
                valid += 1
                assert verdict.hcert.sign1 == signed
    assert tried > 50 * 8 * 300
    assert valid < 50 * 8  # a byte of each at most
