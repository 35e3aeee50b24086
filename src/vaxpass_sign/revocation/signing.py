"""Sign a batch as a CMS message (RFC 5652), with a key that may live on a token.

The signer gets one message to sign, the DER of the signed attributes, as it gets any other; so a
token that signs credentials can sign batches. (Such a message begins with a SET, a credential's
with a CBOR array: neither signature can pass for the other.) The attributes are contentType,
messageDigest and signingTime; ES256 becomes ecdsa-with-SHA256 (RFC 5754 §3.3), PS256 becomes
RSASSA-PSS with its parameters written out (RFC 4056 §3). The certificate goes along, so that any
program can verify it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from vaxpass_sign.check.cms import verify_cms
from vaxpass_sign.check.revocation.batch import Batch
from vaxpass_sign.errors import CertificateError, InputError, TrustError
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.hcert.signature import der_signature
from vaxpass_sign.keys.signer import Signer
from vaxpass_sign.x509 import Certificate
from vaxpass_sign.x509.draft import algorithm_identifier

__all__ = ["sign_batch", "sign_cms"]


def sign_batch(
    batch: Batch, signer: Signer, certificate: Certificate, *, at: datetime | None = None
) -> bytes:
    """A batch as the gateway takes it: its JSON in a CMS message, DER. See :func:`sign_cms`.

    Raises also: CertificateError when the certificate is another country's.
    """
    if certificate.country != batch.scope.country:
        raise CertificateError(
            f"found a batch for {batch.scope.country} and the certificate of "
            f"{certificate.subject}, expected one of the batch's country; give that one"
        )
    return sign_cms(batch.to_json(), signer, certificate, at=at)


def sign_cms(
    content: bytes, signer: Signer, certificate: Certificate, *, at: datetime | None = None
) -> bytes:
    """A SignedData message in DER with ``content`` inside, signed by ``signer``.

    Args:
        certificate: the signer's, whose key the signer must hold; not a DSC, for that signs
            credentials alone.
        at: the signing time, an aware datetime; now when left out. It is the signer's word.
    Raises: CertificateError when the certificate is another key's or may not sign; InputError for
        an ``at`` without an offset; TokenError when the key can't sign.
    """
    from asn1crypto import cms

    at = at or datetime.now(UTC)
    if at.utcoffset() is None:
        raise InputError("at: found a datetime without a UTC offset, expected an aware one")
    if certificate.alg is not signer.alg:
        raise CertificateError(
            f"the certificate's key is {certificate.key_description} and the signer's is for "
            f"{signer.alg.name}, expected the same key; give the signer's own certificate"
        )
    attributes = _attributes(content, at)
    (signature,) = signer.sign([attributes.dump()])
    message = cms.ContentInfo(
        {
            "content_type": "signed_data",
            "content": {
                "version": "v1",
                "digest_algorithms": [{"algorithm": "sha256"}],
                "encap_content_info": {"content_type": "data", "content": content},
                "certificates": [_load(certificate)],
                "signer_infos": [_signer_info(signer.alg, certificate, attributes, signature)],
            },
        }
    ).dump()
    # No message leaves that would not verify: another key's certificate is found here.
    try:
        verify_cms(message, [certificate])
    except TrustError as error:
        raise CertificateError(
            "the signature does not verify with the certificate, or that may not sign; expected "
            "the signer's own with digitalSignature; give that one"
        ) from error
    return bytes(message)


def _attributes(content: bytes, at: datetime) -> Any:
    from hashlib import sha256

    from asn1crypto import cms

    moment = at.astimezone(UTC).replace(microsecond=0)
    # RFC 5652 §11.3: UTCTime through 2049, GeneralizedTime from 2050.
    name = "utc_time" if 1950 <= moment.year < 2050 else "generalized_time"
    return cms.CMSAttributes(
        [
            {"type": "content_type", "values": ["data"]},
            {"type": "signing_time", "values": [cms.Time({name: moment})]},
            {"type": "message_digest", "values": [sha256(content).digest()]},
        ]
    )


def _signer_info(alg: Alg, certificate: Certificate, attributes: Any, signature: bytes) -> Any:
    loaded = _load(certificate)
    return {
        "version": "v1",
        "sid": {
            "issuer_and_serial_number": {
                "issuer": loaded.issuer,
                "serial_number": loaded.serial_number,
            }
        },
        "digest_algorithm": {"algorithm": "sha256"},
        "signed_attrs": attributes,
        "signature_algorithm": algorithm_identifier(alg),
        "signature": der_signature(signature) if alg is Alg.ES256 else signature,
    }


def _load(certificate: Certificate) -> Any:
    from asn1crypto import x509

    return x509.Certificate.load(certificate.der)
