"""Which DSCs a set of CSCAs issued: the one place where a trust store asks that.

:func:`vaxpass_sign.x509.check_issued_by` judges one pair (signature, AKI, validity); here each of
many DSCs is held against the CSCA that it names, whether CSCAs come as anchors or in a signed list.

>>> sift([], [], required=True).anchored
()
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from vaxpass_sign.errors import CertificateError
from vaxpass_sign.x509 import Certificate, check_issued_by

__all__ = ["Sifted", "sift"]

_MAX_TRIED: Final = 8
"""CSCAs of one name and one key that are tried: a CSCA may be certified anew, a few times."""


@dataclass(frozen=True, slots=True)
class Sifted:
    """DSCs, by what is known of who issued them."""

    anchored: tuple[Certificate, ...]
    """A CSCA issued each of them."""
    not_anchored: tuple[Certificate, ...]
    """Their issuer has the name of none of the CSCAs; empty when that was required."""
    refused: dict[bytes, str]
    """The kids of all others → why."""


def sift(dscs: Iterable[Certificate], cscas: Iterable[Certificate], *, required: bool) -> Sifted:
    """Hold each DSC against the CSCAs that bear its issuer's name.

    One of them must have issued it, else it is refused. A DSC whose issuer's name no CSCA bears is
    refused too when a CSCA is ``required``; when not, it is kept as not anchored.
    """
    issuers = _Issuers(cscas)
    anchored: list[Certificate] = []
    not_anchored: list[Certificate] = []
    refused: dict[bytes, str] = {}
    for dsc in dscs:
        if not required and not issuers.has_name_of(dsc):
            not_anchored.append(dsc)
            continue
        why = issuers.why_not(dsc)
        if why is None:
            anchored.append(dsc)
        else:
            refused[dsc.kid] = why
    return Sifted(tuple(anchored), tuple(not_anchored), refused)


class _Issuers:
    """CSCAs by name, and by name and key identifier."""

    def __init__(self, cscas: Iterable[Certificate]) -> None:
        self._by_name: dict[bytes, list[Certificate]] = {}
        self._by_key: dict[tuple[bytes, bytes | None], list[Certificate]] = {}
        self._number = 0
        for csca in dict.fromkeys(cscas):
            self._number += 1
            self._by_name.setdefault(csca.subject_der, []).append(csca)
            self._by_key.setdefault((csca.subject_der, csca.ski), []).append(csca)

    def has_name_of(self, dsc: Certificate) -> bool:
        return dsc.issuer_der in self._by_name

    def why_not(self, dsc: Certificate) -> str | None:
        """Why none of them issued it; None when one did."""
        named = self._by_name.get(dsc.issuer_der)
        if named is None:
            return (
                f"DSC {dsc.kid.hex()} was issued by {dsc.issuer}, expected one of the "
                f"{self._number} CSCAs; find its own CSCA"
            )
        failures = []
        # Without a fitting key one of the name is asked, for the reason alone.
        for csca in self._by_key.get((dsc.issuer_der, dsc.aki), named[:1])[:_MAX_TRIED]:
            try:
                check_issued_by(dsc, csca)
            except CertificateError as error:
                failures.append(str(error))
            else:
                return None
        return failures[0]
