"""Several sessions of one key that sign side by side, for tokens that serve many at once.

A network HSM or a multi-core one reaches its rate only with many requests under way. Each session
has a thread of its own in this process; the module was initialised for that
(:mod:`vaxpass_sign.keys.module`), and it lets go of Python's lock while it works. The first
session's login is everybody's (PKCS#11 v2.40 §5.6), and the PIN is sent once.

For a token in software, more processes do more: threads share Python's lock.

>>> open_signers("pkcs11:token=moh;object=dsc?module-path=/nowhere/libtoken.so", sessions=2)
Traceback (most recent call last):
...
vaxpass_sign.errors.ModuleError: PKCS#11 module '/nowhere/libtoken.so' does not exist: ...
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count

from vaxpass_sign.errors import InputError
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.keys import open_signer
from vaxpass_sign.keys.pin import hidden
from vaxpass_sign.keys.signer import PublicKey, Signer

__all__ = ["MAX_SESSIONS", "SessionsSigner", "open_signers"]

MAX_SESSIONS = 256
"""In one process; large HSMs want tens."""


def open_signers(
    key: str | os.PathLike[str], pin: str | Callable[[], str] | None = None, *, sessions: int = 1
) -> Signer:
    """Open a key with ``sessions`` sessions; see :func:`vaxpass_sign.keys.open_signer`.

    Raises: InputError for a number of sessions that is not 1 to MAX_SESSIONS; and as it does.
    """
    if not 1 <= sessions <= MAX_SESSIONS:
        raise InputError(f"sessions: found {sessions}, expected 1 to {MAX_SESSIONS}")
    secret = hidden(pin)
    del pin
    with ExitStack() as opened:
        signers = [opened.enter_context(open_signer(key, secret)) for _ in range(sessions)]
        opened.pop_all()
    return signers[0] if sessions == 1 else SessionsSigner(signers)


class SessionsSigner(Signer):
    """Signers of one key that share each batch.

    Threads may share it: while one batch's last messages are being signed, sessions that are free
    go on with another thread's batch. Closing it closes its signers.
    """

    def __init__(self, signers: Sequence[Signer]) -> None:
        self._signers = list(signers)
        self._free = list(signers)  # list.pop and list.append are atomic
        self._threads = ThreadPoolExecutor(len(signers), thread_name_prefix="session")

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
            signer = self._free.pop()
            try:
                while (place := next(places)) < len(messages):
                    [signatures[place]] = signer.sign(messages[place : place + 1])
            except BaseException:
                for _ in messages:  # nothing is left for the others
                    next(places)
                raise
            finally:
                self._free.append(signer)

        threads = min(len(self._signers), len(messages))
        waiting = [self._threads.submit(drain) for _ in range(threads)]
        failures = [error for future in waiting if (error := future.exception())]
        if failures:
            raise failures[0]
        return signatures

    def close(self) -> None:
        """Give up every session; a second close does nothing."""
        self._threads.shutdown()
        for signer in self._signers:
            signer.close()
