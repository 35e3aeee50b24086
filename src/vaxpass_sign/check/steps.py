"""Steps 5 to 11 of verifying, each as a function that says why it failed.

Some of them a :class:`~vaxpass_sign.check.policy.Policy` makes optional or leaves out; that is what
:func:`as_demanded` is for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from vaxpass_sign.check.policy import Demand, MissingExp, Policy
from vaxpass_sign.check.revocation.known import Revocations
from vaxpass_sign.check.schema import check_dcc, entry_kinds
from vaxpass_sign.check.trust import TrustStore
from vaxpass_sign.check.verdict import NotChecked, Reason
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.hcert.claims import CLAIM_EXP, CLAIM_IAT
from vaxpass_sign.hcert.codec import Hcert, as_time, is_time
from vaxpass_sign.hcert.cose import Sign1
from vaxpass_sign.hcert.signature import verify_signature
from vaxpass_sign.x509 import Certificate

__all__ = [
    "StepFailedError",
    "as_demanded",
    "check_key_usage",
    "check_schema",
    "find_dscs",
    "fitting",
    "is_revocation_known",
    "judge_revocation",
    "judge_validity",
    "not_checked",
    "signing_dsc",
    "valid_detail",
]


class StepFailedError(Exception):
    """A step that was not passed; verify() makes a Verdict of it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        self.detail = detail


# --- step 5: the kid -----------------------------------------------------------------------


def find_dscs(kid: bytes | None, trust: TrustStore) -> tuple[Certificate, ...]:
    """Every trusted DSC that has the kid."""
    if kid is None:
        raise StepFailedError(Reason.NO_KID, "found no kid in either header, expected the DSC's")
    candidates = trust.candidates(kid)
    if not candidates:
        if why := trust.why_refused(kid):
            raise StepFailedError(
                Reason.DSC_UNTRUSTED, f"the DSC with kid {kid.hex()} is not an anchor's: {why}"
            )
        raise StepFailedError(
            Reason.UNKNOWN_KID,
            f"found kid {kid.hex()}, which none of the {len(trust)} trusted DSCs has: "
            "update the trust list, or do not believe this credential",
        )
    return candidates


# --- step 6: the DSC and the algorithm -----------------------------------------------------


def fitting(
    alg: Alg | int | None, candidates: Iterable[Certificate], trust: TrustStore, policy: Policy
) -> list[Certificate]:
    """The DSCs to believe whose key signs with the algorithm that the header names."""
    if policy.csca is Demand.REQUIRED:
        candidates = [dsc for dsc in candidates if trust.is_anchored(dsc)]
        if not candidates:
            raise StepFailedError(
                Reason.DSC_UNTRUSTED,
                f"policy {policy.name} wants a CSCA's word for each DSC and found none for this"
                " one: load the trust list with the CSCAs (--anchor)",
            )
    if alg is None:
        raise StepFailedError(
            Reason.NO_ALG, "found no alg in either header, expected ES256 or PS256"
        )
    if not isinstance(alg, Alg):
        raise StepFailedError(
            Reason.ALG_UNKNOWN, f"found alg {alg}, expected -7 (ES256) or -37 (PS256)"
        )
    found = [dsc for dsc in candidates if dsc.alg is alg]
    if not found:
        keys = ", ".join(sorted({dsc.key_description for dsc in candidates}))
        raise StepFailedError(
            Reason.ALG_MISMATCH, f"found alg {alg.name}, but the DSC's key is {keys}"
        )
    return found


# --- step 7: the signature -----------------------------------------------------------------


def signing_dsc(sign1: Sign1, candidates: Iterable[Certificate]) -> Certificate:
    """The DSC whose key made the signature."""
    signed, signature = sign1.sig_structure, sign1.signature
    for dsc in candidates:
        if verify_signature(dsc.public_key, signed, signature):
            return dsc
    raise StepFailedError(
        Reason.SIGNATURE,
        "found a signature that is not the trusted DSC's: the credential was changed or forged",
    )


# --- what a policy makes of a step ---------------------------------------------------------


def as_demanded(demand: Demand, check: Callable[..., None], *facts: Any) -> tuple[str, ...]:
    """Check what is demanded; a warning for an optional step that failed.

    Raises: StepFailedError for one that is required.
    """
    if demand is Demand.OFF:
        return ()
    try:
        check(*facts)
    except StepFailedError as failure:
        if demand is Demand.REQUIRED:
            raise
        return (f"{failure.detail} [{failure.reason}]",)
    return ()


# --- step 8: validity in time --------------------------------------------------------------


def judge_validity(hcert: Hcert, dsc: Certificate, at: datetime, policy: Policy) -> tuple[str, ...]:
    """Step 8, as the policy wants it; its warnings."""
    warnings = as_demanded(policy.validity, check_validity, hcert, dsc, at, policy)
    return warnings + as_demanded(policy.within_dsc, check_within_dsc, hcert, dsc)


def check_validity(hcert: Hcert, dsc: Certificate, at: datetime, policy: Policy) -> None:
    """The moment lies in the HCERT's and in the DSC's validity."""
    exp, iat = hcert.claims.get(CLAIM_EXP), hcert.claims.get(CLAIM_IAT)
    # A comparison with NaN is always False, so a NaN must be found before anything is compared.
    for name, value in (("exp", exp), ("iat", iat)):
        if value is not None and not is_time(value):
            raise StepFailedError(
                Reason.TIME_UNREADABLE, f"found an {name} that is no point in time"
            )
    if exp is None and policy.missing_exp is MissingExp.INVALID:
        raise StepFailedError(
            Reason.NO_EXPIRY, "found no exp, expected one (eu-dcc-hcert-spec §3.3.4)"
        )
    now, skew_s = at.timestamp(), policy.skew_s
    if iat is not None and iat > now + skew_s:
        raise StepFailedError(
            Reason.NOT_YET_VALID,
            f"issued at {_time(hcert.issued_at)}, after {_time(at)}: check the clock",
        )
    # The last second counts as valid, as in the published vectors (RFC 8392 would end it there).
    if exp is not None and exp < now - skew_s:
        raise StepFailedError(
            Reason.EXPIRED, f"expired at {_time(hcert.expires_at)}, checked for {_time(at)}"
        )
    if now + skew_s < dsc.not_before.timestamp():
        raise StepFailedError(
            Reason.DSC_NOT_YET_VALID, f"the DSC is valid from {_time(dsc.not_before)} only"
        )
    if now - skew_s > dsc.not_after.timestamp():
        raise StepFailedError(Reason.DSC_EXPIRED, f"the DSC expired at {_time(dsc.not_after)}")


def check_within_dsc(hcert: Hcert, dsc: Certificate) -> None:
    """iat and exp lie in the DSC's validity; times that are none are another check's matter."""
    exp, iat = hcert.claims.get(CLAIM_EXP), hcert.claims.get(CLAIM_IAT)
    if exp is not None and exp > dsc.not_after.timestamp():
        raise StepFailedError(
            Reason.BEYOND_DSC,
            f"expires at {_time(hcert.expires_at)}, after its DSC at {_time(dsc.not_after)}",
        )
    if iat is not None and iat < dsc.not_before.timestamp():
        raise StepFailedError(
            Reason.BEYOND_DSC,
            f"issued at {_time(hcert.issued_at)}, before its DSC was valid at"
            f" {_time(dsc.not_before)}",
        )


def valid_detail(hcert: Hcert, dsc: Certificate, at: datetime, policy: Policy) -> str:
    """What a valid Verdict says of the DSC and the time."""
    if policy.validity is not Demand.REQUIRED:
        return f"signed by {dsc.subject}; its times do not count"
    return _valid_detail(dsc.subject, at, hcert.claims.get(CLAIM_EXP), dsc.not_after)


@lru_cache(maxsize=256)
def _valid_detail(subject: str, at: datetime, exp: float | None, dsc_end: datetime) -> str:
    end = dsc_end if exp is None else as_time(exp)
    return f"signed by {subject}, valid at {_time(at)} and until {_time(end)}"


def _time(at: datetime | None) -> str:
    if at is None:
        return "an unknown time"
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


# --- step 9: what the DSC may sign ---------------------------------------------------------


def check_key_usage(hcert: Hcert, dsc: Certificate) -> None:
    """The DSC may sign, and may sign this kind of entry."""
    usage = dsc.key_usage
    if dsc.is_ca or (usage is not None and "digitalSignature" not in usage):
        raise StepFailedError(
            Reason.DSC_KEY_USAGE,
            "the certificate may not sign HCERTs: expected a DSC with digitalSignature",
        )
    kinds = entry_kinds(hcert.payload or {})
    if not dsc.entry_kinds.issuperset(kinds):
        refused = [kind for kind in kinds if kind not in dsc.entry_kinds]
        raise StepFailedError(
            Reason.DSC_ENTRY_KIND,
            f"the DSC may sign entries of kind {', '.join(sorted(dsc.entry_kinds))}, "
            f"found {', '.join(refused)}",
        )


# --- step 10: what it says -----------------------------------------------------------------


def check_schema(hcert: Hcert) -> None:
    """The payload is an EU DCC that keeps the schema."""
    dcc = hcert.payload
    if dcc is None:
        raise StepFailedError(
            Reason.NO_EU_DCC, "found no EU DCC (claim -260, entry 1), expected one"
        )
    fault = check_dcc(dcc)
    if fault:
        raise StepFailedError(Reason.SCHEMA, fault)


# --- step 11: what became of it since ------------------------------------------------------


def judge_revocation(  # noqa: PLR0913, PLR0917 (each is a part of the question)
    hcert: Hcert,
    dsc: Certificate,
    trust: TrustStore,
    at: datetime,
    revocations: Revocations | None,
    policy: Policy,
) -> None:
    """It was not revoked, nor its key stolen; and the policy may want that this is known."""
    if policy.revocation is Demand.OFF:
        return
    if revocations is not None:
        if not revocations.honest(hcert):
            raise StepFailedError(
                Reason.KEY_REVOKED,
                f"the key with kid {dsc.kid.hex()} was stolen, and this is not among what it"
                " honestly signed: do not believe it",
            )
        if other := _stolen_by_another_kid(dsc, trust, revocations):
            raise StepFailedError(
                Reason.KEY_REVOKED,
                f"the key with kid {other.hex()} was stolen, and the DSC with kid {dsc.kid.hex()}"
                " is the same key's: get that kid's allow-list too, or do not believe it",
            )
        hash_type = revocations.revoked(hcert, dsc.country)
        if hash_type is not None:
            raise StepFailedError(
                Reason.REVOKED, f"its issuer revoked it (by its {hash_type} hash)"
            )
    if policy.revocation is Demand.REQUIRED and not is_revocation_known(revocations, at):
        end = revocations.expiry() if revocations else None
        found = f"one that expired at {_time(end)}: get a newer" if end else "none: give"
        raise StepFailedError(
            Reason.REVOCATION_UNKNOWN,
            f"policy {policy.name} wants a revocation store and found {found} one (--revocation)",
        )


def _stolen_by_another_kid(
    dsc: Certificate, trust: TrustStore, revocations: Revocations
) -> bytes | None:
    """The kid of another DSC of the same key that there is an allow-list of, and none of this one.

    A renewed DSC may have the old one's key: its thief would sign under the kid without a list.
    """
    if not revocations.stolen or dsc.kid in revocations.stolen:
        return None
    for kid in revocations.stolen:
        if any(other.public_key == dsc.public_key for other in trust.candidates(kid)):
            return kid
    return None


def is_revocation_known(revocations: Revocations | None, at: datetime) -> bool:
    """Whether it can be said that something is not revoked."""
    return revocations is not None and revocations.answers(at)


# --- what no step looks at -----------------------------------------------------------------


_NOT_CHECKED = {
    (anchored, known): tuple(
        item
        for item, is_left in (
            (NotChecked.HOLDER, True),
            (NotChecked.REVOCATION, not known),
            (NotChecked.RULES, True),
            (NotChecked.CSCA, not anchored),
        )
        if is_left
    )
    for anchored in (False, True)
    for known in (False, True)
}


def not_checked(
    trust: TrustStore, dsc: Certificate, policy: Policy, is_known: bool
) -> tuple[NotChecked, ...]:
    """What no step looks at, for what this DSC signed; see :func:`is_revocation_known`."""
    is_anchored = policy.csca is not Demand.OFF and trust.is_anchored(dsc)
    is_answered = is_known and policy.revocation is not Demand.OFF
    return _NOT_CHECKED[is_anchored, is_answered] + policy.left_out
