"""A DSC or CSCA as a frozen record, read from PEM or DER.

>>> Certificate.from_bytes(b"-----BEGIN CERTIFICATE-----\\nMIIB")
Traceback (most recent call last):
    ...
vaxpass_sign.errors.CertificateError: a PEM block begins and has no end, ...
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from vaxpass_sign.errors import CertificateError
from vaxpass_sign.files import read_bounded
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.x509.key import PublicKey, alg_of_key, describe_key
from vaxpass_sign.x509.parsing import parse

__all__ = [
    "DSC_OIDS",
    "KIND_OIDS",
    "MAX_CERTIFICATE_BYTES",
    "Certificate",
    "load_certificates",
    "pem",
    "read_certificate",
]

MAX_CERTIFICATE_BYTES = 64 * 1024
"""No DSC or CSCA in use is larger than 4 KiB; more than this is something else."""

KIND_OIDS = {
    "t": "1.3.6.1.4.1.1847.2021.1.1",
    "v": "1.3.6.1.4.1.1847.2021.1.2",
    "r": "1.3.6.1.4.1.1847.2021.1.3",
}
"""The extended key usage that lets a DSC sign tests, vaccinations, recoveries."""

# A second arc with a 0 in it is in use too, by most test DSCs; both count.
_KIND_OF_OID = {oid: kind for kind, oid in KIND_OIDS.items()} | {
    oid.replace(".4.1.1847.", ".4.1.0.1847."): kind for kind, oid in KIND_OIDS.items()
}

_MAX_NAME = 1000
"""Characters of a name as it is shown; the bytes that are compared are whole."""

DSC_OIDS = frozenset(_KIND_OF_OID)
"""Extended key usages, of both arcs, by which a certificate is a DSC; a DSC may have none."""

_SHORT_NAMES = {
    "2.5.4.3": "CN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.97": "organizationIdentifier",
}

_PEM_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----", re.ASCII)
_PEM_BEGIN = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A DSC or a CSCA. Two are equal when their DER is; pickles as its DER.

    Frozen, so threads may share it. Nothing here is verified: for that, see
    :func:`vaxpass_sign.x509.check_issued_by` and the trust store.
    """

    der: bytes = field(repr=False)
    kid: bytes = field(compare=False)
    """SHA-256 of the DER, the first 8 bytes. Kids collide: one kid may name several DSCs."""
    public_key: PublicKey | None = field(compare=False, repr=False)
    """None when it is neither EC nor RSA, or cryptography can't make a key of it."""
    alg: Alg | None = field(compare=False)
    """ES256 for P-256, PS256 for RSA of 2048 to 4096 bits, else None: can't sign HCERTs."""
    key_description: str = field(compare=False)
    subject: str = field(compare=False)
    issuer: str = field(compare=False)
    subject_der: bytes = field(compare=False, repr=False)
    issuer_der: bytes = field(compare=False, repr=False)
    country: str | None = field(compare=False)
    """The subject's C, as it is written there."""
    organisation: str | None = field(compare=False)
    common_name: str | None = field(compare=False)
    serial: int = field(compare=False)
    not_before: datetime = field(compare=False)
    not_after: datetime = field(compare=False)
    private_key_period: tuple[datetime | None, datetime | None] = field(compare=False)
    """When the key may sign (PrivateKeyUsagePeriod, RFC 3280 §4.2.1.4); None: no such bound."""
    key_usage: frozenset[str] | None = field(compare=False)
    """Names of RFC 5280 §4.2.1.3 such as ``digitalSignature``; None: no such extension."""
    extended_key_usage: frozenset[str] = field(compare=False)
    """Dotted OIDs; empty when the extension is absent or empty."""
    entry_kinds: frozenset[str] = field(compare=False)
    """Which of ``v``, ``t``, ``r`` it may sign: all three when no OID of either arc is named.
    Other extended key usages don't count (eu-dcc-hcert-spec §5.4)."""
    is_ca: bool = field(compare=False)
    aki: bytes | None = field(compare=False, repr=False)
    ski: bytes | None = field(compare=False, repr=False)

    @classmethod
    def from_bytes(cls, data: bytes) -> Certificate:
        """Read exactly one certificate, PEM or DER, at most MAX_CERTIFICATE_BYTES long.

        Raises: CertificateError when there is none, more than one, or it can't be read.
        """
        _check_size(data, "this certificate")
        found = load_certificates(data)
        if len(found) != 1:
            raise CertificateError(
                f"found {len(found)} certificates, expected exactly one; "
                "keep the one that is meant in a file of its own"
            )
        return found[0]

    def __reduce__(self) -> tuple[Callable[[bytes], Certificate], tuple[bytes]]:
        # Key objects can't be pickled, and worker processes get their DSC that way.
        return _from_der, (self.der,)


def load_certificates(data: bytes) -> list[Certificate]:
    """Read every certificate of a PEM bundle, in order, or the one that is DER.

    Text between PEM blocks and blocks with another label are passed over. The caller bounds the
    size of ``data``.

    Raises: CertificateError when there is none, or any of them can't be read.
    """
    if not data:
        raise CertificateError("found nothing (0 bytes), expected a certificate as PEM or DER")
    # DER of a certificate is longer than 127 bytes, so its length byte has the top bit set; no
    # text has.
    if len(data) > 1 and data[0] == 0x30 and data[1] >= 0x80:
        return [_from_der(data)]
    blocks: list[bytes] = _PEM_BLOCK.findall(data)
    if len(blocks) != data.count(_PEM_BEGIN):
        raise CertificateError(
            "a PEM block begins and has no end, or holds a stray dash; "
            "expected -----END CERTIFICATE----- after it; copy the file again, whole"
        )
    if not blocks:
        found = "other PEM blocks" if b"-----BEGIN " in data else "neither PEM nor DER"
        raise CertificateError(
            f"found {found}, expected a certificate; give the DSC or CSCA as "
            "-----BEGIN CERTIFICATE----- or as DER"
        )
    return [_from_der(_base64(block)) for block in blocks]


def read_certificate(path: Path | str) -> Certificate:
    """Read the one certificate of a file, PEM or DER, at most MAX_CERTIFICATE_BYTES long.

    Raises: CertificateError that names the file.
    """
    try:
        data = read_bounded(Path(path), MAX_CERTIFICATE_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CertificateError(
            f"{path} can't be read: {reason}; expected a certificate file (PEM or DER)"
        ) from error
    try:
        return Certificate.from_bytes(data)
    except CertificateError as error:
        raise CertificateError(f"{path}: {error}") from error


def pem(der: bytes, label: Literal["CERTIFICATE", "CERTIFICATE REQUEST"] = "CERTIFICATE") -> bytes:
    """DER as PEM text (RFC 7468), lines of 64 characters, ending in a newline.

    >>> pem(b"\\x30\\x00").decode().split()
    ['-----BEGIN', 'CERTIFICATE-----', 'MAA=', '-----END', 'CERTIFICATE-----']
    """
    text = base64.b64encode(der)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    begin, end = f"-----BEGIN {label}-----".encode(), f"-----END {label}-----".encode()
    return b"\n".join([begin, *lines, end, b""])


def _from_der(der: bytes) -> Certificate:
    _check_size(der, "a certificate here")
    facts = parse(der)
    described = describe_key(facts.public_key)
    return Certificate(
        der=der,
        kid=hashlib.sha256(der).digest()[:8],
        public_key=facts.public_key,
        alg=alg_of_key(facts.public_key),
        key_description=described if facts.public_key else f"unusable ({facts.key_oid})",
        subject=_name_text(facts.subject),
        issuer=_name_text(facts.issuer),
        subject_der=facts.subject_der,
        issuer_der=facts.issuer_der,
        country=_first(facts.subject, "2.5.4.6"),
        organisation=_first(facts.subject, "2.5.4.10"),
        common_name=_first(facts.subject, "2.5.4.3"),
        serial=facts.serial,
        not_before=facts.not_before,
        not_after=facts.not_after,
        private_key_period=facts.private_key_period,
        key_usage=facts.key_usage,
        extended_key_usage=facts.extended_key_usage,
        entry_kinds=_entry_kinds(facts.extended_key_usage),
        is_ca=facts.is_ca,
        aki=facts.aki,
        ski=facts.ski,
    )


def _entry_kinds(extended_key_usage: frozenset[str]) -> frozenset[str]:
    named = {_KIND_OF_OID[oid] for oid in extended_key_usage if oid in _KIND_OF_OID}
    return frozenset(named or "vtr")


def _check_size(data: bytes, what: str) -> None:
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise CertificateError(
            f"{what} is larger than {MAX_CERTIFICATE_BYTES} bytes; "
            "expected one DSC or CSCA as PEM or DER; check that it is the right file"
        )


def _base64(block: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(block.split()), validate=True)
    except binascii.Error as error:
        raise CertificateError(
            "a PEM block holds something that is not base64; copy the file again, whole"
        ) from error


def _first(name: tuple[tuple[str, str], ...], oid: str) -> str | None:
    return next((value for found, value in name if found == oid), None)


def _name_text(name: tuple[tuple[str, str], ...]) -> str:
    """``C=VN, O=…, CN=…`` in the certificate's own order, cut where it is no name any more."""
    text = ", ".join(
        f"{_SHORT_NAMES.get(oid, oid)}={_escape(value[: _MAX_NAME + 1])}" for oid, value in name
    )
    return text if len(text) <= _MAX_NAME else f"{text[:_MAX_NAME]}…"


def _escape(value: str) -> str:
    # A hostile name must not break a line, colour a terminal or look like a second attribute.
    return "".join(
        f"\\{char}" if char in ",+\\" else char if char.isprintable() else f"\\u{ord(char):04x}"
        for char in value
    )
