"""What a policy makes of a credential that fails a step, one text at a time and many at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from check.test_verify import CLAIMS, TEST_ENTRY, TEXT, as_kind, dcc, signed, with_signature
from issuing import AT, csca, dsc, private_key, sign_csca, sign_dsc, signer_of, trust
from vaxpass_sign import verify
from vaxpass_sign.check import POLICIES, Demand, MissingExp, NotChecked, Policy, Reason, TrustStore
from vaxpass_sign.check.many import verify_texts
from vaxpass_sign.check.policy import policy_named
from vaxpass_sign.errors import InputError
from vaxpass_sign.x509 import Certificate, Subject, dsc_to_sign

OFF, OPTIONAL, REQUIRED = Demand.OFF, Demand.OPTIONAL, Demand.REQUIRED
LAX = Policy("lax", OFF, OFF, OFF, OFF, OFF, OFF, timedelta(days=1), MissingExp.DSC_END)
STRICT = replace(POLICIES["strict"], revocation=OPTIONAL)
"""test_revocation.py has what it says of revocation."""
SECONDS = int(AT.timestamp())

EXPIRED = signed(CLAIMS | {4: SECONDS - 60})
EARLY = signed(CLAIMS | {6: SECONDS + 60})
NO_EXP = signed({key: value for key, value in CLAIMS.items() if key != 4})
NAN_EXP = signed(CLAIMS | {4: float("nan")})
BEYOND = signed(CLAIMS | {4: int(dsc().not_after.timestamp()) + 1})
BEFORE = signed(CLAIMS | {6: int(dsc().not_before.timestamp()) - 1})
NO_DCC = signed(CLAIMS | {-260: {3: {}}})
BROKEN = signed(dcc(dob="yesterday"))
A_TEST = signed(as_kind("t", TEST_ENTRY))

# The text, the field of the policy, and the reason of who demands it.
DEMANDED = [
    ("expired", EXPIRED, "validity", Reason.EXPIRED),
    ("not yet valid", EARLY, "validity", Reason.NOT_YET_VALID),
    ("no exp", NO_EXP, "validity", Reason.NO_EXPIRY),
    ("exp NaN", NAN_EXP, "validity", Reason.TIME_UNREADABLE),
    ("exp beyond the DSC", BEYOND, "within_dsc", Reason.BEYOND_DSC),
    ("iat before the DSC", BEFORE, "within_dsc", Reason.BEYOND_DSC),
    ("a DSC for vaccinations, a test", A_TEST, "key_usage", Reason.DSC_ENTRY_KIND),
    ("no DCC", NO_DCC, "schema", Reason.NO_EU_DCC),
    ("a broken DCC", BROKEN, "schema", Reason.SCHEMA),
]


def judged(text: str, policy: Policy, store: TrustStore | None = None):
    """The Verdict, which is the same among many."""
    store = trust() if store is None else store
    verdict = verify(text, store, AT, policy)
    assert verify_texts([TEXT, text], store, AT, policy)[1] == verdict
    assert verdict.policy == policy.name
    return verdict


@pytest.mark.parametrize(
    ("text", "field", "reason"), [d[1:] for d in DEMANDED], ids=[d[0] for d in DEMANDED]
)
def test_required_optional_off(text: str, field: str, reason: Reason) -> None:
    """Not valid; valid with a warning that has the reason; valid and listed as not checked."""
    exact = replace(LAX, missing_exp=MissingExp.INVALID, clock_skew=timedelta(0))
    assert judged(text, replace(exact, **{field: REQUIRED})).reason is reason
    verdict = judged(text, replace(exact, **{field: OPTIONAL}))
    assert verdict.valid
    [warning] = verdict.warnings
    assert warning.endswith(f"[{reason}]")
    verdict = judged(text, LAX)
    assert verdict.valid
    assert verdict.warnings == ()
    assert NotChecked(field) in verdict.not_checked


def test_what_a_good_one_says_under_each_policy() -> None:
    """A good credential is valid under all of them; only what is off is not checked."""
    anchored = TrustStore([dsc()], anchored=True)
    always = {NotChecked.HOLDER, NotChecked.REVOCATION, NotChecked.RULES}
    for policy in (STRICT, *list(POLICIES.values())[1:]):
        verdict = judged(TEXT, policy, anchored)
        assert verdict.valid
        assert set(verdict.not_checked) == always
        assert verdict.warnings == ()
    verdict = judged(TEXT, LAX, anchored)
    assert set(verdict.not_checked) == set(NotChecked)


@pytest.mark.parametrize("policy", [LAX, *POLICIES.values()], ids=lambda policy: policy.name)
def test_no_policy_forgives_a_signature(policy: Policy) -> None:
    """Steps 1 to 7 can't be left out."""
    store = TrustStore([dsc()], anchored=True)
    forged = with_signature(lambda r, s: s + r)
    assert judged(forged, policy, store).reason is Reason.SIGNATURE
    assert judged(TEXT, policy, TrustStore([sign_dsc()], anchored=True)).reason in (
        Reason.UNKNOWN_KID, Reason.SIGNATURE,
    )  # fmt: skip


def test_clock_skew() -> None:
    """A clock that is off by the skew is forgiven to the second, for the HCERT and for the DSC."""
    policy = replace(POLICIES["eu"], clock_skew=timedelta(seconds=60))
    for text, late in ((EXPIRED, Reason.EXPIRED), (EARLY, Reason.NOT_YET_VALID)):
        assert judged(text, policy).valid
        assert judged(text, replace(policy, clock_skew=timedelta(seconds=59))).reason is late
    for change in (
        {"not_before": AT + timedelta(seconds=60)},
        {"not_after": AT - timedelta(minutes=1)},
    ):
        certificate = sign_dsc(**change)
        text = signed(CLAIMS, certificate=certificate)
        store = trust(certificate)
        assert judged(text, replace(policy, within_dsc=OFF), store).valid
        less = replace(policy, clock_skew=timedelta(seconds=59))
        assert judged(text, less, store).reason in (Reason.DSC_NOT_YET_VALID, Reason.DSC_EXPIRED)


@pytest.mark.parametrize("skew", [timedelta(seconds=-1), timedelta(days=1, seconds=1)])
def test_a_skew_that_judges_nothing(skew: timedelta) -> None:
    """A negative one, or more than a day, is an error of the caller."""
    with pytest.raises(InputError, match="expected 0 to 1 day"):
        replace(POLICIES["eu"], clock_skew=skew)


def test_a_missing_exp_ends_with_the_dsc() -> None:
    """Under who: valid while the DSC is, and the Verdict says until when."""
    certificate = sign_dsc(not_after=AT + timedelta(days=1))
    text = signed(
        {key: value for key, value in CLAIMS.items() if key != 4}, certificate=certificate
    )
    who = POLICIES["who"]
    verdict = verify(text, trust(certificate), AT, who)
    assert verdict.valid
    assert verdict.detail.endswith(f"until {certificate.not_after:%Y-%m-%dT%H:%M:%SZ}")
    late = AT + timedelta(days=1, minutes=6)
    assert verify(text, trust(certificate), late, who).reason is Reason.DSC_EXPIRED
    assert verify(text, trust(certificate), AT).reason is Reason.NO_EXPIRY


def test_strict_wants_a_csca(tmp_path) -> None:
    """Without anchors strict believes nobody; with them it believes who an anchor issued."""
    (tmp_path / "dsc.der").write_bytes(dsc().der)
    strict = STRICT
    verdict = judged(TEXT, strict, TrustStore.load(tmp_path))
    assert verdict.reason is Reason.DSC_UNTRUSTED
    assert "--anchor" in verdict.detail
    assert judged(TEXT, strict, TrustStore.load(tmp_path, anchors=[csca()])).valid


def strangers_dsc() -> Certificate:
    """A DSC for the same key as the good one, which another CSCA issued."""
    draft = dsc_to_sign(
        private_key("dsc").public_key(),
        Subject("VN", "Another ministry", "DSC"),
        csca=sign_csca("another csca"),
        not_before=AT - timedelta(days=90),
        not_after=AT + timedelta(days=900),
    )
    signer = signer_of(private_key("another csca"))
    return Certificate.from_bytes(draft.finish(signer.sign([draft.tbs])[0]))


def test_a_dsc_of_another_csca(tmp_path) -> None:
    """What it signed is not valid, and the Verdict says that no anchor issued it."""
    stranger = strangers_dsc()
    (tmp_path / "good.der").write_bytes(dsc().der)
    (tmp_path / "stranger.der").write_bytes(stranger.der)
    store = TrustStore.load(tmp_path, anchors=[csca()])
    assert list(store) == [dsc()]
    assert judged(TEXT, POLICIES["eu"], store).valid
    for policy in (LAX, *POLICIES.values()):
        verdict = judged(signed(certificate=stranger), policy, store | store)
        assert verdict.reason is Reason.DSC_UNTRUSTED
        assert stranger.kid.hex() in verdict.detail


def test_a_refused_dsc_with_the_kid_of_a_good_one() -> None:
    """Kids collide: it must not take the good one's place."""
    store = TrustStore([dsc()], anchored=True, refused={dsc().kid: "another's"})
    assert store.why_refused(dsc().kid) is None
    assert judged(TEXT, STRICT, store).valid


def test_names() -> None:
    """The shipped ones by name; any other name is an error that lists them."""
    assert [policy_named(name).name for name in POLICIES] == ["strict", "eu", "who", "vietnam"]
    with pytest.raises(InputError, match="expected one of strict, eu, who, vietnam"):
        policy_named("lenient")
