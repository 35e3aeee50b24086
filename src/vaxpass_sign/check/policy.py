"""What a verifier asks of a credential: a table. Four are shipped, and one's own is a value.

Steps 1 to 7, from the text to the signature, can't be left out: without them nothing that a
credential says is known to be anybody's. What comes after is a table:

>>> POLICIES["who"].schema
<Demand.OPTIONAL: 'optional'>
>>> from datetime import timedelta
>>> import dataclasses
>>> counter = dataclasses.replace(POLICIES["eu"], name="counter", clock_skew=timedelta(minutes=2))
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final

from vaxpass_sign.check.verdict import NotChecked
from vaxpass_sign.errors import InputError

__all__ = ["EU", "MAX_CLOCK_SKEW", "POLICIES", "Demand", "MissingExp", "Policy", "policy_named"]

MAX_CLOCK_SKEW: Final = timedelta(days=1)
"""A clock that may be wrong by more than that judges nothing."""


class Demand(StrEnum):
    """What becomes of a credential that fails a step."""

    REQUIRED = "required"
    """It is not valid."""
    OPTIONAL = "optional"
    """It is valid, with a warning."""
    OFF = "off"
    """The step is left out, and the Verdict lists it as not checked."""


class MissingExp(StrEnum):
    """What a credential without exp is: eu-dcc-hcert-spec §3.3.4 requires one, RFC 8392 not."""

    INVALID = "invalid"
    """Not valid."""
    DSC_END = "dsc_end"
    """Valid for as long as the DSC that signed it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is asked after the signature.

    Raises: InputError when ``clock_skew`` is negative or more than a day.
    """

    name: str
    """Shown in each Verdict."""
    csca: Demand = Demand.OPTIONAL
    """That a CSCA that is an anchor issued the DSC. OPTIONAL: listed as not checked when the trust
    store does not know of one. A store that was loaded with CSCAs as anchors holds no other DSC,
    whatever is asked here."""
    validity: Demand = Demand.REQUIRED
    """That the moment lies in the HCERT's and in the DSC's validity."""
    within_dsc: Demand = Demand.OPTIONAL
    """That the HCERT's iat and exp lie in the DSC's validity (eu-dcc-hcert-spec §3.3.4, §3.3.5)."""
    key_usage: Demand = Demand.REQUIRED
    """That the DSC may sign, and may sign this kind of entry."""
    schema: Demand = Demand.REQUIRED
    """That the payload is an EU DCC that keeps the schema."""
    revocation: Demand = Demand.OPTIONAL
    """That it was not revoked. OPTIONAL: listed as not checked when no revocation store is given or
    one of them has expired. What is known to be revoked is not valid, unless this is OFF."""
    clock_skew: timedelta = timedelta(0)
    """How far the verifier's clock may be off, to either side, for iat, exp and the DSC."""
    missing_exp: MissingExp = MissingExp.INVALID
    skew_s: float = field(init=False, repr=False, compare=False)
    """``clock_skew`` in seconds."""
    left_out: tuple[NotChecked, ...] = field(init=False, repr=False, compare=False)
    """The steps that are OFF, as a Verdict lists them after what is never or not always checked."""

    def __post_init__(self) -> None:
        if not timedelta(0) <= self.clock_skew <= MAX_CLOCK_SKEW:
            raise InputError(
                f"policy {self.name!r}: found a clock skew of {self.clock_skew}, expected 0 to"
                f" {MAX_CLOCK_SKEW}"
            )
        demands = {
            NotChecked.VALIDITY: self.validity,
            NotChecked.WITHIN_DSC: self.within_dsc,
            NotChecked.KEY_USAGE: self.key_usage,
            NotChecked.SCHEMA: self.schema,
        }
        left_out = tuple(step for step, demand in demands.items() if demand is Demand.OFF)
        object.__setattr__(self, "left_out", left_out)
        object.__setattr__(self, "skew_s", self.clock_skew.total_seconds())


EU: Final = Policy("eu")
"""The default: eu-dcc-hcert-spec, and its published test vectors."""

POLICIES: Final = {
    policy.name: policy
    for policy in (
        Policy(
            "strict",
            csca=Demand.REQUIRED,
            within_dsc=Demand.REQUIRED,
            revocation=Demand.REQUIRED,
        ),
        EU,
        Policy(
            "who",
            schema=Demand.OPTIONAL,
            clock_skew=timedelta(minutes=5),
            missing_exp=MissingExp.DSC_END,
        ),
        Policy("vietnam", clock_skew=timedelta(minutes=5)),
    )
}
"""The policies that are shipped, by name; docs/reference/policies.md has them side by side."""


def policy_named(name: str) -> Policy:
    """The shipped policy of a name.

    Raises: InputError for another name.
    """
    try:
        return POLICIES[name]
    except KeyError:
        raise InputError(
            f"policy: found {name[:40]!r}, expected one of {', '.join(POLICIES)}"
        ) from None
