"""A certificate request for a DSC, signed by the key that it is for (PKCS #10, RFC 2986).

Rules that this module keeps:

* The key signs with what it signs HCERTs with: ES256 becomes ecdsa-with-SHA256 (RFC 5758 §3.2), and
  an RSA key RSASSA-PSS with SHA-256, MGF1-SHA256 and a salt of 32 bytes (RFC 4055 §3.1). Never
  sha256WithRSAEncryption, which would be RS256 in another place.
* Nothing comes out that was not read again by cryptography and verified with the key in it.

>>> from cryptography.hazmat.primitives.asymmetric import ec
>>> from vaxpass_sign.keys.software import SoftwareSigner
>>> signer = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()), "an example")
>>> der = signed_csr(signer, Subject("VN", "Bộ Y tế", "DSC 1"))
>>> x509.load_der_x509_csr(der).subject.rfc4514_string()
'CN=DSC 1,O=Bộ Y tế,C=VN'
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from vaxpass_sign.errors import TokenError
from vaxpass_sign.hcert.signature import verify_signature
from vaxpass_sign.keys.signer import PublicKey, Signer
from vaxpass_sign.x509 import csr_to_sign
from vaxpass_sign.x509.draft import Subject

__all__ = ["signed_csr"]


def signed_csr(signer: Signer, subject: Subject) -> bytes:
    """The DER of a request for the DSC of a signer's key.

    It asks for the key usage digitalSignature and the extended key usage of vaccinations
    (eu-dcc-hcert-spec §5.4), as :func:`vaxpass_sign.x509.csr_to_sign` writes them.

    Raises: TokenError when the key can't sign, its public half is not known, or what it signed
        can't be read again; CertificateError when the public half is not the private key's.
    """
    public_key = signer.public_key
    if public_key is None:
        name = getattr(signer, "name", "the key")
        raise TokenError(
            f"{name} has no public half that can be read, expected exactly one public key object or"
            " certificate with its id: put it on the token, or make a new key"
        )
    draft = csr_to_sign(public_key, subject)
    [signature] = signer.sign([draft.tbs])
    der = draft.finish(signature)
    if not _is_valid(der, public_key):
        raise TokenError(
            "the request that was signed can't be read again, or its signature does not verify:"
            " nothing was written; look to the token, then try again"
        )
    return der


def _is_valid(der: bytes, public_key: PublicKey) -> bool:
    """Whether cryptography reads the request, finds this key in it and the key's signature.

    The signature must hold by the algorithm that the request names, and by ours.
    """
    try:
        request = x509.load_der_x509_csr(der)
        if request.public_key() != public_key or not request.is_signature_valid:
            return False
        if isinstance(public_key, EllipticCurvePublicKey):
            return isinstance(request.signature_hash_algorithm, SHA256)
        return verify_signature(public_key, request.tbs_certrequest_bytes, request.signature)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
