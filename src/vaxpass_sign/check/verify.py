"""From text to Verdict in numbered steps.

1. **Text**: begins with HC1: and is no longer than a QR symbol can hold.
2. **Base45**: RFC 9285.
3. **Inflate**: one whole zlib stream, bounded.
4. **COSE**: bounded CBOR, a COSE_Sign1, CWT claims.
5. **Kid**: the protected header's kid, else the unprotected one's; every DSC that has it is tried.
6. **Alg**: the DSC's key decides; the header must agree.
7. **Signature**: RFC 9052 §4.4, by the DSC's key.
8. **Validity**: iat ≤ at ≤ exp, and the DSC's validity holds ``at``.
9. **Key usage**: the DSC may sign (digitalSignature) and may sign this kind of entry.
10. **Schema**: the payload is a DCC with exactly one entry.

Not checked, and listed in the Verdict: revocation, entry rules, that the bearer is the holder, and,
without anchors, that a CSCA issued the DSC.

Nothing that a step reads is believed before the steps above it are passed; the hcert of a Verdict
that is not valid is there for a person who looks for the cause.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from vaxpass_sign.check.schema import check_dcc, entry_kinds
from vaxpass_sign.check.trust import TrustStore
from vaxpass_sign.check.verdict import NotChecked, Reason, Verdict
from vaxpass_sign.errors import HcertError, InputError
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.hcert.claims import CLAIM_EXP, CLAIM_IAT
from vaxpass_sign.hcert.codec import Hcert, as_time, decode
from vaxpass_sign.hcert.signature import verify_signature
from vaxpass_sign.record.valuesets import ValueSets
from vaxpass_sign.x509 import Certificate

__all__ = ["verify"]


class StepFailedError(Exception):
    """A step that was not passed; verify() makes a Verdict of it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        self.detail = detail


def verify(text: str, trust: TrustStore, at: datetime | None = None) -> Verdict:
    """Verify an "HC1:" text against a trust store.

    ``at``: the moment for which validity is judged, an aware datetime; now when left out.

    Returns: a Verdict, whatever the text is.
    Raises: InputError when ``at`` has no UTC offset; nothing on account of the text.
    """
    at = moment(at)
    hcert: Hcert | None = None
    dsc: Certificate | None = None
    try:
        hcert = decode(text)  # Steps 1 to 4.
        candidates = find_dscs(hcert, trust)  # Step 5.
        suitable = fitting(hcert, candidates)  # Step 6.
        dsc = _signing_dsc(hcert, suitable)  # Step 7.
        check_validity(hcert, dsc, at)  # Step 8.
        check_key_usage(hcert, dsc)  # Step 9.
        dcc = _check_schema(hcert)  # Step 10.
    except HcertError as error:
        return Verdict(Reason(error.code), str(error), at)
    except StepFailedError as failure:
        return Verdict(failure.reason, failure.detail, at, hcert, dsc)
    return Verdict(
        Reason.VALID,
        valid_detail(hcert, dsc, at),
        at,
        hcert,
        dsc,
        not_checked(trust),
        unknown_codes(dcc),
    )


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


def valid_detail(hcert: Hcert, dsc: Certificate, at: datetime) -> str:
    """What a valid Verdict says of the DSC and the time."""
    return f"signed by {dsc.subject}, valid at {_time(at)} and until {_time(hcert.expires_at)}"


def not_checked(trust: TrustStore) -> tuple[NotChecked, ...]:
    """What no step looks at."""
    always = (NotChecked.HOLDER, NotChecked.REVOCATION, NotChecked.RULES)
    return always if trust.anchored else (*always, NotChecked.CSCA)


# --- step 5: the kid -----------------------------------------------------------------------


def find_dscs(hcert: Hcert, trust: TrustStore) -> tuple[Certificate, ...]:
    kid = hcert.kid
    if kid is None:
        raise StepFailedError(Reason.NO_KID, "found no kid in either header, expected the DSC's")
    candidates = trust.candidates(kid)
    if not candidates:
        raise StepFailedError(
            Reason.UNKNOWN_KID,
            f"found kid {kid.hex()}, which none of the {len(trust)} trusted DSCs has: "
            "update the trust list, or do not believe this credential",
        )
    return candidates


# --- step 6: the algorithm -----------------------------------------------------------------


def fitting(hcert: Hcert, candidates: Iterable[Certificate]) -> list[Certificate]:
    """The DSCs whose key signs with the algorithm that the header names."""
    alg = hcert.alg
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


def _signing_dsc(hcert: Hcert, candidates: Iterable[Certificate]) -> Certificate:
    signed, signature = hcert.sign1.sig_structure, hcert.sign1.signature
    for dsc in candidates:
        if verify_signature(dsc.public_key, signed, signature):
            return dsc
    raise StepFailedError(
        Reason.SIGNATURE,
        "found a signature that is not the trusted DSC's: the credential was changed or forged",
    )


# --- step 8: validity in time --------------------------------------------------------------


def check_validity(hcert: Hcert, dsc: Certificate, at: datetime) -> None:
    exp, iat = hcert.claims.get(CLAIM_EXP), hcert.claims.get(CLAIM_IAT)
    # A comparison with NaN is always False, so a NaN must be found before anything is compared;
    # as_time finds it.
    for name, value in (("exp", exp), ("iat", iat)):
        if value is not None and as_time(value) is None:
            raise StepFailedError(
                Reason.TIME_UNREADABLE, f"found an {name} that is no point in time"
            )
    if exp is None:
        raise StepFailedError(
            Reason.NO_EXPIRY, "found no exp, expected one (eu-dcc-hcert-spec §3.3.4)"
        )
    now = at.timestamp()
    if iat is not None and iat > now:
        raise StepFailedError(
            Reason.NOT_YET_VALID,
            f"issued at {_time(hcert.issued_at)}, after {_time(at)}: check the clock",
        )
    # The last second counts as valid, as in the published vectors (RFC 8392 would end it there).
    if exp < now:
        raise StepFailedError(
            Reason.EXPIRED, f"expired at {_time(hcert.expires_at)}, checked for {_time(at)}"
        )
    if at < dsc.not_before:
        raise StepFailedError(
            Reason.DSC_NOT_YET_VALID, f"the DSC is valid from {_time(dsc.not_before)} only"
        )
    if at > dsc.not_after:
        raise StepFailedError(Reason.DSC_EXPIRED, f"the DSC expired at {_time(dsc.not_after)}")


@lru_cache(maxsize=256)
def _time(at: datetime | None) -> str:
    if at is None:
        return "an unknown time"
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


# --- step 9: what the DSC may sign ---------------------------------------------------------


def check_key_usage(hcert: Hcert, dsc: Certificate) -> None:
    usage = dsc.key_usage
    if dsc.is_ca or (usage is not None and "digitalSignature" not in usage):
        raise StepFailedError(
            Reason.DSC_KEY_USAGE,
            "the certificate may not sign HCERTs: expected a DSC with digitalSignature",
        )
    kinds = entry_kinds(hcert.payload or {})
    refused = [kind for kind in kinds if kind not in dsc.entry_kinds]
    if refused:
        raise StepFailedError(
            Reason.DSC_ENTRY_KIND,
            f"the DSC may sign entries of kind {', '.join(sorted(dsc.entry_kinds))}, "
            f"found {', '.join(refused)}",
        )


# --- step 10: what it says -----------------------------------------------------------------


def _check_schema(hcert: Hcert) -> dict[str, Any]:
    dcc = hcert.payload
    if dcc is None:
        raise StepFailedError(
            Reason.NO_EU_DCC, "found no EU DCC (claim -260, entry 1), expected one"
        )
    fault = check_dcc(dcc)
    if fault:
        raise StepFailedError(Reason.SCHEMA, fault)
    return dcc


CODE_SETS = {
    "v": {
        "tg": "disease-agent-targeted",
        "vp": "vaccine-prophylaxis",
        "mp": "vaccine-medicinal-product",
        "ma": "vaccine-mah-manf",
        "co": "country-2-codes",
    },
    "t": {
        "tg": "disease-agent-targeted",
        "tt": "test-type",
        "tr": "test-result",
        "co": "country-2-codes",
    },
    "r": {"tg": "disease-agent-targeted", "co": "country-2-codes"},
}


def unknown_codes(dcc: dict[str, Any]) -> tuple[str, ...]:
    """A warning for each code of a DCC (that keeps the schema) that its value set lacks."""
    (kind,) = entry_kinds(dcc)
    entry = dcc[kind][0]
    return code_warnings(kind, *[entry[field] for field in CODE_SETS[kind]])


# Few combinations of codes are in use, so the sets are searched once for each.
@lru_cache(maxsize=4096)
def code_warnings(kind: str, *codes: str) -> tuple[str, ...]:
    """The warnings of an entry's codes, in the order of ``CODE_SETS``."""
    value_sets = ValueSets.default()
    return tuple(
        f"{kind}.{field}: the value set {value_set} does not know this code"
        for (field, value_set), code in zip(CODE_SETS[kind].items(), codes, strict=True)
        if not value_sets.knows(value_set, code)
    )
