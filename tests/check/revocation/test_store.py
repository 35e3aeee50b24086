"""Whether a credential is revoked, and whether a stolen key honestly signed it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cbor2
import pytest

from issuing import AT, RECORD, dsc, make_issuer, private_key, sign_dsc, signer_of, trust
from vaxpass_sign import inspect, verify
from vaxpass_sign.check.revocation import (
    AllowList,
    HashType,
    RevocationStore,
    Scope,
    write_allow_list,
    write_store,
)
from vaxpass_sign.check.revocation.hashes import (
    hash_allowed,
    hash_signature,
    hash_uci,
    hash_whole_signature,
    hashes_of,
)
from vaxpass_sign.check.revocation.store import ALLOWED, REVOKED, kind_of
from vaxpass_sign.check.revocation.table import HEADER, SECTION, digest_of
from vaxpass_sign.errors import InputError, TrustError
from vaxpass_sign.hcert import codec, cose
from vaxpass_sign.hcert.claims import encode_claims

CI = "URN:UVCI:01:VN:ABCDEF#1"
HCERT = inspect(make_issuer().issue(RECORD, uvci=CI))
KID = dsc().kid
OTHER_KID = bytes(range(8))
N_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
MADE, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)


def store_of(folder: Path, *entries: tuple[Scope, list[bytes]]) -> RevocationStore:
    path = folder / "store"
    write_store(path, entries, expires_at=END, created_at=MADE)
    return RevocationStore.open(path)


def turned(hcert: codec.Hcert) -> codec.Hcert:
    """The same with (r, n-s) in the place of (r, s), read from its text."""
    sign1 = hcert.sign1
    s = N_P256 - int.from_bytes(sign1.signature[32:], "big")
    signature = sign1.signature[:32] + s.to_bytes(32, "big")
    text = codec.encode(sign1.protected, sign1.payload, signature)
    assert verify(text, trust(), AT).valid
    return inspect(text)


def signed(
    claims: dict, protected: bytes | None = None, unprotected: dict | None = None
) -> codec.Hcert:
    """What the DSC's key signs when a thief has it; valid, but for its place on a list."""
    header = cose.encode_protected(dsc().alg, KID) if protected is None else protected
    payload = encode_claims(claims)
    (signature,) = signer_of(private_key("dsc")).sign([cose.sig_structure(header, payload)])
    sign1 = cose.parse(b"\xd2" + cbor2.dumps([header, unprotected or {}, payload, signature]))
    return codec.Hcert(sign1, claims)


# --- by which hash ---------------------------------------------------------------------------


@pytest.mark.parametrize("hash_type", HashType)
@pytest.mark.parametrize("kid", [None, KID])
def test_each_type_revokes(tmp_path: Path, hash_type: HashType, kid: bytes | None) -> None:
    entries = hashes_of(HCERT, hash_type)[:1]
    with store_of(tmp_path, (Scope(hash_type, "VN", kid), entries)) as store:
        assert store.revoked(HCERT) is hash_type
        assert store.revoked(inspect(make_issuer().issue(RECORD))) is None
        assert store.scopes == {Scope(hash_type, "VN", kid): 1}


def test_the_first_type_is_the_answer(tmp_path: Path) -> None:
    """UCI, COUNTRYCODEUCI, SIGNATURE, whatever the order in the file and the number of kids."""
    of = {
        hash_type: [
            (Scope(hash_type, "VN", kid), hashes_of(HCERT, hash_type)) for kid in (OTHER_KID, KID)
        ]
        for hash_type in HashType
    }
    left = list(HashType)
    while left:
        with store_of(tmp_path, *(pair for hash_type in left for pair in of[hash_type])) as store:
            assert store.revoked(HCERT) is left.pop(0)


def test_a_hash_counts_for_its_own_type_alone(tmp_path: Path) -> None:
    """A UCI's hash among the SIGNATURE entries revokes nothing."""
    with store_of(tmp_path, (Scope(HashType.SIGNATURE, "VN"), [hash_uci(CI)])) as store:
        assert store.revoked(HCERT) is None


@pytest.mark.parametrize(
    ("entries", "hash_type", "first", "second"),
    [
        (
            [hash_whole_signature(HCERT.sign1.signature)],
            HashType.SIGNATURE,
            HashType.SIGNATURE,
            None,
        ),
        (
            [hash_signature(HCERT.sign1.signature)],
            HashType.SIGNATURE,
            HashType.SIGNATURE,
            HashType.SIGNATURE,
        ),
        ([hash_uci(CI)], HashType.UCI, HashType.UCI, HashType.UCI),
    ],
    ids=["whole", "r", "uci"],
)
def test_the_other_s(tmp_path: Path, entries, hash_type, first, second) -> None:
    """(r, n-s) dodges the hash of the whole signature; r and UCI catch it."""
    with store_of(tmp_path, (Scope(hash_type, "VN", KID), entries)) as store:
        assert store.revoked(HCERT) is first
        assert store.revoked(turned(HCERT)) is second


def test_a_renewal_keeps_its_uvci_and_has_its_own_kid_and_signature(tmp_path: Path) -> None:
    """Revoked for the old kid, the renewal under a new DSC stands; for any kid, it does not."""
    renewed = inspect(make_issuer("second").issue(RECORD, uvci=CI))
    for kid, expected in ((KID, None), (None, HashType.UCI)):
        with store_of(tmp_path, (Scope(HashType.UCI, "VN", kid), [hash_uci(CI)])) as store:
            assert store.revoked(HCERT) is HashType.UCI
            assert store.revoked(renewed) is expected


# --- whom an entry speaks of -----------------------------------------------------------------

CLAIMS = HCERT.claims
OF_LAOS = {**CLAIMS, 1: "LA"}
OF_NOBODY = {claim: value for claim, value in CLAIMS.items() if claim != 1}


@pytest.mark.parametrize(
    ("scope", "claims", "country", "revoked"),
    [
        (("VN", None), CLAIMS, None, True),
        (("VN", None), CLAIMS, "VN", True),
        (("LA", None), CLAIMS, None, False),
        (("LA", KID), CLAIMS, None, False),
        (("VN", OTHER_KID), CLAIMS, None, False),
        (("VN", None), OF_LAOS, None, False),
        # The DSC's country counts beside the iss, which may be anything.
        (("VN", None), OF_LAOS, "VN", True),
        (("LA", None), OF_LAOS, "VN", True),
        (("TH", None), OF_LAOS, "VN", False),
        # Saying nothing is no way out.
        (("VN", None), OF_NOBODY, None, True),
        (("LA", KID), OF_NOBODY, None, True),
        (("LA", OTHER_KID), OF_NOBODY, None, False),
        (("VN", None), OF_NOBODY, "VN", True),
        (("VN", None), {**CLAIMS, 1: "Bộ Y tế"}, None, True),
        (("VN", None), {**CLAIMS, 1: "Bộ Y tế"}, "VN", True),
        (("LA", None), {**CLAIMS, 1: ""}, None, True),
        (("LA", None), {**CLAIMS, 1: "vn"}, "VN", False),
        (("LA", None), OF_NOBODY, "VN", False),
    ],
)
def test_scopes(tmp_path: Path, scope, claims, country, revoked) -> None:
    with store_of(tmp_path, (Scope(HashType.UCI, *scope), [hash_uci(CI)])) as store:
        found = store.revoked(signed(claims), country)
        assert found is (HashType.UCI if revoked else None)


def test_an_answer_for_one_country_is_not_another_ones(tmp_path: Path) -> None:
    """Whom to ask is kept for each issuer, DSC's country and kid, and never mixed up."""
    entries = [
        (Scope(HashType.UCI, "VN"), [hash_uci(CI)]),
        (Scope(HashType.SIGNATURE, "TH"), [bytes(16)]),
    ]
    hcert = signed(OF_LAOS)
    with store_of(tmp_path, *entries) as store:
        for _ in range(2):
            for country, found in ((None, None), ("VN", HashType.UCI), ("TH", None), ("", None)):
                assert store.revoked(hcert, country) is found
            assert store.revoked(HCERT) is HashType.UCI


def test_what_is_kept_of_issuers_is_small(tmp_path: Path) -> None:
    """Anybody can write a long iss; whom to ask is remembered for countries alone."""
    with store_of(tmp_path, (Scope(HashType.UCI, "VN"), [hash_uci(CI)])) as store:
        for number in range(10):
            claims = HCERT.claims | {1: f"{number}" * 10_000}
            assert store.revoked(replace(HCERT, claims=claims)) is HashType.UCI
        assert len(store._asked) == 1


def test_a_kid_that_its_holder_may_write_is_not_believed(tmp_path: Path) -> None:
    """One key with two DSCs, the kid unprotected: changing it dodges nothing."""
    second = sign_dsc("dsc", serial=77)
    assert second.kid != KID
    header = cbor2.dumps({1: -7})
    ours = signed(CLAIMS, header, {4: KID})
    changed = replace(ours, sign1=ours.sign1._replace(kid=second.kid))
    text = (
        "HC1:"
        + __import__("base45")
        .b45encode(
            __import__("zlib").compress(
                b"\xd2"
                + cbor2.dumps([header, {4: second.kid}, ours.sign1.payload, ours.sign1.signature])
            )
        )
        .decode()
    )
    assert verify(text, trust(dsc(), second), AT).valid
    with store_of(tmp_path, (Scope(HashType.UCI, "VN", KID), [hash_uci(CI)])) as store:
        assert store.revoked(ours) is HashType.UCI
        assert store.revoked(changed) is HashType.UCI
        assert store.revoked(inspect(text)) is HashType.UCI


def test_whatever_the_claims_are(tmp_path: Path) -> None:
    with store_of(tmp_path, *((Scope(t, "VN"), [bytes(16)]) for t in HashType)) as store:
        for claims in (
            {},
            {1: "VN"},
            {1: "VN", -260: 7},
            {1: "\ud800", -260: {1: {"v": [{"ci": "x"}]}}},
        ):
            assert store.revoked(replace(HCERT, claims=claims)) is None


def test_entries_come_in_any_order_and_scopes_again_and_again(tmp_path: Path) -> None:
    a, b = Scope(HashType.UCI, "VN"), Scope(HashType.SIGNATURE, "LA", KID)
    entries = [(a, [b"\2" * 16]), (b, [b"\1" * 16]), (a, [b"\1" * 16, b"\2" * 16]), (b, [])]
    with store_of(tmp_path, *entries) as store:
        assert store.scopes == {a: 2, b: 1}
        assert store.entries == 3
        assert [store.holds(s, bytes([n]) * 16) for s in (a, b) for n in (1, 2)] == [
            True,
            True,
            True,
            False,
        ]


def test_times_and_staleness(tmp_path: Path) -> None:
    """Silence ends with the store; what it revokes stays revoked."""
    with store_of(tmp_path, (Scope(HashType.UCI, "VN"), [hash_uci(CI)])) as store:
        assert (store.created_at, store.expires_at) == (MADE, END)
        assert not store.stale(END - timedelta(seconds=1))
        assert store.stale(END)
        assert store.revoked(HCERT) is HashType.UCI


def test_an_entry_of_another_length(tmp_path: Path) -> None:
    with store_of(tmp_path, (Scope(HashType.UCI, "VN"), [bytes(16)])) as store:
        for scope in (Scope(HashType.UCI, "VN"), Scope(HashType.UCI, "LA")):
            with pytest.raises(InputError, match="16"):
                store.holds(scope, bytes(15))


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, b"\0"), (0, b"\x09"), (4, b"\xff\xffxx"), (4, b"vn\0\0"), (4, b"V\0N\0"), (4, b"VN\n\0")],
)
def test_a_section_of_nobody(tmp_path: Path, at: int, value: bytes) -> None:
    store_of(tmp_path, (Scope(HashType.UCI, "VN"), [bytes(16)])).close()
    data = bytearray((tmp_path / "store").read_bytes())
    start = len(data) - SECTION.size + at
    data[start : start + len(value)] = value
    data[HEADER.size - 32 : HEADER.size] = digest_of(bytes(data))
    (tmp_path / "bad").write_bytes(data)
    with pytest.raises(TrustError, match=r"bad: found a section"):
        RevocationStore.open(tmp_path / "bad")


def test_what_kind_a_file_is(tmp_path: Path) -> None:
    store_of(tmp_path, (Scope(HashType.UCI, "VN"), [bytes(16)])).close()
    allow_list_of(tmp_path, HCERT).close()
    assert kind_of(tmp_path / "store") == REVOKED
    assert kind_of(str(tmp_path / "allowed")) == ALLOWED
    data = (tmp_path / "store").read_bytes()
    (tmp_path / "short").write_bytes(data[: HEADER.size - 1])
    (tmp_path / "other").write_bytes(b"HC1:" + data[4:])
    (tmp_path / "new").write_bytes(data[:8] + b"\2\0" + data[10:])
    (tmp_path / "third").write_bytes(data[:10] + b"\3\0" + data[12:])
    for name in ("short", "other", "new", "third", "missing", "."):
        with pytest.raises(TrustError, match=r"expected|use the program") as caught:
            kind_of(tmp_path / name)
        assert str(tmp_path) in str(caught.value)


# --- the allow-list --------------------------------------------------------------------------


def allow_list_of(folder: Path, *hcerts: codec.Hcert, kid: bytes = KID) -> AllowList:
    path = folder / "allowed"
    write_allow_list(
        path, kid, (hash_allowed(h.sign1) for h in hcerts), expires_at=END, created_at=MADE
    )
    return AllowList.open(path)


def test_what_was_honestly_signed_counts_and_nothing_else_does(tmp_path: Path) -> None:
    """A thief signs what is valid in every other way, with any date, and is not on the list."""
    with allow_list_of(tmp_path, HCERT) as allowed:
        assert allowed.kid == KID
        assert allowed.permits(HCERT)
        for claims in (CLAIMS, {**CLAIMS, 6: CLAIMS[6] - 1}, {**CLAIMS, 4: CLAIMS[4] - 1}):
            forged = signed(claims)
            text = codec.encode(
                forged.sign1.protected, forged.sign1.payload, forged.sign1.signature
            )
            assert verify(text, trust(), AT).valid
            assert not allowed.permits(forged)
        assert not allowed.permits(turned(HCERT))
        assert allowed.permits(inspect(make_issuer("second").issue(RECORD)))


def test_an_empty_list_permits_nothing(tmp_path: Path) -> None:
    """A key that was stolen before it signed anything."""
    with allow_list_of(tmp_path) as allowed:
        assert (allowed.kid, allowed.entries) == (KID, 0)
        assert not allowed.permits(HCERT)
        allowed.check_order()


def test_the_same_r_is_not_enough(tmp_path: Path) -> None:
    """Who has the key can sign another message with the same nonce, so with the same r."""
    same_r = replace(
        HCERT,
        sign1=HCERT.sign1._replace(
            payload=b"other", signature=HCERT.sign1.signature[:32] + bytes(32)
        ),
    )
    assert hash_signature(same_r.sign1.signature) == hash_signature(HCERT.sign1.signature)
    with allow_list_of(tmp_path, HCERT) as allowed:
        assert not allowed.permits(same_r)


def test_neither_file_passes_for_the_other(tmp_path: Path) -> None:
    store_of(tmp_path, (Scope(HashType.UCI, "VN"), [bytes(16)])).close()
    allow_list_of(tmp_path, HCERT).close()
    with pytest.raises(TrustError, match="kind 2"):
        RevocationStore.open(tmp_path / "allowed")
    with pytest.raises(TrustError, match="kind 1"):
        AllowList.open(tmp_path / "store")


def test_a_kid_has_eight_bytes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="8"):
        write_allow_list(tmp_path / "x", b"short", [], expires_at=END, created_at=MADE)
