"""The reader's own token: how fast its key signs, without anything that could be a credential.

What is signed is one fixed text that begins with 'v', where whatever COSE signs begins with 0x84
(:mod:`vaxpass_sign.keys.rate`).
"""

from __future__ import annotations

from pathlib import Path

from vaxpass_sign.errors import VaxpassError
from vaxpass_sign.hcert.signature import verify_signature
from vaxpass_sign.keys import open_signer
from vaxpass_sign.keys.pin import AskedOnce, Hidden
from vaxpass_sign.keys.proof import PROOF_MESSAGE
from vaxpass_sign.keys.rate import signing_rate
from vaxpass_sign.x509 import read_certificate

__all__ = ["OwnToken"]


class OwnToken:
    """A key that signs for so many seconds a measure."""

    def __init__(self, key: str, pin: Hidden | None, dsc: Path | None, seconds: float) -> None:
        """``pin`` is asked once. ``dsc``: its key must be the one that is measured.

        Raises: InputError when the DSC can't be read; PinError, TokenError when the key can't be
        opened; ends the benchmark with one line when it is another than the DSC's.
        """
        self._key = key
        self._pin = AskedOnce(pin)
        self._seconds = seconds
        certificate = None if dsc is None else read_certificate(dsc)
        with open_signer(key, self._pin.hidden) as signer:
            [proof] = signer.sign([PROOF_MESSAGE])
            token = getattr(signer, "token", None)
        self.removable = token is not None and "removable" in token.flags
        """Whether the token says so."""
        if certificate and not verify_signature(certificate.public_key, PROOF_MESSAGE, proof):
            raise SystemExit(
                "--dsc: found another key in it than the one at --key, expected the key's own DSC"
            )

    def rate(self, workers: int, sessions: int) -> float:
        """Signatures a second of so many processes with so many sessions each.

        Ends the benchmark with one line when the key can't be opened or can't sign.
        """
        try:
            return signing_rate(
                self._key,
                self._pin.hidden,
                workers=workers,
                sessions=sessions,
                seconds=self._seconds,
            )
        except VaxpassError as error:
            raise SystemExit(str(error)) from None
