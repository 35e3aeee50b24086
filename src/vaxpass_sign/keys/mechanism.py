"""Which PKCS#11 mechanism makes an HCERT's signatures on a token.

For each algorithm there are two: one that takes our SHA-256, and one whose token hashes the message
itself (PKCS#11 v2.40 mechanisms §2.3.6, §2.3.7 for ECDSA and §2.1.10, §2.1.11 for PSS). Nothing
else is used, RSA with PKCS#1 v1.5 padding least of all.
"""

from __future__ import annotations

from typing import Final

from pkcs11.constants import MechanismFlag
from pkcs11.exceptions import PKCS11Error
from pkcs11.mechanisms import Mechanism
from pkcs11.types import Slot

from vaxpass_sign.hcert.alg import Alg

__all__ = ["HASHES_ITSELF", "MECHANISMS", "signing_mechanism"]

MECHANISMS: Final = {
    Alg.ES256: (Mechanism.ECDSA, Mechanism.ECDSA_SHA256),
    Alg.PS256: (Mechanism.RSA_PKCS_PSS, Mechanism.SHA256_RSA_PKCS_PSS),
}
"""In the order in which they are chosen: hashing here, a token gets 32 bytes and no message."""

HASHES_ITSELF: Final = frozenset({Mechanism.ECDSA_SHA256, Mechanism.SHA256_RSA_PKCS_PSS})


def signing_mechanism(slot: Slot, alg: Alg) -> Mechanism | None:
    """The mechanism to sign with, or None when the slot's token has none for this algorithm.

    Raises: PKCS11Error when the token does not tell what it offers.
    """
    offered = slot.get_mechanisms()
    for mechanism in MECHANISMS[alg]:
        if mechanism in offered and _signs(slot, mechanism):
            return mechanism
    return None


def _signs(slot: Slot, mechanism: Mechanism) -> bool:
    try:
        return bool(slot.get_mechanism_info(mechanism).flags & MechanismFlag.SIGN)
    except PKCS11Error:
        return True  # listed, but not described: C_SignInit will tell
