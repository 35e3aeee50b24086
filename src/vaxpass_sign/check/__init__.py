"""Whom we believe, and the numbered steps from text to Verdict."""

from vaxpass_sign.check.policy import POLICIES, Demand, MissingExp, Policy
from vaxpass_sign.check.revocation.known import Revocations
from vaxpass_sign.check.trust import TrustStore
from vaxpass_sign.check.verdict import NotChecked, Reason, Step, Verdict
from vaxpass_sign.check.verify import verify

__all__ = [
    "POLICIES",
    "Demand",
    "MissingExp",
    "NotChecked",
    "Policy",
    "Reason",
    "Revocations",
    "Step",
    "TrustStore",
    "Verdict",
    "verify",
]
