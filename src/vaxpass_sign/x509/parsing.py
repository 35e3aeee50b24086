"""DER → the facts of a certificate, twice: strictly with cryptography, tolerantly with asn1crypto.

Both give the same :class:`Facts` for a certificate that both read; the tolerant way exists for
published DSCs that break DER's rules (an explicit default in BasicConstraints, an empty extended
key usage). Neither library is imported before the first certificate is read: cryptography.x509
takes 60 ms, asn1crypto another 45 ms, and most runs never need the second.

>>> parse(b"\\x30\\x00")
Traceback (most recent call last):
    ...
vaxpass_sign.errors.CertificateError: these bytes are no readable X.509 certificate; ...
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from vaxpass_sign.errors import CertificateError
from vaxpass_sign.x509.key import PublicKey

__all__ = ["Facts", "parse", "parse_strictly", "parse_tolerantly"]

# What the two libraries were seen to raise on damaged input, besides cryptography's own classes.
_PARSE_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
    NotImplementedError,
    UnsupportedAlgorithm,
)

# Names of RFC 5280 §4.2.1.3 in the order of the bits, and what asn1crypto calls them.
_KEY_USAGES = {
    "digitalSignature": "digital_signature",
    "nonRepudiation": "non_repudiation",
    "keyEncipherment": "key_encipherment",
    "dataEncipherment": "data_encipherment",
    "keyAgreement": "key_agreement",
    "keyCertSign": "key_cert_sign",
    "cRLSign": "crl_sign",
    "encipherOnly": "encipher_only",
    "decipherOnly": "decipher_only",
}

_STRING_TAGS = frozenset({12, 18, 19, 20, 22, 26, 27, 28, 30})
"""The universal string types, as the first byte of their DER (X.680 §8.6)."""

# warnings.catch_warnings changes a list that all threads share, so one thread at a time.
_quiet = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a certificate says; ``subject`` and ``issuer`` are (dotted OID, text) in DER order."""

    subject: tuple[tuple[str, str], ...]
    issuer: tuple[tuple[str, str], ...]
    subject_der: bytes
    issuer_der: bytes
    serial: int
    not_before: datetime
    not_after: datetime
    public_key: PublicKey | None
    key_oid: str
    private_key_period: tuple[datetime | None, datetime | None]
    key_usage: frozenset[str] | None
    extended_key_usage: frozenset[str]
    is_ca: bool
    aki: bytes | None
    ski: bytes | None


def parse(der: bytes) -> Facts:
    """Read one DER certificate, strictly if that works, else tolerantly.

    Raises: CertificateError when neither way can read it, or an extension comes twice
    (RFC 5280 §4.2).
    """
    try:
        return parse_strictly(der)
    except CertificateError:
        return parse_tolerantly(der)


def parse_strictly(der: bytes) -> Facts:
    """Read with cryptography.

    Raises: CertificateError when cryptography refuses any part of the certificate.
    """
    from cryptography import x509

    errors = (
        *_PARSE_ERRORS,
        x509.DuplicateExtension,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
    )
    try:
        # cryptography warns of oddities (a serial below 1, a country of three letters) that are
        # no reason to refuse a DSC on reading, and a library must not print them.
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _strict_facts(der)
    except errors as error:
        raise _unreadable() from error


def _strict_facts(der: bytes) -> Facts:
    from cryptography import x509

    certificate = x509.load_der_x509_certificate(der)
    values = {extension.oid.dotted_string: extension.value for extension in certificate.extensions}
    usage: Any = values.get("2.5.29.15")
    extended: Any = values.get("2.5.29.37", ())
    constraints: Any = values.get("2.5.29.19")
    authority: Any = values.get("2.5.29.35")
    own: Any = values.get("2.5.29.14")
    period: Any = values.get("2.5.29.16")
    return Facts(
        subject=_strict_name(certificate.subject),
        issuer=_strict_name(certificate.issuer),
        subject_der=certificate.subject.public_bytes(),
        issuer_der=certificate.issuer.public_bytes(),
        serial=certificate.serial_number,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        public_key=_key(certificate.public_key),
        key_oid=certificate.public_key_algorithm_oid.dotted_string,
        private_key_period=(None, None)
        if period is None
        # cryptography gives naive datetimes here; they are UTC (RFC 3280 §4.2.1.4).
        else (_utc(period.not_before), _utc(period.not_after)),
        key_usage=None if usage is None else _strict_usages(usage),
        extended_key_usage=frozenset(oid.dotted_string for oid in extended),
        is_ca=constraints is not None and constraints.ca,
        aki=None if authority is None else authority.key_identifier,
        ski=None if own is None else own.digest,
    )


def _strict_name(name: Any) -> tuple[tuple[str, str], ...]:
    return tuple((attribute.oid.dotted_string, _text(attribute.value)) for attribute in name)


def _strict_usages(usage: Any) -> frozenset[str]:
    bits = [
        usage.digital_signature,
        usage.content_commitment,
        usage.key_encipherment,
        usage.data_encipherment,
        usage.key_agreement,
        usage.key_cert_sign,
        usage.crl_sign,
        # cryptography raises for these two unless keyAgreement is set.
        usage.key_agreement and usage.encipher_only,
        usage.key_agreement and usage.decipher_only,
    ]
    return frozenset(name for name, bit in zip(_KEY_USAGES, bits, strict=True) if bit)


def parse_tolerantly(der: bytes) -> Facts:
    """Read with asn1crypto, which also takes what DER forbids.

    Raises: CertificateError when the bytes are no certificate or an extension comes twice.
    """
    try:
        return _tolerant_facts(der)
    except _PARSE_ERRORS as error:
        raise _unreadable() from error


def _tolerant_facts(der: bytes) -> Facts:
    from asn1crypto import x509
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    certificate = x509.Certificate.load(der, strict=True)
    tbs = certificate["tbs_certificate"]
    values: dict[str, Any] = {}
    for extension in tbs["extensions"]:
        oid = extension["extn_id"].dotted
        if oid in values:
            raise CertificateError(
                f"this certificate holds the extension {oid} twice, expected once; "
                "ask its issuer for a certificate that follows RFC 5280"
            )
        values[oid] = extension["extn_value"]
    usage, period = values.get("2.5.29.15"), values.get("2.5.29.16")
    constraints, authority = values.get("2.5.29.19"), values.get("2.5.29.35")
    own = values.get("2.5.29.14")
    spki = tbs["subject_public_key_info"]
    # Touch what is read nowhere below, because asn1crypto parses late and would let it pass.
    certificate["signature_algorithm"]["algorithm"].dotted, certificate["signature_value"].native
    return Facts(
        subject=_tolerant_name(tbs["subject"]),
        issuer=_tolerant_name(tbs["issuer"]),
        subject_der=tbs["subject"].dump(),
        issuer_der=tbs["issuer"].dump(),
        serial=tbs["serial_number"].native,
        not_before=_whole(tbs["validity"]["not_before"].native),
        not_after=_whole(tbs["validity"]["not_after"].native),
        public_key=_key(lambda: load_der_public_key(spki.dump())),
        key_oid=spki["algorithm"]["algorithm"].dotted,
        private_key_period=(None, None)
        if period is None
        else (
            _utc(period.parsed["not_before"].native),
            _utc(period.parsed["not_after"].native),
        ),
        key_usage=None if usage is None else _tolerant_usages(usage.parsed),
        extended_key_usage=frozenset(oid.dotted for oid in _parsed(values.get("2.5.29.37"))),
        is_ca=constraints is not None and bool(constraints.parsed["ca"].native),
        aki=None if authority is None else authority.parsed["key_identifier"].native,
        ski=None if own is None else own.parsed.native,
    )


def _tolerant_name(name: Any) -> tuple[tuple[str, str], ...]:
    return tuple(
        (attribute["type"].dotted, _tolerant_value(attribute["value"]))
        for relative in name.chosen
        for attribute in relative
    )


def _tolerant_value(value: Any) -> str:
    """The text of a name's attribute; one that is no text as its encoding (RFC 4514 §2.4)."""
    from asn1crypto import core

    # Of an attribute that it does not know, asn1crypto would build whatever is nested there, which
    # takes seconds for a certificate of 64 KiB.
    encoded = value.dump()
    if isinstance(value, core.Any) and encoded[0] not in _STRING_TAGS:
        return f"#{encoded.hex()}"
    return _text(value.native)


def _tolerant_usages(usage: Any) -> frozenset[str]:
    native = usage.native
    return frozenset(name for name, theirs in _KEY_USAGES.items() if theirs in native)


def _parsed(value: Any) -> Iterable[Any]:
    return () if value is None else value.parsed


def _key(make: Any) -> PublicKey | None:
    """The key that ``make`` gives when it is one that can sign an HCERT or a DSC, else None."""
    try:
        key = make()
    except _PARSE_ERRORS:
        return None
    return key if isinstance(key, EllipticCurvePublicKey | RSAPublicKey) else None


def _text(value: object) -> str:
    # A unique identifier is a bit string, which has no characters to show.
    return f"#{value.hex()}" if isinstance(value, bytes) else str(value)


def _utc(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else _whole(moment)


def _whole(moment: object) -> datetime:
    # asn1crypto has a class of its own for the year 0, which no datetime can hold.
    if not isinstance(moment, datetime):
        raise ValueError("a time before the year 1")
    return moment.astimezone(UTC)


def _unreadable() -> CertificateError:
    return CertificateError(
        "these bytes are no readable X.509 certificate; expected one DSC or CSCA as PEM or DER; "
        "export it again from where it came"
    )
