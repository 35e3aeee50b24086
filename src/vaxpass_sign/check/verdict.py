"""The Verdict: whether an HCERT may be believed, why, and what was not checked.

A Verdict is true when the HCERT is valid. ``reason`` is one word for each way to fail; the words
of :class:`vaxpass_sign.hcert.faults.Fault` are all among them. ``detail`` says what was found and
expected; it never repeats personal data. The credential itself is in ``hcert``.

>>> Reason("expired") is Reason.EXPIRED
True
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum

from vaxpass_sign.hcert.codec import Hcert
from vaxpass_sign.x509 import Certificate

__all__ = ["NotChecked", "Reason", "Step", "Verdict"]


class Step(IntEnum):
    """The steps of :func:`vaxpass_sign.check.verify.verify`, in order."""

    TEXT = 1
    BASE45 = 2
    INFLATE = 3
    COSE = 4
    KID = 5
    DSC = 6
    SIGNATURE = 7
    VALIDITY = 8
    KEY_USAGE = 9
    SCHEMA = 10
    REVOCATION = 11
    DONE = 12


class Reason(StrEnum):
    """Why a Verdict is what it is; the step where each is found stands beside it."""

    VALID = "valid"
    # Step 1, the text.
    TOO_LONG = "too_long"
    NOT_HC1 = "not_hc1"
    # Step 2, base45.
    BASE45 = "base45"
    # Step 3, zlib.
    NOT_COMPRESSED = "not_compressed"
    INFLATE = "inflate"
    INFLATED_TOO_LARGE = "inflated_too_large"
    # Step 4, CBOR, COSE and the claims.
    CBOR = "cbor"
    CBOR_TOO_DEEP = "cbor_too_deep"
    CBOR_TOO_MANY = "cbor_too_many"
    CBOR_TAG = "cbor_tag"
    CBOR_DUPLICATE_KEY = "cbor_duplicate_key"
    COSE = "cose"
    COSE_CRITICAL = "cose_critical"
    CLAIMS = "claims"
    # Step 5, the kid.
    NO_KID = "no_kid"
    UNKNOWN_KID = "unknown_kid"
    # Step 6, the DSC and the algorithm.
    DSC_UNTRUSTED = "dsc_untrusted"
    NO_ALG = "no_alg"
    ALG_UNKNOWN = "alg_unknown"
    ALG_MISMATCH = "alg_mismatch"
    # Step 7, the signature.
    SIGNATURE = "signature"
    # Step 8, validity in time.
    NO_EXPIRY = "no_expiry"
    TIME_UNREADABLE = "time_unreadable"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    DSC_NOT_YET_VALID = "dsc_not_yet_valid"
    DSC_EXPIRED = "dsc_expired"
    BEYOND_DSC = "beyond_dsc"
    # Step 9, what the DSC may sign.
    DSC_KEY_USAGE = "dsc_key_usage"
    DSC_ENTRY_KIND = "dsc_entry_kind"
    # Step 10, what it says.
    NO_EU_DCC = "no_eu_dcc"
    SCHEMA = "schema"
    # Step 11, what became of it since.
    REVOKED = "revoked"
    KEY_REVOKED = "key_revoked"
    REVOCATION_UNKNOWN = "revocation_unknown"


STEP_OF = {
    Reason.VALID: Step.DONE,
    Reason.TOO_LONG: Step.TEXT,
    Reason.NOT_HC1: Step.TEXT,
    Reason.BASE45: Step.BASE45,
    Reason.NOT_COMPRESSED: Step.INFLATE,
    Reason.INFLATE: Step.INFLATE,
    Reason.INFLATED_TOO_LARGE: Step.INFLATE,
    Reason.CBOR: Step.COSE,
    Reason.CBOR_TOO_DEEP: Step.COSE,
    Reason.CBOR_TOO_MANY: Step.COSE,
    Reason.CBOR_TAG: Step.COSE,
    Reason.CBOR_DUPLICATE_KEY: Step.COSE,
    Reason.COSE: Step.COSE,
    Reason.COSE_CRITICAL: Step.COSE,
    Reason.CLAIMS: Step.COSE,
    Reason.NO_KID: Step.KID,
    Reason.UNKNOWN_KID: Step.KID,
    Reason.DSC_UNTRUSTED: Step.DSC,
    Reason.NO_ALG: Step.DSC,
    Reason.ALG_UNKNOWN: Step.DSC,
    Reason.ALG_MISMATCH: Step.DSC,
    Reason.SIGNATURE: Step.SIGNATURE,
    Reason.NO_EXPIRY: Step.VALIDITY,
    Reason.TIME_UNREADABLE: Step.VALIDITY,
    Reason.NOT_YET_VALID: Step.VALIDITY,
    Reason.EXPIRED: Step.VALIDITY,
    Reason.DSC_NOT_YET_VALID: Step.VALIDITY,
    Reason.DSC_EXPIRED: Step.VALIDITY,
    Reason.BEYOND_DSC: Step.VALIDITY,
    Reason.DSC_KEY_USAGE: Step.KEY_USAGE,
    Reason.DSC_ENTRY_KIND: Step.KEY_USAGE,
    Reason.NO_EU_DCC: Step.SCHEMA,
    Reason.SCHEMA: Step.SCHEMA,
    Reason.REVOKED: Step.REVOCATION,
    Reason.KEY_REVOKED: Step.REVOCATION,
    Reason.REVOCATION_UNKNOWN: Step.REVOCATION,
}
"""The step at which each reason is found."""


class NotChecked(StrEnum):
    """What a valid Verdict does not say."""

    HOLDER = "holder"
    """That the bearer is the person whom the HCERT names: compare an identity document."""
    REVOCATION = "revocation"
    """That it was not revoked since it was issued; no store was given or one has expired, or
    the policy leaves that out."""
    RULES = "rules"
    """That it meets a country's entry rules (doses, dates)."""
    CSCA = "csca"
    """That a CSCA issued the DSC: the trust list was believed as it stands."""
    VALIDITY = "validity"
    """That it is valid at the moment; the policy leaves that out."""
    WITHIN_DSC = "within_dsc"
    """That its iat and exp lie in the DSC's validity; the policy leaves that out."""
    KEY_USAGE = "key_usage"
    """That the DSC may sign such entries; the policy leaves that out."""
    SCHEMA = "schema"
    """That what it says keeps the schema; the policy leaves that out."""


NOT_CHECKED_TEXT = {
    NotChecked.HOLDER: "that the bearer is the person named: compare an identity document",
    NotChecked.REVOCATION: "that it was not revoked",
    NotChecked.RULES: "that it meets an entry rule",
    NotChecked.CSCA: "that a CSCA issued the DSC",
    NotChecked.VALIDITY: "that it is valid at this moment: the policy leaves that out",
    NotChecked.WITHIN_DSC: "that its times lie in the DSC's: the policy leaves that out",
    NotChecked.KEY_USAGE: "that the DSC may sign such entries: the policy leaves that out",
    NotChecked.SCHEMA: "that what it says keeps the schema: the policy leaves that out",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of verifying one text. True exactly when it is valid.

    ``step``: the step that failed, or DONE. ``hcert``: what was decoded, None when step 1 to 4
    failed; unless the Verdict is valid, nothing in it is to be believed. ``dsc``: the DSC whose key
    made the signature, None when none did. ``at``: the moment for which validity was judged.
    ``policy``: the name of what was asked.
    """

    reason: Reason
    detail: str
    at: datetime
    hcert: Hcert | None = None
    dsc: Certificate | None = None
    not_checked: tuple[NotChecked, ...] = ()
    warnings: tuple[str, ...] = ()
    policy: str = "eu"

    @property
    def valid(self) -> bool:
        """Whether every step was passed."""
        return self.reason is Reason.VALID

    @property
    def step(self) -> Step:
        """The step that failed, or DONE."""
        return STEP_OF[self.reason]

    def __bool__(self) -> bool:
        return self.valid

    def explain(self) -> str:
        """Why, in a few lines for a person; no personal data."""
        if not self.valid:
            lines = [f"NOT VALID ({self.reason}, step {self.step.value}): {self.detail}"]
        else:
            lines = [f"VALID: {self.detail}"]
            lines += [f"not checked: {NOT_CHECKED_TEXT[item]}" for item in self.not_checked]
        lines += [f"note: {warning}" for warning in self.warnings]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Verdict({self.reason.value!r}, at={self.at.isoformat()!r})"
