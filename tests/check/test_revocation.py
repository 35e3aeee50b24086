"""Step 11: what was revoked since, what a stolen key signed, and what is not known."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from check.revocation.test_store import CI, END, HCERT, KID, MADE, signed, turned
from issuing import AT, RECORD, dsc, make_issuer, sign_dsc, trust
from vaxpass_sign import verify
from vaxpass_sign.check import POLICIES, Demand, NotChecked, Reason, Revocations, Step, TrustStore
from vaxpass_sign.check.many import verify_texts
from vaxpass_sign.check.revocation import HashType, Scope, write_allow_list, write_store
from vaxpass_sign.check.revocation.hashes import hash_allowed, hash_uci, hashes_of
from vaxpass_sign.check.revocation.table import HEADER
from vaxpass_sign.errors import TrustError
from vaxpass_sign.hcert import codec

TEXT = codec.encode(HCERT.sign1.protected, HCERT.sign1.payload, HCERT.sign1.signature)
ANOTHER = make_issuer().issue(RECORD)
EU = POLICIES["eu"]
REQUIRED = replace(EU, name="demanding", revocation=Demand.REQUIRED)
OFF = replace(EU, name="deaf", revocation=Demand.OFF)


def text_of(hcert: codec.Hcert) -> str:
    return codec.encode(hcert.sign1.protected, hcert.sign1.payload, hcert.sign1.signature)


def store_with(path: Path, hash_type: HashType = HashType.UCI, **changes: object) -> Path:
    """A store that revokes HCERT."""
    scope = Scope(hash_type, "VN", KID)
    times = {"expires_at": END, "created_at": MADE} | changes
    write_store(path, [(scope, hashes_of(HCERT, hash_type)[:1])], **times)
    return path


def list_with(path: Path, *hcerts: codec.Hcert, kid: bytes = KID) -> Path:
    entries = [hash_allowed(hcert.sign1) for hcert in hcerts]
    write_allow_list(path, kid, entries, expires_at=END, created_at=MADE)
    return path


def judged(text: str, revocations: Revocations | None, policy=EU, store: TrustStore | None = None):
    """The Verdict, which is the same among many."""
    store = trust() if store is None else store
    verdict = verify(text, store, AT, policy, revocations)
    assert verify_texts([ANOTHER, text, TEXT], store, AT, policy, revocations)[1] == verdict
    return verdict


@pytest.mark.parametrize("hash_type", HashType)
@pytest.mark.parametrize("policy", [*POLICIES.values(), REQUIRED], ids=lambda policy: policy.name)
def test_revoked(tmp_path: Path, hash_type: HashType, policy) -> None:
    """It is not valid, whoever asks, and another one of the same issuer is."""
    anchored = TrustStore([dsc()], anchored=True)
    with Revocations.open([store_with(tmp_path / "a.vxrev", hash_type)]) as revocations:
        verdict = judged(TEXT, revocations, policy, anchored)
        assert (verdict.reason, verdict.step) == (Reason.REVOKED, Step.REVOCATION)
        assert hash_type in verdict.detail
        assert CI not in verdict.explain()
        assert verdict.dsc == dsc()
        other = judged(ANOTHER, revocations, policy, anchored)
        assert other.valid
        assert NotChecked.REVOCATION not in other.not_checked


def test_the_other_s_is_revoked_too(tmp_path: Path) -> None:
    """(r, n-s) verifies as well and does not escape an entry over the signature."""
    path = store_with(tmp_path / "a.vxrev", HashType.SIGNATURE)
    with Revocations.open([path]) as revocations:
        assert judged(text_of(turned(HCERT)), revocations).reason is Reason.REVOKED


def test_what_was_revoked_stays_so(tmp_path: Path) -> None:
    """A store that has expired still revokes; its silence is none."""
    path = store_with(tmp_path / "a.vxrev", expires_at=AT)
    with Revocations.open([path]) as revocations:
        assert judged(TEXT, revocations, EU).reason is Reason.REVOKED
        assert judged(TEXT, revocations, REQUIRED).reason is Reason.REVOKED
        silent = judged(ANOTHER, revocations, EU)
        assert silent.valid
        assert NotChecked.REVOCATION in silent.not_checked
        verdict = judged(ANOTHER, revocations, REQUIRED)
        assert verdict.reason is Reason.REVOCATION_UNKNOWN
        assert f"expired at {AT:%Y-%m-%dT%H:%M:%SZ}: get a newer one" in verdict.detail


def test_the_last_second_of_a_store(tmp_path: Path) -> None:
    """Until it expires its silence counts."""
    path = store_with(tmp_path / "a.vxrev", expires_at=AT + timedelta(seconds=1))
    with Revocations.open([path]) as revocations:
        assert judged(ANOTHER, revocations, REQUIRED).valid


@pytest.mark.parametrize("revocations", [None, Revocations()], ids=["nothing", "an empty one"])
def test_nothing_is_known(revocations: Revocations | None) -> None:
    """Who demands an answer gets none; for others it is listed as not checked."""
    verdict = judged(TEXT, revocations, REQUIRED)
    assert verdict.reason is Reason.REVOCATION_UNKNOWN
    assert "found none: give one (--revocation)" in verdict.detail
    lenient = judged(TEXT, revocations)
    assert lenient.valid
    assert NotChecked.REVOCATION in lenient.not_checked


def test_off_asks_nobody(tmp_path: Path) -> None:
    """What is revoked is valid then, and the Verdict says that this was not checked."""
    paths = [store_with(tmp_path / "a.vxrev"), list_with(tmp_path / "b.vxrev")]
    with Revocations.open(paths) as revocations:
        verdict = judged(TEXT, revocations, OFF)
    assert verdict.valid
    assert NotChecked.REVOCATION in verdict.not_checked


def test_a_stolen_key(tmp_path: Path) -> None:
    """What it honestly signed counts, and nothing else: neither a copy with other dates, nor n-s."""
    with Revocations.open([list_with(tmp_path / "a.vxrev", HCERT)]) as revocations:
        assert judged(TEXT, revocations).valid
        forged = text_of(signed(HCERT.claims | {6: HCERT.claims[6] - 86_400}))
        for text in (ANOTHER, forged, text_of(turned(HCERT))):
            assert judged(text, None).valid
            verdict = judged(text, revocations)
            assert (verdict.reason, verdict.step) == (Reason.KEY_REVOKED, Step.REVOCATION)
            assert KID.hex() in verdict.detail
        # An allow-list says nothing of what its issuer revoked since.
        assert judged(TEXT, revocations, REQUIRED).reason is Reason.REVOCATION_UNKNOWN


def test_a_stolen_key_with_two_dscs(tmp_path: Path) -> None:
    """Its thief can't sign under the kid that has no list; with one, the honest ones count again."""
    renewed = sign_dsc()
    assert renewed.public_key == dsc().public_key
    both = TrustStore([dsc(), renewed, sign_dsc("another dsc")])
    honest, forged = (make_issuer(dsc=renewed).issue(RECORD) for _ in range(2))
    foreign = make_issuer(
        "another dsc", dsc=next(d for d in both if d.public_key != renewed.public_key)
    ).issue(RECORD)
    first = list_with(tmp_path / "a.vxrev", HCERT)
    with Revocations.open([first]) as revocations:
        assert judged(TEXT, revocations, store=both).valid
        assert judged(foreign, revocations, store=both).valid
        for text in (honest, forged):
            verdict = judged(text, revocations, store=both)
            assert verdict.reason is Reason.KEY_REVOKED
            assert KID.hex() in verdict.detail
            assert renewed.kid.hex() in verdict.detail
            assert judged(text, revocations, OFF, both).valid
    second = list_with(tmp_path / "b.vxrev", codec.decode(honest), kid=renewed.kid)
    with Revocations.open([first, second]) as revocations:
        assert judged(honest, revocations, store=both).valid
        assert judged(TEXT, revocations, store=both).valid
        assert judged(forged, revocations, store=both).reason is Reason.KEY_REVOKED


def test_one_of_several_lists_is_enough(tmp_path: Path) -> None:
    """Two campaigns signed with the key; and another key's list is of no concern."""
    mine, other = list_with(tmp_path / "a.vxrev", HCERT), list_with(tmp_path / "b.vxrev")
    foreign = list_with(tmp_path / "c.vxrev", kid=bytes(8))
    with Revocations.open([tmp_path]) as revocations:
        assert len(revocations.allow_lists) == 3
        assert judged(TEXT, revocations).valid
        assert judged(ANOTHER, revocations).reason is Reason.KEY_REVOKED
    with Revocations.open([foreign]) as revocations:
        assert judged(ANOTHER, revocations).valid
    with Revocations.open([other]) as revocations:
        assert judged(TEXT, revocations).reason is Reason.KEY_REVOKED
    assert mine.exists()


def test_the_country_of_the_dsc_counts(tmp_path: Path) -> None:
    """One that says another country in iss is revoked by its DSC's country."""
    claims = HCERT.claims | {1: "XX"}
    text = text_of(signed(claims))
    write_store(
        tmp_path / "a.vxrev",
        [(Scope(HashType.UCI, "VN"), [hash_uci(CI)])],
        expires_at=END,
        created_at=MADE,
    )
    with Revocations.open([tmp_path]) as revocations:
        assert judged(text, revocations).reason is Reason.REVOKED


def test_a_forged_one_is_forged_first(tmp_path: Path) -> None:
    """Earlier steps give the reason."""
    with Revocations.open([store_with(tmp_path / "a.vxrev")]) as revocations:
        verdict = judged(TEXT, revocations, store=TrustStore([sign_dsc()]))
    assert verdict.reason in (Reason.UNKNOWN_KID, Reason.SIGNATURE)


def test_pickled_it_opens_its_files_again(tmp_path: Path) -> None:
    """So that a worker process has what its coordinator has."""
    paths = [store_with(tmp_path / "a.vxrev"), list_with(tmp_path / "b.vxrev", HCERT)]
    with Revocations.open(paths) as revocations:
        copy = pickle.loads(pickle.dumps(revocations))
    with copy:
        assert (len(copy.stores), len(copy.allow_lists)) == (1, 1)
        assert judged(TEXT, copy).reason is Reason.REVOKED


# --- files that are none -----------------------------------------------------------------------


def test_a_damaged_file_is_found(tmp_path: Path) -> None:
    """One changed byte refuses the file, and the others are closed."""
    good, bad = store_with(tmp_path / "a.vxrev"), tmp_path / "b.vxrev"
    shutil.copy(good, bad)
    data = bytearray(bad.read_bytes())
    data[HEADER.size] ^= 1
    bad.write_bytes(data)
    with pytest.raises(TrustError, match=r"b\.vxrev: found other contents"):
        Revocations.open([tmp_path])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "can't be read: No such file"),
        (lambda path: path.mkdir(), r"found no \.vxrev file"),
        (lambda path: path.write_bytes(b""), "found something else"),
        (lambda path: path.write_bytes(b"VXPREVOC"), "found something else"),
        (lambda path: path.write_text("HC1:" * 100), "found something else"),
    ],
    ids=["missing", "an empty folder", "empty", "cut", "text"],
)
def test_what_is_no_file(tmp_path: Path, make, message: str) -> None:
    """One line that says what was found."""
    path = tmp_path / "there"
    make(path)
    with pytest.raises(TrustError, match=message):
        Revocations.open([path])


def test_too_many_files(tmp_path: Path) -> None:
    """Each would be asked for each credential."""
    path = store_with(tmp_path / "a.vxrev")
    with pytest.raises(TrustError, match="found 1001 revocation files, expected at most 1000"):
        Revocations.open([path] * 1001)


def test_one_expired_store_among_several(tmp_path: Path) -> None:
    """Its silence is missing, so it is not known; what any of them revokes is revoked."""
    old = tmp_path / "old.vxrev"
    write_store(old, [], expires_at=AT, created_at=MADE)
    fresh = store_with(tmp_path / "fresh.vxrev")
    with Revocations.open([old, fresh]) as revocations:
        assert judged(TEXT, revocations).reason is Reason.REVOKED
        assert judged(ANOTHER, revocations, REQUIRED).reason is Reason.REVOCATION_UNKNOWN
    with Revocations.open([fresh]) as revocations:
        assert judged(ANOTHER, revocations, REQUIRED).valid


def test_a_file_that_was_damaged_meanwhile(tmp_path: Path) -> None:
    """Whoever opens it again compares its hash again."""
    path = store_with(tmp_path / "a.vxrev")
    with Revocations.open([path]) as revocations:
        packed = pickle.dumps(revocations)
        data = bytearray(path.read_bytes())
        data[HEADER.size] ^= 1
        path.rename(tmp_path / "mapped")  # what is mapped is not written to
        path.write_bytes(data)
        with pytest.raises(TrustError, match=r"a\.vxrev: found other contents"):
            pickle.loads(packed)
