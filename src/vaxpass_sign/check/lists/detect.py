"""Which format a trust list has, by its form, and the reading of any.

>>> detect(b"[]")
<ListFormat.DGCG: 'dgcg'>
>>> detect(b"eyJhbGciOiJFUzI1NiJ9.e30.AA")
<ListFormat.SWEDISH: 'dsc-tl'>
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from vaxpass_sign.check.lists.dgcg import is_dgcg, read_dgcg
from vaxpass_sign.check.lists.gdhcn import is_gdhcn, read_gdhcn
from vaxpass_sign.check.lists.jws import has_jws_form
from vaxpass_sign.check.lists.reading import check_size, parse_json
from vaxpass_sign.check.lists.result import Anchor, ListFormat, SignedList
from vaxpass_sign.check.lists.swedish import read_swedish
from vaxpass_sign.errors import TrustError
from vaxpass_sign.x509 import Certificate

__all__ = ["detect", "read_list"]


def detect(data: bytes) -> ListFormat:
    """The format of a list, from its form alone; nothing of it is checked.

    Raises: TrustError when it has the form of none.
    """
    check_size(data, "the list")
    start = data.lstrip(b" \t\r\n")
    if has_jws_form(start):
        return ListFormat.SWEDISH
    if start[:1] in (b"[", b"{"):
        value = parse_json(data, "the list")
        if is_dgcg(value):
            return ListFormat.DGCG
        if is_gdhcn(value):
            return ListFormat.GDHCN
    raise TrustError(
        "the list has no form that is known, expected the EU gateway's JSON array, a DSC-TL (a "
        "compact JWS) or a DID document of the GDHCN: give one of these, or certificate files"
    )


def read_list(  # noqa: PLR0913 (each format has what it needs)
    data: bytes,
    anchors: Iterable[Anchor],
    at: datetime,
    *,
    uploads: Iterable[Certificate] = (),
    documents: Iterable[bytes] = (),
    by_ca: bool = True,
) -> SignedList:
    """Read a signed list of any format; see the function of each for what is checked.

    ``anchors``: certificates and keys that may sign it. ``uploads``: pinned upload certificates,
    for the EU gateway's format alone. ``documents``: where the references of a GDHCN list may lead.
    ``by_ca``: whether an anchor may be a CA that issued a DSC-TL's signer.

    Raises: TrustError when it has no form that is known, or is not to be believed; InputError when
    ``at`` has no UTC offset.
    """
    list_format = detect(data)
    if list_format is ListFormat.DGCG:
        return read_dgcg(data, anchors, at, uploads)
    if list_format is ListFormat.SWEDISH:
        return read_swedish(data, anchors, at, by_ca=by_ca)
    return read_gdhcn(data, anchors, at, documents)
