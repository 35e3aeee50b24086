"""Revocation, the reading side: what is revoked, and what a stolen key honestly signed.

* :mod:`~vaxpass_sign.check.revocation.hashes`: what of a credential is hashed, and how.
* :mod:`~vaxpass_sign.check.revocation.batch`: the EU's batches, read strictly.
* :mod:`~vaxpass_sign.check.revocation.table`, ``building``: the file of sorted entries.
* :mod:`~vaxpass_sign.check.revocation.store`: RevocationStore and AllowList.
* :mod:`~vaxpass_sign.check.revocation.known`: several of them, which verifying asks.
"""

from vaxpass_sign.check.revocation.building import write_allow_list, write_store
from vaxpass_sign.check.revocation.hashes import HashType, Scope
from vaxpass_sign.check.revocation.known import Revocations
from vaxpass_sign.check.revocation.store import AllowList, RevocationStore

__all__ = [
    "AllowList",
    "HashType",
    "RevocationStore",
    "Revocations",
    "Scope",
    "write_allow_list",
    "write_store",
]
