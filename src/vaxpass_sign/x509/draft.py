"""What a certificate names, and the draft that becomes a certificate once a token signed it.

The private key lives on a token and is never seen here: give a draft's ``tbs`` to a signer for its
``alg`` and hand the signature to ``finish``, which verifies it before anything comes out.

>>> Subject(country="vn", organisation="Ministry of Health", common_name="CSCA")
Traceback (most recent call last):
    ...
vaxpass_sign.errors.CertificateError: the subject's country ... expected two capital letters ...
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from vaxpass_sign.errors import CertificateError
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.x509.key import PublicKey, describe_key

__all__ = ["Subject", "ToBeSigned", "algorithm_identifier"]


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a certificate names; valid once built.

    ``country`` has two capital letters; the other two have 1 to 64 characters (RFC 5280
    appendix A.1, ub-organization-name and ub-common-name), none of them a control character.

    Raises: CertificateError that names the field.
    """

    country: str
    organisation: str
    common_name: str

    def __post_init__(self) -> None:
        if not (
            len(self.country) == 2
            and self.country.isascii()
            and self.country.isalpha()
            and self.country.isupper()
        ):
            raise CertificateError(
                f"the subject's country has {len(self.country)} characters, expected two capital "
                "letters of ISO 3166-1 such as VN"
            )
        for name in ("organisation", "common_name"):
            value = unicodedata.normalize("NFC", getattr(self, name))
            if not (1 <= len(value) <= 64 and value == value.strip() and value.isprintable()):
                raise CertificateError(
                    f"the subject's {name} has {len(value)} characters or starts, ends or is "
                    "interrupted by blanks or control characters, expected 1 to 64 printable ones"
                )
            object.__setattr__(self, name, value)


@dataclass(frozen=True, slots=True)
class ToBeSigned:
    """What a token must sign to make a certificate or a CSR."""

    tbs: bytes
    """The message; the signer hashes it, as it does with every message."""
    alg: Alg
    """What the signing key signs with."""
    signing_key: PublicKey = field(repr=False)
    """The public half of the key that must sign."""

    def finish(self, signature: bytes) -> bytes:
        """The DER of the signed certificate or CSR.

        ``signature`` is what a Signer gives: raw r‖s of 64 bytes for ES256, PSS with a salt of
        32 bytes for PS256.

        Raises: CertificateError when the signature does not verify with ``signing_key``.
        """
        from asn1crypto import core

        try:
            if isinstance(self.signing_key, ec.EllipticCurvePublicKey):
                signature = _ecdsa_der(signature)
                self.signing_key.verify(signature, self.tbs, ec.ECDSA(hashes.SHA256()))
            else:
                pss = padding.PSS(padding.MGF1(hashes.SHA256()), salt_length=32)
                self.signing_key.verify(signature, self.tbs, pss, hashes.SHA256())
        except InvalidSignature as error:
            raise CertificateError(
                f"the signature does not verify with {describe_key(self.signing_key)} and "
                f"{self.alg.name}; check that the key that signs is the one that is named"
            ) from error
        algorithm = algorithm_identifier(self.alg).dump()
        bits = core.OctetBitString(signature).dump()
        return bytes(core.Sequence(contents=self.tbs + algorithm + bits).dump())


def _ecdsa_der(raw: bytes) -> bytes:
    """Raw r‖s (RFC 9053 §2.1) as the Ecdsa-Sig-Value that certificates hold (RFC 3279 §2.2.3)."""
    if len(raw) != 64:
        raise CertificateError(
            f"the signature has {len(raw)} bytes, expected raw r‖s of 64 bytes for ES256; "
            "give it as the signer returns it"
        )
    return encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))


def algorithm_identifier(alg: Alg) -> Any:
    """The AlgorithmIdentifier of signatures with ``alg``, as an asn1crypto object."""
    from asn1crypto import algos

    if alg is Alg.ES256:
        return algos.SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"})
    # RFC 4055 §3.1: each parameter is written out, for every default is SHA-1.
    parameters = {
        "hash_algorithm": {"algorithm": "sha256"},
        "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": {"algorithm": "sha256"}},
        "salt_length": 32,
    }
    return algos.SignedDigestAlgorithm({"algorithm": "rsassa_pss", "parameters": parameters})
