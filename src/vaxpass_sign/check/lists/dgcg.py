"""The EU gateway's trust list: a JSON array of items, each signed on its own (dgc-gateway API).

An item is ``{kid, timestamp, country, certificateType, thumbprint, signature, rawData}``: rawData
is the certificate (base64 of DER) and signature a CMS over it. The gateway's trust anchor signs
CSCA and UPLOAD certificates; a country signs its DSCs with the key of an UPLOAD certificate.

The array itself carries no signature, and timestamp, country and certificateType are nobody's word.
So whoever delivers the list can leave items out, put back a DSC that its country has withdrawn, and
label an item as another type. What that can gain is kept small here: who may sign what follows from
how a signer came to be known, and countries are compared by the certificates' own subjects. What
remains is that an upload certificate can pass as a DSC, since an anchor may sign DSCs itself; its
key may sign DSCs of its country anyway. Check DSCs against their CSCAs too
(:func:`vaxpass_sign.x509.check_issued_by`), which closes both.

>>> from datetime import UTC, datetime
>>> read_dgcg(b"[]", [], datetime(2026, 1, 1, tzinfo=UTC))
Traceback (most recent call last):
    ...
vaxpass_sign.errors.TrustError: no anchor was given for the gateway's list, ...
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

from vaxpass_sign.check.cms import UnknownSignerError, check_cms
from vaxpass_sign.check.lists.reading import (
    as_list,
    as_object,
    as_text,
    check_moment,
    decode_base64,
    is_kid_of,
    parse_json,
    read_der,
    shown,
)
from vaxpass_sign.check.lists.result import Anchor, Finds, LeftOut, ListFormat, SignedList
from vaxpass_sign.errors import TrustError
from vaxpass_sign.x509 import Certificate

__all__ = ["is_dgcg", "read_dgcg"]

_TLS_USES: Final = frozenset({"1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"})
"""serverAuth and clientAuth (RFC 5280 §4.2.1.12): the anchor signs such certificates as well."""


def is_dgcg(value: Any) -> bool:
    """Whether a JSON value has this format's form: an array of objects with rawData."""
    return isinstance(value, list) and all(isinstance(i, dict) and "rawData" in i for i in value)


def read_dgcg(
    data: bytes, anchors: Iterable[Anchor], at: datetime, uploads: Iterable[Certificate] = ()
) -> SignedList:
    """The DSCs of the EU gateway's list, and its CSCAs.

    ``anchors``: certificates of the gateway's trust anchor. ``uploads``: upload certificates that
    are pinned, for a list that holds DSCs only. ``at`` judges nothing, since no time is signed.

    1. UPLOAD items: an anchor signed the CMS (:func:`check_cms`). Such a certificate that is not
       for TLS, or a pinned one, may sign DSCs of the country that its subject names.
    2. CSCA items: an anchor signed the CMS, and the certificate is a CA.
    3. DSC items: an anchor or a fitting upload certificate signed the CMS, and the certificate is
       no CA and not for TLS.
    4. Other items are left out, and counted.

    An item whose CMS names a signer that may sign it must be whole: signature, thumbprint (SHA-256
    of rawData) and kid. Otherwise it was altered, and nothing in the list is believed. One of a
    signer that is not known is left out and counted.

    Raises: TrustError when the list can't be read, an item was altered, or there is no DSC or CSCA;
    InputError when ``at`` has no UTC offset.
    """
    check_moment(at)
    pinned = [anchor for anchor in anchors if isinstance(anchor, Certificate)]
    uploading = dict.fromkeys(uploads)  # Each once: every DSC is held against all of them.
    if not pinned and not uploading:
        raise TrustError(
            "no anchor was given for the gateway's list, expected the certificate of its trust "
            "anchor: pin that, got in another way than the list"
        )
    reader = _Reader()
    by_type: dict[str, list[tuple[str, dict[str, Any]]]] = {"UPLOAD": [], "CSCA": [], "DSC": []}
    for place, found in enumerate(as_list(parse_json(data, "the gateway's list"), "the list")):
        what = f"item {place} of the gateway's list"
        item = as_object(found, what)
        kind = as_text(item.get("certificateType"), f"certificateType of {what}")
        if kind not in by_type:
            reader.finds.leave_out(LeftOut.OTHER_USE)  # 4
        else:
            by_type[kind].append((what, item))
    for what, item in by_type["UPLOAD"]:  # 1
        upload = reader.read(what, item, pinned)
        if upload is not None:
            reader.finds.leave_out(LeftOut.OTHER_USE)
            # The label is nobody's word: a TLS key lies on a server that faces the network.
            if not upload.extended_key_usage & _TLS_USES:
                uploading[upload] = None
    for what, item in by_type["CSCA"]:  # 2
        csca = reader.read(what, item, pinned)
        if csca is not None:
            reader.take(csca, csca.is_ca, reader.finds.add_csca)
    for what, item in by_type["DSC"]:  # 3
        dsc = reader.read(what, item, pinned, uploading)
        if dsc is not None:
            fits = not dsc.is_ca and not dsc.extended_key_usage & _TLS_USES
            reader.take(dsc, fits, reader.finds.add_dsc)
    finds = reader.finds
    if not finds.dscs and not finds.cscas:
        raise TrustError(
            f"the gateway's list: found {len(by_type['DSC'])} items of type DSC, and "
            f"{finds.count(LeftOut.UNKNOWN_SIGNER)} items of a signer that is not known, expected "
            "at least one DSC that can be used: pin the certificate of the gateway's trust anchor"
        )
    return finds.listed(ListFormat.DGCG, reader.signed_by)


class _Reader:
    """Reads items and keeps what is found."""

    def __init__(self) -> None:
        self.finds = Finds()
        self.signed_by: list[str] = []

    def read(
        self,
        what: str,
        item: dict[str, Any],
        anchors: list[Certificate],
        uploads: Iterable[Certificate] = (),
    ) -> Certificate | None:
        """The certificate of an item that was not altered; None, and counted, when left out."""
        raw = decode_base64(item.get("rawData"), f"rawData of {what}")
        signature = decode_base64(item.get("signature"), f"signature of {what}")
        certificate = read_der(item["rawData"])
        signers = anchors + [u for u in uploads if certificate and _same_country(u, certificate)]
        try:
            signer = check_cms(signature, raw, signers)
        except UnknownSignerError:
            self.finds.leave_out(LeftOut.UNKNOWN_SIGNER)
            return None
        except TrustError as error:
            raise TrustError(f"{what}: {error}") from error
        thumbprint = hashlib.sha256(raw).hexdigest()
        if as_text(item.get("thumbprint"), f"thumbprint of {what}").lower() != thumbprint:
            raise TrustError(
                f"{what} has the thumbprint {shown(item['thumbprint'])}, expected that of its "
                f"rawData, {thumbprint}: the list was altered, do not use it"
            )
        if certificate is None:
            self.finds.leave_out(LeftOut.UNREADABLE)
            return None
        if not is_kid_of(item.get("kid"), certificate):
            raise TrustError(
                f"{what} has the kid {shown(item.get('kid'))}, expected that of its rawData, "
                f"{certificate.kid.hex()} in hex: the list was altered, do not use it"
            )
        self.signed_by.append(signer.subject)
        return certificate

    def take(
        self, certificate: Certificate, fits: bool, add: Callable[[Certificate], None]
    ) -> None:
        if fits:
            add(certificate)
        else:
            self.finds.leave_out(LeftOut.OTHER_USE)


def _same_country(one: Certificate, other: Certificate) -> bool:
    """Whether both subjects name a country, and the same."""
    return one.country is not None and one.country.upper() == (other.country or "").upper()
