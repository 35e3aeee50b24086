"""Batches for the gateway: split the same way each time, and what to publish of a credential."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuing import NOW, RECORD, dsc, make_issuer
from vaxpass_sign import inspect
from vaxpass_sign.check.revocation import HashType, RevocationStore, Scope, write_store
from vaxpass_sign.check.revocation.batch import read_batch
from vaxpass_sign.check.revocation.hashes import (
    hash_country_uci,
    hash_signature,
    hash_uci,
    hash_whole_signature,
)
from vaxpass_sign.errors import InputError
from vaxpass_sign.revocation import make_batches, published_hashes

END = NOW + timedelta(days=30)
CI = "URN:UVCI:01:VN:ABCDEF#1"
HCERT = inspect(make_issuer().issue(RECORD, uvci=CI))
SCOPES = [
    Scope(HashType.UCI, "VN"),
    Scope(HashType.SIGNATURE, "VN", bytes(8)),
    Scope(HashType.UCI, "VN", bytes(8)),
    Scope(HashType.UCI, "LA"),
]


@given(
    st.lists(
        st.tuples(st.sampled_from(SCOPES), st.lists(st.integers(0, 3000), max_size=30)), max_size=8
    ),
    st.randoms(use_true_random=False),
)
def test_nothing_is_lost_and_the_order_does_not_matter(entries, rng: random.Random) -> None:
    given_ = [(scope, [n.to_bytes(16, "big") for n in numbers]) for scope, numbers in entries]
    batches = make_batches(given_, expires_at=END, now=NOW)
    expected = {(scope, entry) for scope, some in given_ for entry in some}
    found = [(batch.scope, entry) for batch in batches for entry in batch.entries]
    assert len(found) == len(expected)
    assert set(found) == expected
    rng.shuffle(given_)
    assert make_batches(given_, expires_at=END, now=NOW) == batches


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(0, []), (1, [1]), (1000, [1000]), (1001, [1000, 1]), (2500, [1000, 1000, 500])],
)
def test_at_most_a_thousand(count: int, sizes: list[int]) -> None:
    entries = [n.to_bytes(16, "big") for n in range(count)]
    batches = make_batches([(SCOPES[0], entries), (SCOPES[0], entries)], expires_at=END, now=NOW)
    assert [len(batch.entries) for batch in batches] == sizes
    assert [entry for batch in batches for entry in batch.entries] == entries


def test_expiry() -> None:
    for end in (NOW, NOW - timedelta(days=1), END.replace(tzinfo=None)):
        with pytest.raises(InputError):
            make_batches([], expires_at=end, now=NOW)


def test_what_is_published() -> None:
    """UCI and r for the credential's kid; the whole signature and any kid only when asked for."""
    signature, kid = HCERT.sign1.signature, dsc().kid
    assert list(published_hashes(HCERT, "VN")) == [
        (Scope(HashType.UCI, "VN", kid), [hash_uci(CI)]),
        (Scope(HashType.SIGNATURE, "VN", kid), [hash_signature(signature)]),
    ]
    asked = published_hashes(HCERT, "VN", tuple(HashType), any_kid=True, whole_signature=True)
    assert list(asked) == [
        (Scope(HashType.UCI, "VN"), [hash_uci(CI)]),
        (Scope(HashType.COUNTRYCODEUCI, "VN"), [hash_country_uci("VN", CI)]),
        (
            Scope(HashType.SIGNATURE, "VN"),
            [hash_signature(signature), hash_whole_signature(signature)],
        ),
    ]


def test_from_a_credential_to_its_refusal(tmp_path) -> None:
    """Published, split, written as JSON, read, stored and asked."""
    other = inspect(make_issuer().issue(RECORD))
    batches = make_batches(published_hashes(HCERT, "VN"), expires_at=END, now=NOW)
    read = [read_batch(batch.to_json(), at=NOW) for batch in batches]
    path = tmp_path / "store"
    write_store(path, ((b.scope, b.entries) for b in read), expires_at=END, created_at=NOW)
    with RevocationStore.open(path) as store:
        assert store.revoked(HCERT) is HashType.UCI
        assert store.revoked(other) is None
