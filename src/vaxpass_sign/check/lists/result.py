"""What the reading of a signed trust list gives, whatever its format.

>>> SignedList(format=ListFormat.DGCG, dscs=(), signed_by="CN=Anchor").left_out
mappingproxy({})
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from vaxpass_sign.x509 import Certificate, PublicKey

__all__ = ["Anchor", "Finds", "LeftOut", "ListFormat", "SignedList"]

Anchor = Certificate | PublicKey
"""What the caller trusts to sign lists: got out of band, never from a list."""


class ListFormat(StrEnum):
    """The formats that are read."""

    DGCG = "dgcg"
    """The EU gateway's JSON: each item signed on its own (CMS)."""
    SWEDISH = "dsc-tl"
    """The Swedish DSC-TL: one JWS."""
    GDHCN = "gdhcn"
    """WHO's DID document: one proof."""


class LeftOut(StrEnum):
    """Why an entry of a list whose signature holds is not among its DSCs."""

    OTHER_USE = "not a DSC"
    """Something else by what the list says: an upload, TLS or encryption certificate."""
    NO_CERTIFICATE = "a key without a certificate"
    """A JWK without x5c: a trust store holds certificates."""
    UNREADABLE = "a certificate that can't be read"
    OTHER_KID = "a kid that is not the certificate's"
    OTHER_KEY = "a JWK that is not the certificate's key"
    UNKNOWN_SIGNER = "signed by none of the anchors"
    UNRESOLVED = "a reference to a document that was not given"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedList:
    """A trust list whose signature was checked against an anchor.

    Nothing is said about who issued a DSC (:func:`vaxpass_sign.x509.check_issued_by`) or whether
    it is valid now (step 8 of verifying).
    """

    format: ListFormat
    dscs: tuple[Certificate, ...]
    """Each once, in the order of the list. Several may share a kid."""
    cscas: tuple[Certificate, ...] = ()
    """CSCAs that the same signature covers: possible anchors of the DSCs."""
    signed_by: str
    """Who signed, in words: the signer's subject, or the DID of the key."""
    issued_at: datetime | None = None
    """None where the format has no time that the signature covers."""
    expires_at: datetime | None = None
    left_out: Mapping[LeftOut, int] = field(default_factory=lambda: MappingProxyType({}))
    """How many entries are not among the DSCs and CSCAs, and why; entries that recur count each."""


class Finds:
    """What is found while a list is read."""

    def __init__(self) -> None:
        self.dscs: dict[bytes, Certificate] = {}
        self.cscas: dict[bytes, Certificate] = {}
        self._left_out: Counter[LeftOut] = Counter()

    def add_dsc(self, dsc: Certificate) -> None:
        self.dscs.setdefault(dsc.der, dsc)

    def add_csca(self, csca: Certificate) -> None:
        self.cscas.setdefault(csca.der, csca)

    def leave_out(self, why: LeftOut) -> None:
        self._left_out[why] += 1

    def count(self, why: LeftOut) -> int:
        return self._left_out[why]

    def listed(
        self,
        list_format: ListFormat,
        signed_by: Iterable[str],
        issued_at: datetime | None = None,
        expires_at: datetime | None = None,
    ) -> SignedList:
        """The result; ``signed_by`` may name a signer more than once."""
        return SignedList(
            format=list_format,
            dscs=tuple(self.dscs.values()),
            cscas=tuple(self.cscas.values()),
            signed_by="; ".join(dict.fromkeys(signed_by)),
            issued_at=issued_at,
            expires_at=expires_at,
            left_out=MappingProxyType(dict(self._left_out)),
        )
