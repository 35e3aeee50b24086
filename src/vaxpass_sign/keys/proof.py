"""The one message that a key signs to prove something, and that is no credential.

It can't be taken for anything else: an HCERT's Sig_structure is a CBOR array and begins with 0x84
(RFC 9052 §4.4), what is signed of a certificate or a CSR is a DER SEQUENCE and begins with 0x30,
and this text begins with a letter.

>>> from cryptography.hazmat.primitives.asymmetric import ec
>>> from vaxpass_sign.keys.software import SoftwareSigner
>>> key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
>>> signer = SoftwareSigner(key, "an example")
>>> signs_for(signer, key.public_key()), signs_for(signer, other.public_key())
(True, False)
"""

from __future__ import annotations

from typing import Final

from vaxpass_sign.hcert.signature import verify_signature
from vaxpass_sign.keys.signer import PublicKey, Signer

__all__ = ["PROOF_MESSAGE", "signs_for"]

PROOF_MESSAGE: Final = (
    b"vaxpass_sign: this signature proves that a key and a DSC belong together. v1"
)


def signs_for(signer: Signer, public_key: PublicKey | None) -> bool:
    """Whether the public key verifies a signature that is made now.

    Raises: TokenError when the key can't sign.
    """
    [signature] = signer.sign([PROOF_MESSAGE])
    return verify_signature(public_key, PROOF_MESSAGE, signature)
