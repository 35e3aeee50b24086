"""One record in, one HCERT out; or columns of them.

An issuer is a signer, its DSC, a country, a name and a validity that belong together. Building one
proves it: the DSC must be a DSC for vaccinations, valid now and for as long as the credentials will
be, and one signature over a fixed message that can't be a credential must verify under its key.

Threads and processes: an issuer may be shared by threads; their signatures are made one after the
other. It must not be used in a forked child, where its signer raises TokenError; the child (or
better, a spawned process) opens a signer of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from os import PathLike
from pathlib import Path

from vaxpass_sign.errors import CertificateError, InputError, RecordError, TokenError, Violation
from vaxpass_sign.hcert import claims, codec, cose
from vaxpass_sign.hcert.columns import Columns
from vaxpass_sign.hcert.qr_capacity import QR_CAPACITY
from vaxpass_sign.hcert.signature import verify_signature
from vaxpass_sign.issuer.columns import ColumnIssuer, IssuedColumns, refuse_future
from vaxpass_sign.issuer.symbol import Symbol, signature_bytes
from vaxpass_sign.keys.proof import signs_for
from vaxpass_sign.keys.signer import Signer
from vaxpass_sign.record.fields import check_text
from vaxpass_sign.record.model import VaccinationRecord
from vaxpass_sign.record.uvci import check_uvci, random_uvci
from vaxpass_sign.x509 import Certificate, read_certificate

__all__ = ["Issuer"]

_MAX_VALIDITY = timedelta(days=100 * 366)


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
        self.signer = signer
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
        self._clock = clock
        protected = cose.encode_protected(signer.alg, self.dsc.kid)
        self.symbol = Symbol(max_qr_version, protected, signature_bytes(signer.alg, self.dsc))
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
        refused = refuse_future(record.vaccination_date, issued_at_s) or self.symbol.refuse(payload)
        if refused:
            raise RecordError([refused])
        signed = cose.sig_structure(self.symbol.protected, payload)
        (signature,) = self.signer.sign([signed])
        # One at a time there is time to look: nothing leaves that a verifier would refuse.
        if not verify_signature(self.dsc.public_key, signed, signature):
            raise TokenError(
                "the key gave a signature that its DSC does not verify: nothing was issued; "
                "check the token before you go on"
            )
        text = codec.encode(self.symbol.protected, payload, signature)
        if len(text) > self.symbol.capacity:
            raise RecordError([self.symbol.too_long(len(text))])
        return text

    def issue_columns(self, columns: Columns) -> IssuedColumns:
        """The "HC1:" texts of many records, all issued at one moment; needs the extra ``batch``.

        Rows that can't be issued are refused and the others go on. The signatures are not verified
        here: a durable run audits every one of them afterwards.

        Raises: CertificateError and TokenError as :meth:`issue`; nothing is returned then.
        """
        return self.at_one_moment().issue(columns)

    def at_one_moment(self) -> ColumnIssuer:
        """Issue columns again and again, all with the iat and exp of now.

        Raises: CertificateError when the DSC can't sign now, or not for that long.
        """
        issued_at_s, expires_at_s = self._times()
        return ColumnIssuer(
            self.signer.sign,
            self.symbol,
            country=self.country,
            name=self.name,
            issued_at_s=issued_at_s,
            expires_at_s=expires_at_s,
        )

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
        known = self.signer.public_key
        same = self.dsc.alg is self.signer.alg and known in (None, self.dsc.public_key)
        if same and signs_for(self.signer, self.dsc.public_key):
            return
        raise CertificateError(
            f"the DSC with kid {self.dsc.kid.hex()} ({self.dsc.key_description}) is not the "
            f"certificate of this key ({self.signer.alg.name}): give the DSC that was issued for "
            "it, or the key that belongs to it"
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


def _utc(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _day(moment: datetime | None) -> str:
    return "any time" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%MZ}"
