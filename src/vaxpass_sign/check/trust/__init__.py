"""Whom we believe: DSCs from folders, certificate files, signed lists and kept lists.

Rules that this package keeps:

* What is signed is believed only after its signature was checked against an anchor that the caller
  gives. What is not signed is believed only from local files: who can write them decides.
* Whether a CSCA issued a DSC is one explicit step (:mod:`~vaxpass_sign.check.trust.issued`), and a
  fact of each DSC.
* A kept list is replaced only by one that is genuine, newer, and not suspiciously smaller; else the
  last good one stays (:mod:`~vaxpass_sign.check.trust.keeping`).

>>> TrustStore([]).is_anchored
<bound method ...>
"""

from vaxpass_sign.check.trust.store import TrustStore

__all__ = ["TrustStore"]
