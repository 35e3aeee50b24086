"""One record in, one HCERT out; or columns of them.

An issuer is a signer, its DSC, a country, a name and a validity that belong together. Building one
proves it: the DSC must be a DSC for vaccinations, valid now and for as long as the credentials will
be, and one signature over a fixed message that can't be a credential must verify under its key.

Threads and processes: an issuer may be shared by threads; their signatures are made one after the
other. It must not be used in a forked child, where its signer raises TokenError; the child (or
better, a spawned process) opens a signer of its own.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from os import PathLike
from pathlib import Path

from vaxpass_sign.errors import CertificateError, InputError, RecordError, TokenError, Violation
from vaxpass_sign.hcert import claims, codec, cose, framing
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.hcert.columns import BLOCK, ColumnEncoder, Columns
from vaxpass_sign.hcert.qr_capacity import QR_CAPACITY
from vaxpass_sign.hcert.signature import verify_signature
from vaxpass_sign.keys.signer import Signer
from vaxpass_sign.record.fields import check_text
from vaxpass_sign.record.model import VaccinationRecord
from vaxpass_sign.record.uvci import check_uvci, random_uvci
from vaxpass_sign.x509 import Certificate, read_certificate

__all__ = ["IssuedColumns", "Issuer"]

PROOF_MESSAGE = b"vaxpass_sign: this signature proves that a key and a DSC belong together. v1"
"""Begins with 'v'; a Sig_structure begins with 0x84, so this can never be a credential."""

_MAX_VALIDITY = timedelta(days=100 * 366)

# A signature's bytes decide how well a message deflates: the lengths of one payload's streams had a
# standard deviation of up to 2.6 bytes (benchmarks/deflate.py), and two of them are compared.
_DEFLATE_MARGIN = 16


@dataclass(frozen=True, slots=True, repr=False)
class IssuedColumns:
    """What came of columns, row by row.

    ``texts``: the "HC1:" text of each row, None for a refused one. ``refused``: row number (from 0)
    → why. Times are UTC seconds.
    """

    texts: list[str | None]
    refused: dict[int, Violation]
    issued_at_s: int
    expires_at_s: int


class Issuer:
    """Issues HCERTs in the name of one DSC. See the module's docstring for threads and forks."""

    def __init__(  # noqa: PLR0913 (they belong together, that is the point)
        self,
        signer: Signer,
        dsc: Certificate | bytes | str | PathLike[str],
        country: str,
        name: str,
        validity: timedelta = timedelta(days=365),
        *,
        max_qr_version: int = 25,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prove that everything belongs together.

        Args:
            signer: the private key; stays the caller's to close.
            dsc: its certificate: PEM or DER bytes, or a file's path.
            country: ISO 3166-1 alpha-2, becomes iss, and co where a record names none.
            name: 1 to 80 characters, becomes v.is where a record names none.
            validity: from issue to expiry.
            max_qr_version: the largest QR symbol (1 to 40, level Q) that a text may need.
            clock: UTC seconds since 1970.

        Raises: InputError for a bad argument; CertificateError when the DSC doesn't fit the signer,
            may not sign vaccinations, or is not valid for as long as the credentials; TokenError
            when the key can't sign.
        """
        self._signer = signer
        self.dsc = _dsc(dsc)
        self.country = _country(country)
        self.name = _name(name)
        self.validity = validity
        if not isinstance(validity, timedelta) or not timedelta(0) < validity <= _MAX_VALIDITY:
            raise InputError(
                f"validity: found {validity!r}, expected a timedelta above 0, of at most "
                f"{_MAX_VALIDITY.days} days"
            )
        if not 1 <= max_qr_version <= len(QR_CAPACITY):
            raise InputError(f"max_qr_version: found {max_qr_version}, expected 1 to 40")
        self._max_qr_version = max_qr_version
        self._capacity = QR_CAPACITY[max_qr_version - 1]
        self._clock = clock
        self._protected = cose.encode_protected(signer.alg, self.dsc.kid)
        _check_dsc(self.dsc)
        self._times()
        self._prove()

    def issue(self, record: VaccinationRecord, uvci: str | None = None) -> str:
        """The "HC1:" text of a record.

        ``uvci``: the caller's idempotency key; a random one unless given.

        Raises: RecordError for a vaccination in the future; InputError for a bad uvci or a text too
        large for the QR symbol, before anything is signed; CertificateError when the DSC can't sign
        any more; TokenError when the key can't sign, or gave a signature that is not its own.
        """
        if uvci is None:
            uvci = random_uvci(self.country)
        else:
            check_uvci(uvci)
        issued_at_s, expires_at_s = self._times()
        payload = claims.encode_claims(
            claims.record_claims(
                record,
                uvci=uvci,
                country=self.country,
                issuer_name=self.name,
                issued_at_s=issued_at_s,
                expires_at_s=expires_at_s,
            )
        )
        refused = _future(record.vaccination_date, issued_at_s) or self._too_large(payload)
        if refused:
            raise RecordError([refused])
        signed = cose.sig_structure(self._protected, payload)
        (signature,) = self._signer.sign([signed])
        # One at a time there is time to look: nothing leaves that a verifier would refuse.
        if not verify_signature(self.dsc.public_key, signed, signature):
            raise TokenError(
                "the key gave a signature that its DSC does not verify: nothing was issued; "
                "check the token before you go on"
            )
        text = codec.encode(self._protected, payload, signature)
        if len(text) > self._capacity:
            raise RecordError([self._size_violation(len(text))])
        return text

    def issue_columns(self, columns: Columns) -> IssuedColumns:
        """The "HC1:" texts of many records, all issued at one moment; needs the extra ``batch``.

        Rows that can't be issued are refused and the others go on. The signatures are not verified
        here: a durable run audits every one of them afterwards.

        Raises: CertificateError and TokenError as :meth:`issue`; nothing is returned then.
        """
        issued_at_s, expires_at_s = self._times()
        encoder = ColumnEncoder(
            protected=self._protected,
            country=self.country,
            issuer_name=self.name,
            issued_at_s=issued_at_s,
            expires_at_s=expires_at_s,
        )
        texts: list[str | None] = []
        refused: dict[int, Violation] = {}
        for block in columns.blocks(BLOCK):
            bad = _refused_rows(block, issued_at_s)
            rows = [row for row in range(len(block)) if row not in bad]
            payloads = encoder.payloads(block if not bad else block.take(rows))
            surely_small = self._surely_small
            large = {
                row: why
                for row, payload in zip(rows, payloads, strict=True)
                if len(payload) > surely_small and (why := self._too_large(payload))
            }
            if large:
                payloads = [p for row, p in zip(rows, payloads, strict=True) if row not in large]
                rows = [row for row in rows if row not in large]
            signatures = self._signer.sign(encoder.sig_structures(payloads))
            start = len(texts)
            texts += [None] * len(block)
            for row, text in zip(rows, encoder.texts(payloads, signatures), strict=True):
                if len(text) <= self._capacity:
                    texts[start + row] = text
                else:  # a signature that deflates worse than any that was measured
                    large[row] = self._size_violation(len(text))
            refused.update((start + row, why) for row, why in (bad | large).items())
        return IssuedColumns(texts, refused, issued_at_s, expires_at_s)

    # --- what must hold before anything is signed ------------------------------------------

    def _times(self) -> tuple[int, int]:
        """iat and exp for now, in UTC seconds; checks that the DSC can sign for that long."""
        issued_at_s = int(self._clock())
        expires_at_s = issued_at_s + int(self.validity.total_seconds())
        now, end = _utc(issued_at_s), _utc(expires_at_s)
        dsc = self.dsc
        for begin, finish, what in (
            (dsc.not_before, dsc.not_after, "the DSC is valid"),
            (*dsc.private_key_period, "the DSC's key may sign"),
        ):
            if (begin and now < begin) or (finish and now > finish):
                raise CertificateError(
                    f"{what} from {_day(begin)} to {_day(finish)}, and today is {_day(now)}: "
                    "check the clock, or use the DSC that is valid now"
                )
        if end > dsc.not_after:
            raise CertificateError(
                f"credentials of {self.validity.days} days would be valid until {_day(end)}, but "
                f"their DSC only until {_day(dsc.not_after)}: shorten the validity, or use a "
                "newer DSC"
            )
        return issued_at_s, expires_at_s

    def _prove(self) -> None:
        """Prove by one signature that the signer's key is the DSC's."""
        known = self._signer.public_key
        if self.dsc.alg is self._signer.alg and (known is None or known == self.dsc.public_key):
            (signature,) = self._signer.sign([PROOF_MESSAGE])
            if verify_signature(self.dsc.public_key, PROOF_MESSAGE, signature):
                return
        raise CertificateError(
            f"the DSC with kid {self.dsc.kid.hex()} ({self.dsc.key_description}) is not the "
            f"certificate of this key ({self._signer.alg.name}): give the DSC that was issued for "
            "it, or the key that belongs to it"
        )

    # --- the size of the QR symbol ---------------------------------------------------------

    @property
    def _signature_bytes(self) -> int:
        if self._signer.alg is Alg.ES256:
            return 64
        return (getattr(self.dsc.public_key, "key_size", 0) + 7) // 8

    @property
    def _surely_small(self) -> int:
        """Bytes of payload that fit even when nothing deflates."""
        zlib_bytes = framing.zlib_bytes(self._capacity)
        around = len(cose.encode_sign1(self._protected, b"", bytes(self._signature_bytes))) + 4
        return zlib_bytes - framing.STORED_OVERHEAD - around

    def _too_large(self, payload: bytes) -> Violation | None:
        if len(payload) <= self._surely_small:
            return None
        # Deflate what will be framed, with bytes that deflate as badly as a signature does.
        stand_in = hashlib.shake_256(payload).digest(self._signature_bytes)
        message = cose.encode_sign1(self._protected, payload, stand_in)
        zlib_bytes = len(framing.deflate(message, len(payload))) + _DEFLATE_MARGIN
        length = framing.text_length(zlib_bytes)
        return None if length <= self._capacity else self._size_violation(length)

    def _size_violation(self, length: int) -> Violation:
        return Violation(
            "record",
            f"a text of {length} characters",
            f"at most {self._capacity}, which QR version {self._max_qr_version} at level Q holds: "
            "shorten the issuer's name or the names, or allow a larger symbol",
        )


def _dsc(dsc: Certificate | bytes | str | PathLike[str]) -> Certificate:
    if isinstance(dsc, Certificate):
        return dsc
    if isinstance(dsc, bytes):
        return Certificate.from_bytes(dsc)
    return read_certificate(Path(dsc))


def _check_dsc(dsc: Certificate) -> None:
    if dsc.is_ca or (dsc.key_usage is not None and "digitalSignature" not in dsc.key_usage):
        raise CertificateError(
            f"the certificate with kid {dsc.kid.hex()} is no DSC: expected key usage "
            "digitalSignature and no CA; give the DSC, not its CSCA"
        )
    if "v" not in dsc.entry_kinds:
        raise CertificateError(
            f"the DSC with kid {dsc.kid.hex()} may sign {', '.join(sorted(dsc.entry_kinds))} only, "
            "expected one that may sign vaccinations (v)"
        )


def _country(country: str) -> str:
    if len(country) != 2 or not (country.isascii() and country.isalpha() and country.isupper()):
        raise InputError("country: expected two capital letters (ISO 3166-1 alpha-2), such as VN")
    return country


def _name(name: str) -> str:
    faults: list[Violation] = []
    name = check_text("the issuer's name", name, faults)
    if not name and not faults:
        faults.append(Violation("the issuer's name", "nothing", "1 to 80 characters"))
    if faults:
        raise RecordError(faults)
    return name


def _refused_rows(block: Columns, issued_at_s: int) -> dict[int, Violation]:
    """The rows that may not be issued, whatever their size."""
    refused: dict[int, Violation] = {}
    latest = _latest_day(issued_at_s)
    for row, (uvci, day) in enumerate(zip(block.uvci, block.vaccination_date, strict=True)):
        if day > latest:
            refused[row] = _FUTURE
            continue
        try:
            check_uvci(uvci)
        except InputError as error:
            refused[row] = Violation("uvci", "one that may not be written", str(error))
    return refused


def _utc(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _day(moment: datetime | None) -> str:
    return "any time" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%MZ}"


def _latest_day(issued_at_s: int) -> str:
    """The date that it already is somewhere on earth (UTC+14)."""
    today: date = (_utc(issued_at_s) + timedelta(hours=14)).date()
    return today.isoformat()


_FUTURE = Violation("vaccination_date", "a day in the future", "today or earlier")


def _future(vaccination_date: str, issued_at_s: int) -> Violation | None:
    if vaccination_date > _latest_day(issued_at_s):
        return _FUTURE
    return None
