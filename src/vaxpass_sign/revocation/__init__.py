"""Revocation, the issuing side: batches, their signatures, and the allow-list of a campaign."""

from vaxpass_sign.revocation.allow_list import allow_list_entries
from vaxpass_sign.revocation.batches import make_batches, published_hashes
from vaxpass_sign.revocation.signing import sign_batch, sign_cms

__all__ = [
    "allow_list_entries",
    "make_batches",
    "published_hashes",
    "sign_batch",
    "sign_cms",
]
