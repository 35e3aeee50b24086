"""The QR symbol that a text must fit, asked before anything is signed.

>>> Symbol(25, b"", 64).capacity
1041
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from vaxpass_sign.errors import Violation
from vaxpass_sign.hcert import cose, framing
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.hcert.qr_capacity import QR_CAPACITY
from vaxpass_sign.x509 import Certificate

__all__ = ["Symbol", "signature_bytes"]

# A signature's bytes decide how well a message deflates: the lengths of one payload's streams had a
# standard deviation of up to 2.6 bytes (benchmarks/deflate.py), and two of them are compared.
_DEFLATE_MARGIN = 16


@dataclass(frozen=True, slots=True)
class Symbol:
    """The largest QR symbol that a text may need, for one signer and protected header."""

    version: int
    protected: bytes
    signature_bytes: int

    @property
    def capacity(self) -> int:
        """Characters that it holds."""
        return QR_CAPACITY[self.version - 1]

    def surely_fits(self) -> int:
        """Bytes of payload that fit even when nothing deflates."""
        zlib_bytes = framing.zlib_bytes(self.capacity)
        around = len(cose.encode_sign1(self.protected, b"", bytes(self.signature_bytes))) + 4
        return zlib_bytes - framing.STORED_OVERHEAD - around

    def refuse(self, payload: bytes) -> Violation | None:
        """Why a payload's text won't fit; asked before anything is signed."""
        if len(payload) <= self.surely_fits():
            return None
        # Deflate what will be framed, with bytes that deflate as badly as a signature does.
        stand_in = hashlib.shake_256(payload).digest(self.signature_bytes)
        message = cose.encode_sign1(self.protected, payload, stand_in)
        zlib_bytes = len(framing.deflate(message, len(payload))) + _DEFLATE_MARGIN
        length = framing.text_length(zlib_bytes)
        return None if length <= self.capacity else self.too_long(length)

    def too_long(self, length: int) -> Violation:
        """The reason for a text of ``length`` characters."""
        return Violation(
            "record",
            f"a text of {length} characters",
            f"at most {self.capacity}, which QR version {self.version} at level Q holds: "
            "shorten the issuer's name or the names, or allow a larger symbol",
        )


def signature_bytes(alg: Alg, dsc: Certificate) -> int:
    """How long the signatures of a DSC's key are."""
    if alg is Alg.ES256:
        return 64
    return (getattr(dsc.public_key, "key_size", 0) + 7) // 8
