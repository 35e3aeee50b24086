"""Signed trust lists: the EU gateway's, the Swedish DSC-TL, WHO's GDHCN.

Rules that this package keeps:

* Reading takes bytes, fetches nothing, and believes nothing in a list before its own signature was
  checked against an anchor that the caller pinned. What a signature does not cover is not believed.
* Whatever the bytes are, it raises TrustError or gives a :class:`SignedList`; size, count and depth
  are bounded.
* One entry that can't be used is left out and counted; one that was altered refuses the list.

>>> from datetime import UTC, datetime
>>> read_list(b"{}", [], datetime(2026, 1, 1, tzinfo=UTC))
Traceback (most recent call last):
    ...
vaxpass_sign.errors.TrustError: the list has no form that is known, ...
"""

from vaxpass_sign.check.lists.detect import detect, read_list
from vaxpass_sign.check.lists.dgcg import read_dgcg
from vaxpass_sign.check.lists.gdhcn import read_did_keys, read_gdhcn
from vaxpass_sign.check.lists.result import Anchor, LeftOut, ListFormat, SignedList
from vaxpass_sign.check.lists.swedish import read_swedish

__all__ = [
    "Anchor",
    "LeftOut",
    "ListFormat",
    "SignedList",
    "detect",
    "read_dgcg",
    "read_did_keys",
    "read_gdhcn",
    "read_list",
    "read_swedish",
]
