"""The Signer: what the rest of the library knows of a key.

A signer takes bytes and returns signatures; it knows nothing of records, HCERTs or kids. The
kid belongs to the DSC and comes with the issuer, which proves that DSC and signer belong
together.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.x509.key import PublicKey

__all__ = ["PublicKey", "Signer"]


class Signer(Protocol):
    """A private key that can sign, wherever it lives.

    Close it when done, or use it as a context manager. A signer may be shared by threads: calls
    are served one after the other. It must not be used in a forked child; there it raises
    TokenError and the child opens its own.
    """

    @property
    def alg(self) -> Alg:
        """The algorithm that this key signs with; the key decides, not the caller."""

    @property
    def public_key(self) -> PublicKey | None:
        """The public half, or None when a token does not hold it."""

    def sign(self, messages: Sequence[bytes]) -> list[bytes]:
        """Sign each message (for an HCERT: each Sig_structure, RFC 9052 §4.4), in order.

        The signer hashes with SHA-256, unless its token must hash itself.

        Returns: for ES256 raw r‖s of 64 bytes (RFC 9053 §2.1); for PS256 a PSS signature as long
        as the modulus, with MGF1-SHA256 and a salt of 32 bytes (RFC 8230 §2).
        Raises: TokenError when the key can't sign; nothing of the batch is returned then.
        """

    def close(self) -> None:
        """Give up the key; a second close does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
