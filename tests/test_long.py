"""What takes minutes: exhaustive forms of promises that `make test` samples.

Each test here has its seeded sample in the file that is named beside it.
"""

from __future__ import annotations

import random

import base45 as other
import cbor2
import pytest

from issuing import AT, dsc, make_issuer, trust
from vaxpass_sign import inspect, verify
from vaxpass_sign.errors import HcertError
from vaxpass_sign.hcert import codec, cose, framing
from vaxpass_sign.hcert.columns import Columns
from vaxpass_sign.hcert.faults import Fault
from vaxpass_sign.record.uvci import random_uvci
from vaxpass_sign.sample import records

pytestmark = pytest.mark.long


@pytest.mark.parametrize("key_name", ["dsc", "rsa dsc"])
def test_every_bit_of_many_credentials(key_name: str) -> None:
    """No change of one bit of 12 zlib streams is valid with another payload.

    The sample is tests/check/test_verify.py's test_no_changed_byte_is_valid_with_another_payload.
    """
    issuer, store = make_issuer(key_name), trust(dsc(key_name))
    for record in records(12, seed=11):
        text = issuer.issue(record)
        stream, payload = other.b45decode(text[4:]), inspect(text).sign1.payload
        for bit in range(len(stream) * 8):
            changed = bytearray(stream)
            changed[bit >> 3] ^= 1 << (bit & 7)
            verdict = verify("HC1:" + other.b45encode(bytes(changed)).decode(), store, at=AT)
            assert not verdict or verdict.hcert.sign1.payload == payload


def test_every_character_of_a_credential() -> None:
    """No character of a text can be another one and the payload differ.

    The sample is tests/check/test_verify.py's hypothesis test of one changed character.
    """
    text = make_issuer().issue(records(1)[0])
    payload = inspect(text).sign1.payload
    for place in range(len(text)):
        for character in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:":
            verdict = verify(text[:place] + character + text[place + 1 :], trust(), at=AT)
            assert not verdict or verdict.hcert.sign1.payload == payload


def test_columns_equal_one_at_a_time_for_many() -> None:
    """20,000 records give the same payloads and texts by columns as one at a time.

    The sample is tests/hcert/test_columns.py's test_same_bytes_as_one_at_a_time.
    """
    rows = records(20_000, seed=12)
    issued = make_issuer().issue_columns(
        Columns.from_records(rows, [random_uvci("VN") for _ in rows])
    )
    for text in issued.texts:
        sign1 = codec.decode(text).sign1
        assert codec.encode(sign1.protected, sign1.payload, sign1.signature) == text
        assert cbor2.dumps(cbor2.loads(sign1.payload), canonical=True) == sign1.payload


def test_mutated_messages() -> None:
    """200,000 mutated messages are decoded, or refused with an HcertError.

    The sample is tests/hcert/test_codec.py's test_any_mutation_of_a_message.
    """
    rng = random.Random(13)
    sign1 = inspect(make_issuer().issue(records(1)[0])).sign1
    message = cose.encode_sign1(sign1.protected, sign1.payload, sign1.signature)
    for _ in range(200_000):
        changed = bytearray(message)
        for _ in range(rng.choice((1, 2, 5, 20))):
            place = rng.randrange(len(changed))
            kind = rng.randrange(4)
            if kind == 0:
                changed[place] = rng.randrange(256)
            elif kind == 1:
                del changed[place : place + rng.randrange(1, 4)]
            elif kind == 2:
                changed[place:place] = rng.randbytes(rng.randrange(1, 4))
            else:
                changed[place] = rng.choice(
                    b"\x1b\x3b\x5b\x5f\x7b\x7f\x9b\x9f\xbb\xbf\xc2\xd8\xf9\xfb\xff"
                )
        try:
            codec.decode("HC1:" + other.b45encode(framing.stored(bytes(changed))).decode())
        except HcertError as error:
            assert error.code in set(Fault)  # noqa: PT017
