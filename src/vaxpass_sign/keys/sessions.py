"""Several sessions of one key that sign side by side, for tokens that serve many at once.

A network HSM or a multi-core one reaches its rate only with many requests under way. Each session
has a thread of its own in this process; the module was initialised for that
(:mod:`vaxpass_sign.keys.module`), and it lets go of Python's lock while it works. The first
session's login is everybody's (PKCS#11 v2.40 §5.6), and the PIN is sent once.

For a token in software, more processes do more: threads share Python's lock.

>>> from vaxpass_sign.keys.software import SoftwareSigner
>>> from cryptography.hazmat.primitives.asymmetric import ec
>>> key = ec.generate_private_key(ec.SECP256R1())
>>> with SessionsSigner([SoftwareSigner(key, "an example") for _ in range(2)]) as signer:
...     [len(signature) for signature in signer.sign([b"one", b"two", b"three"])]
[64, 64, 64]
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from queue import SimpleQueue

from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.keys.signer import PublicKey, Signer
from vaxpass_sign.keys.watch import in_thread

__all__ = ["SessionsSigner"]


class SessionsSigner(Signer):
    """Signers of one key that share each batch.

    Threads may share it: while one batch's last messages are being signed, sessions that are free
    go on with another thread's batch. Closing it closes its signers.
    """

    def __init__(self, signers: Sequence[Signer]) -> None:
        self._signers = list(signers)
        self._free: SimpleQueue[Signer] = SimpleQueue()
        for signer in signers:
            self._free.put(signer)

    @property
    def alg(self) -> Alg:
        """The algorithm that the key signs with."""
        return self._signers[0].alg

    @property
    def public_key(self) -> PublicKey | None:
        """The public half, or None when the token doesn't hold it."""
        return self._signers[0].public_key

    def sign(self, messages: Sequence[bytes]) -> list[bytes]:
        """Sign each message: see :meth:`vaxpass_sign.keys.signer.Signer.sign`.

        Raises: TokenError, without any of the batch's signatures; the other sessions stop at their
            next message.
        """
        signatures: list[bytes] = [b""] * len(messages)
        # One message at a time: so nobody waits for a session that still has many before it.
        places = count()

        def drain() -> None:
            signer = self._free.get()
            try:
                while (place := next(places)) < len(messages):
                    [signatures[place]] = signer.sign(messages[place : place + 1])
            except BaseException:
                for _ in messages:  # nothing is left for the others
                    next(places)
                raise
            finally:
                self._free.put(signer)

        threads = min(len(self._signers), len(messages))
        # Threads of their own: one that is stuck in the module keeps no process from ending.
        waiting = [in_thread(drain) for _ in range(threads)]
        failures = [error for future in waiting if (error := future.exception())]
        if failures:
            raise failures[0]
        return signatures

    def close(self) -> None:
        """Give up every session; a second close does nothing."""
        for signer in self._signers:
            signer.close()
