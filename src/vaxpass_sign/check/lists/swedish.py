"""The Swedish DSC-TL: a compact JWS over a JSON object (DSC Trust List, Format Specification 1.0).

The payload is ``{iss, iat, exp, dsc_trust_list: {CC: {eku: {kid: […]}, keys: [JWK, …]}}}``. Of each
JWK the certificate is what counts (§2.2.2): ``x5c[0]``. The object ``eku`` repeats what the
certificates say, for readers that parse none, and is not read.

>>> from datetime import UTC, datetime
>>> read_swedish(b"e30.e30.AA", [], datetime(2026, 1, 1, tzinfo=UTC))
Traceback (most recent call last):
    ...
vaxpass_sign.errors.TrustError: x5c in the header of the DSC-TL is missing or null, ...
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from vaxpass_sign.check.lists.jwk import certificate_of
from vaxpass_sign.check.lists.jws import check_jws
from vaxpass_sign.check.lists.reading import (
    CLOCK_SKEW,
    as_list,
    as_object,
    as_text,
    check_moment,
    check_not_ahead,
    parse_json,
    shown,
)
from vaxpass_sign.check.lists.result import Anchor, Finds, ListFormat, SignedList
from vaxpass_sign.errors import TrustError, TrustFault
from vaxpass_sign.x509 import Certificate

__all__ = ["read_swedish"]

_WHAT = "the DSC-TL"


def read_swedish(
    data: bytes, anchors: Iterable[Anchor], at: datetime, *, by_ca: bool = True
) -> SignedList:
    """The DSCs of a DSC-TL whose signature was checked (:func:`check_jws`).

    ``anchors``: the publisher's certificate, or, ``by_ca``, a CA that issues nothing but such
    certificates.
    ``at``: the moment of checking; iat may be CLOCK_SKEW later, exp must not have passed (by more
    than CLOCK_SKEW), and the signer must be valid.

    Raises: TrustError when the list can't be read, is not signed so, or was issued later than
    ``at`` or has expired; InputError when ``at`` has no UTC offset.
    """
    check_moment(at)
    pinned = [anchor for anchor in anchors if isinstance(anchor, Certificate)]
    payload, signer = check_jws(data.strip(b" \t\r\n"), pinned, at, _WHAT, by_ca=by_ca)
    claims = as_object(parse_json(payload, "the payload of the DSC-TL"), "the payload")
    issued_at, expires_at = _time(claims, "iat"), _time(claims, "exp")
    check_not_ahead(issued_at, at, _WHAT)
    if at - expires_at >= CLOCK_SKEW:
        raise TrustError(
            f"the DSC-TL expired {expires_at:%Y-%m-%dT%H:%M:%SZ}, expected later than the moment "
            f"of checking, {at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}: get a newer list",
            TrustFault.EXPIRED,
        )
    publisher = as_text(claims.get("iss"), "iss of the DSC-TL")
    finds = Finds()
    for jwk in _keys(claims):
        dsc = certificate_of(jwk, jwk.get("kid"), finds)
        if dsc is not None:
            finds.add_dsc(dsc)
    if not finds.dscs:
        raise TrustError(
            "the DSC-TL holds no DSC that can be used, expected at least one: get the list again "
            "from its publisher",
            TrustFault.NO_DSC,
        )
    signed_by = f"{signer.subject} (iss {shown(publisher)})"
    return finds.listed(ListFormat.SWEDISH, [signed_by], issued_at, expires_at)


def _keys(claims: dict[str, Any]) -> list[dict[str, Any]]:
    countries = as_object(claims.get("dsc_trust_list"), "dsc_trust_list of the DSC-TL")
    found = []
    for country, entry in countries.items():
        what = f"keys of {shown(country)} in the DSC-TL"
        keys = as_list(as_object(entry, f"the entry of {shown(country)}").get("keys"), what)
        found += [as_object(key, f"one of the {what}") for key in keys]
    return as_list(found, "dsc_trust_list of the DSC-TL")


def _time(claims: dict[str, Any], name: str) -> datetime:
    seconds = claims.get(name)
    # A bool is an int in Python; 2**33 s is the year 2242.
    if type(seconds) is not int or not 0 <= seconds < 2**33:
        raise TrustError(
            f"{name} of the DSC-TL is {shown(seconds)}, expected seconds since 1970 as an "
            "integer: get the list again from its publisher"
        )
    return datetime.fromtimestamp(seconds, UTC)
