"""Revocation, the issuing side.

* :mod:`~vaxpass_sign.revocation.register`: what was revoked, and in which batch it was published.
* :mod:`~vaxpass_sign.revocation.revoking`: what of a credential or a UVCI is entered there.
* :mod:`~vaxpass_sign.revocation.batches`, ``signing``, ``export``: batches, signed and written.
* :mod:`~vaxpass_sign.revocation.allow_list`: what a campaign honestly signed, for a stolen key.
"""

from vaxpass_sign.revocation.allow_list import allow_list_entries, last_expiry
from vaxpass_sign.revocation.batches import make_batches, published_hashes
from vaxpass_sign.revocation.export import Exported, export_batches
from vaxpass_sign.revocation.register import Added, Entry, Register
from vaxpass_sign.revocation.revoking import entries_of, entries_of_uvci
from vaxpass_sign.revocation.signing import sign_batch, sign_cms

__all__ = [
    "Added",
    "Entry",
    "Exported",
    "Register",
    "allow_list_entries",
    "entries_of",
    "entries_of_uvci",
    "export_batches",
    "last_expiry",
    "make_batches",
    "published_hashes",
    "sign_batch",
    "sign_cms",
]
