"""From text to Verdict in numbered steps.

1. **Text**: begins with HC1: and is no longer than a QR symbol can hold.
2. **Base45**: RFC 9285.
3. **Inflate**: one whole zlib stream, bounded.
4. **COSE**: bounded CBOR, a COSE_Sign1, CWT claims.
5. **Kid**: the protected header's kid, else the unprotected one's; every DSC that has it is tried.
6. **DSC**: an anchor issued it, where the policy wants that; its key decides on the algorithm, and
   the header must agree.
7. **Signature**: RFC 9052 §4.4, by the DSC's key.
8. **Validity**: iat ≤ at ≤ exp, and the DSC's validity holds ``at``, and iat and exp.
9. **Key usage**: the DSC may sign (digitalSignature) and may sign this kind of entry.
10. **Schema**: the payload is a DCC with exactly one entry.
11. **Revocation**: no store revokes it; where its DSC's key was stolen, it is on the allow-list of
    its kid.

What becomes of a credential that fails one of 8 to 11 is the :mod:`policy's
<vaxpass_sign.check.policy>` to say. Not checked, and listed in the Verdict: entry rules,
that the bearer is the holder, revocation when no store was given or one has expired, and what the
policy leaves out.

Nothing that a step reads is believed before the steps above it are passed; the hcert of a Verdict
that is not valid is there for a person who looks for the cause.
"""

from __future__ import annotations

from datetime import UTC, datetime

from vaxpass_sign.check.codes import unknown_codes
from vaxpass_sign.check.plain import Plain, keeps_schema, read_plain
from vaxpass_sign.check.policy import EU, Demand, Policy
from vaxpass_sign.check.revocation.known import Revocations
from vaxpass_sign.check.steps import (
    StepFailedError,
    as_demanded,
    check_key_usage,
    check_schema,
    find_dscs,
    fitting,
    is_revocation_known,
    judge_revocation,
    judge_validity,
    not_checked,
    signing_dsc,
    valid_detail,
)
from vaxpass_sign.check.trust import TrustStore
from vaxpass_sign.check.verdict import Reason, Verdict
from vaxpass_sign.errors import HcertError, InputError
from vaxpass_sign.hcert import cose, framing
from vaxpass_sign.hcert.claims import decode_claims
from vaxpass_sign.hcert.codec import Hcert
from vaxpass_sign.x509 import Certificate

__all__ = ["moment", "verify"]


def verify(
    text: str,
    trust: TrustStore,
    at: datetime | None = None,
    policy: Policy = EU,
    revocations: Revocations | None = None,
) -> Verdict:
    """Verify an "HC1:" text against a trust store.

    Args:
        at: the moment for which validity is judged, an aware datetime; now when left out.
        policy: what is asked after the signature; :data:`vaxpass_sign.check.policy.POLICIES`.
        revocations: what is known to be revoked, see
            :meth:`vaxpass_sign.check.revocation.Revocations.open`.
    Returns: a Verdict, whatever the text is.
    Raises: InputError when ``at`` has no UTC offset; TrustError when a file of ``revocations`` is
        not sound; nothing on account of the text.
    """
    at = moment(at)
    hcert: Hcert | None = None
    dsc: Certificate | None = None
    try:
        sign1 = cose.parse(framing.unframe(text))  # Steps 1 to 4.
        plain = read_plain(sign1.payload)
        hcert = Hcert(sign1, plain.claims() if plain else decode_claims(sign1.payload))
        candidates = find_dscs(sign1.kid, trust)  # Step 5.
        suitable = fitting(hcert.alg, candidates, trust, policy)  # Step 6.
        dsc = signing_dsc(sign1, suitable)  # Step 7.
        warnings = judge_validity(hcert, dsc, at, policy)  # Step 8.
        warnings += as_demanded(policy.key_usage, check_key_usage, hcert, dsc)  # Step 9.
        warnings += _judge_schema(hcert, plain, policy)  # Step 10.
        if revocations is not None or policy.revocation is Demand.REQUIRED:
            judge_revocation(hcert, dsc, trust, at, revocations, policy)  # Step 11.
    except HcertError as error:
        return Verdict(Reason(error.code), str(error), at, policy=policy.name)
    except StepFailedError as failure:
        return Verdict(failure.reason, failure.detail, at, hcert, dsc, policy=policy.name)
    return Verdict(
        Reason.VALID,
        valid_detail(hcert, dsc, at, policy),
        at,
        hcert,
        dsc,
        not_checked(trust, dsc, policy, is_revocation_known(revocations, at)),
        warnings,
        policy.name,
    )


def _judge_schema(hcert: Hcert, plain: Plain | None, policy: Policy) -> tuple[str, ...]:
    """Step 10, as the policy wants it; its warnings, and those of the codes."""
    if policy.schema is Demand.OFF:
        return ()
    if plain and keeps_schema(plain):
        return plain.warnings
    return as_demanded(policy.schema, check_schema, hcert) or unknown_codes(hcert.payload or {})


def moment(at: datetime | None) -> datetime:
    """The moment for which validity is judged, in UTC; now for None.

    Raises: InputError when ``at`` has no UTC offset or no year in UTC.
    """
    if at is None:
        return datetime.now(UTC)
    if at.utcoffset() is None:
        raise InputError("at: found a datetime without a UTC offset, expected an aware one")
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise InputError("at: found a moment outside the years 1 to 9999 in UTC") from None
