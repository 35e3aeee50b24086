"""What is asked of every payload: whom to believe, for which moment, under which policy.

>>> from vaxpass_sign.check.trust import TrustStore
>>> Asked(TrustStore()).verify("HC2:")
Verdict('not_hc1', at='...')
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from vaxpass_sign.check.policy import EU, Policy
from vaxpass_sign.check.revocation.known import Revocations
from vaxpass_sign.check.trust import TrustStore
from vaxpass_sign.check.verdict import Verdict
from vaxpass_sign.check.verify import verify

__all__ = ["Asked"]


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments of :func:`vaxpass_sign.check.verify.verify`, for many texts.

    ``at``: an aware datetime; None for the moment at which each is verified.
    """

    trust: TrustStore
    at: datetime | None = None
    policy: Policy = EU
    revocations: Revocations | None = None

    def verify(self, text: str) -> Verdict:
        """The Verdict of one text."""
        return verify(text, self.trust, self.at, self.policy, self.revocations)
