"""Lists that are forged or late: each is refused with its code, and the last good one stays."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from issuing import AT, csca, dsc, private_key
from signed_lists import (
    anchor,
    gateway_list,
    gdhcn_list,
    leaf,
    list_signer,
    swedish_list,
)
from vaxpass_sign.check import TrustStore
from vaxpass_sign.check.trust.keeping import keep_list
from vaxpass_sign.errors import TrustError, TrustFault

OTHER = leaf("swapped in")
"""A DSC with another key, of the same country."""
MANY = [dsc(), *(leaf(f"one of ten {number}") for number in range(9))]
DID_KEY = private_key("did").public_key()
DAY = timedelta(days=1)


def swapped(data: bytes, certificate=OTHER) -> bytes:
    """The gateway's or WHO's list with another certificate in the place of its first DSC's."""
    mine, theirs = (base64.b64encode(c.der).decode() for c in (dsc(), certificate))
    kids = (base64.b64encode(c.kid).decode() for c in (dsc(), certificate))
    assert mine in data.decode()
    return data.replace(mine.encode(), theirs.encode()).replace(*(kid.encode() for kid in kids))


def swapped_jws(data: bytes) -> bytes:
    head, payload, signature = data.split(b".")
    inside = swapped(base64.urlsafe_b64decode(payload + b"==="))
    return b".".join([head, base64.urlsafe_b64encode(inside).rstrip(b"="), signature])


def relabelled(data: bytes) -> bytes:
    """The gateway's item says that its certificate has another kid."""
    items = json.loads(data)
    items[-1]["kid"] = base64.b64encode(OTHER.kid).decode()
    return json.dumps(items).encode()


# What it is, the list, the anchor, and the code.
REFUSED: list[tuple[str, Callable[[], bytes], object, TrustFault]] = [
    ("gateway, entry swapped", lambda: swapped(gateway_list(dsc())), anchor(), "altered"),
    ("gateway, kid swapped", lambda: relabelled(gateway_list(dsc())), anchor(), "altered"),
    ("DSC-TL, entry swapped", lambda: swapped_jws(swedish_list(dsc())), list_signer(), "altered"),
    ("DSC-TL, another key", lambda: swedish_list(dsc(), key="thief"), list_signer(), "altered"),
    ("GDHCN, entry swapped", lambda: swapped(gdhcn_list(dsc())), DID_KEY, "altered"),
    ("GDHCN, another key", lambda: gdhcn_list(dsc(), key="thief"), DID_KEY, "altered"),
    ("gateway, a stranger", lambda: gateway_list(dsc()), leaf("stranger"), "no_dsc"),
    ("DSC-TL, a stranger", lambda: swedish_list(dsc()), leaf("stranger"), "unknown_signer"),
    ("DSC-TL, expired", lambda: swedish_list(dsc(), days=1), list_signer(), "expired"),
    ("DSC-TL, the future", lambda: swedish_list(dsc(), issued=AT + DAY), list_signer(), "not_yet"),
    ("GDHCN, the future", lambda: gdhcn_list(dsc(), issued=AT + DAY), DID_KEY, "not_yet"),
    ("no DSC", lambda: swedish_list(), list_signer(), "no_dsc"),
    ("no list", lambda: b'{"dscs": []}', DID_KEY, "unreadable"),
    ("cut short", lambda: gdhcn_list(dsc())[:-40], DID_KEY, "unreadable"),
]


@pytest.mark.parametrize(
    ("make", "pinned", "code"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_each_has_its_code(tmp_path: Path, make, pinned, code: str) -> None:
    """When it is loaded as it is, and when it is to be kept."""
    path = tmp_path / "list.json"
    path.write_bytes(make())
    with pytest.raises(TrustError) as caught:
        TrustStore.load(path, anchors=[pinned], at=AT)
    assert caught.value.code == code
    with pytest.raises(TrustError) as caught:
        keep_list(tmp_path / "store", "it", make(), [pinned], AT)
    assert caught.value.code == code


def test_no_anchor(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_bytes(gdhcn_list(dsc()))
    with pytest.raises(TrustError) as caught:
        TrustStore.load(path)
    assert caught.value.code is TrustFault.NO_ANCHOR
    with pytest.raises(TrustError) as caught:
        keep_list(tmp_path / "store", "it", path.read_bytes(), None, AT)
    assert caught.value.code is TrustFault.NO_ANCHOR


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (lambda: gdhcn_list(*MANY, issued=AT - 31 * DAY), "too_old"),
        (lambda: gdhcn_list(*MANY, issued=AT - 3 * DAY), "rolled_back"),
        (lambda: gdhcn_list(*MANY[3:], issued=AT - DAY), "shrunk"),
        (lambda: swapped(gdhcn_list(*MANY, issued=AT - DAY)), "altered"),
    ],
    ids=["too old", "an older one", "less", "swapped"],
)
def test_the_last_good_one_stays(tmp_path: Path, data, code: str) -> None:
    """Refused with its code; the kept file is the same, byte for byte."""
    keep_list(tmp_path, "it", gdhcn_list(*MANY, issued=AT - 2 * DAY), [DID_KEY], AT)
    [kept] = tmp_path.glob("*.trust.json")
    before = kept.read_bytes()
    with pytest.raises(TrustError, match=r"the last good one, .* old, stays") as caught:
        keep_list(tmp_path, "it", data(), None, AT)
    assert caught.value.code == code
    assert kept.read_bytes() == before
    assert len(TrustStore.load(tmp_path, at=AT)) == len(MANY)


def test_every_code_is_reached() -> None:
    """Each code there is stands in a table of this file."""
    reached = {row[3] for row in REFUSED} | {"no_anchor", "too_old", "rolled_back", "shrunk"}
    assert reached == set(TrustFault)


def test_cscas_are_no_signers(tmp_path: Path) -> None:
    """The CSCA of a listed DSC, pinned as the list's signer, signs no list."""
    path = tmp_path / "list.json"
    path.write_bytes(swedish_list(dsc()))
    with pytest.raises(TrustError) as caught:
        TrustStore.load(path, anchors=[csca()], at=AT)
    assert caught.value.code is TrustFault.UNKNOWN_SIGNER
