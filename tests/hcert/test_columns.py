"""The columnar encoder gives the same bytes as one at a time, for every record."""

from __future__ import annotations

import random

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import records
from vaxpass_sign.errors import InputError
from vaxpass_sign.hcert import claims, codec, cose
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.hcert.columns import ColumnEncoder, Columns
from vaxpass_sign.record.model import VaccinationRecord

FACTS = {
    "country": "VN",
    "issuer_name": "Bộ Y tế",
    "issued_at_s": 1_768_478_400,
    "expires_at_s": 1_800_014_400,
}


def one_at_a_time(
    record: VaccinationRecord, uvci: str, protected: bytes, signature: bytes
) -> tuple[bytes, bytes, str]:
    payload = claims.encode_claims(claims.record_claims(record, uvci=uvci, **FACTS))
    return (
        payload,
        cose.sig_structure(protected, payload),
        codec.encode(protected, payload, signature),
    )


@settings(deadline=None)
@given(st.lists(records, max_size=12), st.integers(0), st.sampled_from([Alg.ES256, Alg.PS256]))
def test_same_bytes_as_one_at_a_time(rows: list[VaccinationRecord], seed: int, alg: Alg) -> None:
    """Payload, Sig_structure and text are equal for any records, kid and signatures."""
    rng = random.Random(seed)
    protected = cose.encode_protected(alg, rng.randbytes(8))
    signatures = [rng.randbytes(64 if alg is Alg.ES256 else 256) for _ in rows]
    uvcis = [f"URN:UVCI:01:VN:{rng.getrandbits(rng.randrange(8, 129)):X}#A" for _ in rows]
    encoder = ColumnEncoder(protected=protected, **FACTS)
    payloads = encoder.payloads(Columns.from_records(rows, uvcis))
    got = zip(
        payloads,
        encoder.sig_structures(payloads),
        encoder.texts(payloads, signatures),
        strict=True,
    )
    expected = [
        one_at_a_time(record, uvci, protected, signature)
        for record, uvci, signature in zip(rows, uvcis, signatures, strict=True)
    ]
    assert list(got) == expected


@given(records)
def test_payload_is_what_cbor2_says(record: VaccinationRecord) -> None:
    """The payload is cbor2's deterministic encoding of the claims, and decodes to them."""
    mapping = claims.record_claims(record, uvci="URN:UVCI:01:VN:A#B", **FACTS)
    payload = ColumnEncoder(protected=b"", **FACTS).payloads(
        Columns.from_records([record], ["URN:UVCI:01:VN:A#B"])
    )[0]
    assert payload == cbor2.dumps(mapping, canonical=True)
    assert cbor2.loads(payload) == mapping


def test_no_rows() -> None:
    """No rows give nothing."""
    encoder = ColumnEncoder(protected=b"", **FACTS)
    assert encoder.payloads(Columns.from_records([], [])) == []
    assert list(encoder.texts([], [])) == []


def test_columns_of_different_lengths() -> None:
    """Columns that don't belong together are refused."""
    with pytest.raises(InputError, match="different lengths"):
        Columns.from_records([], ["URN:UVCI:01:VN:A#B"])


def test_a_signature_too_few() -> None:
    """A payload without its signature is never framed."""
    encoder = ColumnEncoder(protected=b"\xa0", **FACTS)
    with pytest.raises(ValueError, match="zip"):
        encoder.texts([b"payload"], [])
