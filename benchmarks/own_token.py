"""The reader's own token: how fast its key signs, without anything that could be a credential.

What is signed is one fixed text that begins with 'v', where whatever COSE signs begins with 0x84.
Each worker is a fresh process with its own login, as in ``vaxpass-sign sign``; they open the key
one after the other, so that a refused PIN is sent once and the measuring ends there.
"""

from __future__ import annotations

import multiprocessing
import time
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from vaxpass_sign.errors import VaxpassError
from vaxpass_sign.hcert.signature import verify_signature
from vaxpass_sign.issuer import PROOF_MESSAGE
from vaxpass_sign.keys.pin import Hidden
from vaxpass_sign.keys.sessions import open_signers
from vaxpass_sign.x509 import Certificate, read_certificate

__all__ = ["OwnToken"]

_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class _Opened:
    """What a process says when its key is open."""

    removable: bool
    proof: bytes


@dataclass(frozen=True, slots=True)
class _Signed:
    count: int
    seconds: float


class OwnToken:
    """A key that signs for so many seconds a measure."""

    def __init__(self, key: str, pin: Hidden | None, dsc: Path | None, seconds: float) -> None:
        """``pin`` is asked once. ``dsc``: its key must be the one that is measured.

        Raises: InputError when the DSC can't be read; PinError when there is no PIN.
        """
        self._key = key
        self._pin = None if pin is None else pin()
        self._dsc: Certificate | None = None if dsc is None else read_certificate(dsc)
        self._seconds = seconds
        self.removable = False
        """Whether the token says so; known after the first measure."""

    def rate(self, workers: int, sessions: int) -> float:
        """Signatures a second of so many processes with so many sessions each.

        Ends the benchmark with one line when the key can't be opened, can't sign, or is another
        than the DSC's.
        """
        with ExitStack() as closing:
            pipes = [self._start(closing, sessions) for _ in range(workers)]
            for pipe in pipes:
                pipe.send(self._seconds)
            # Each counts what it signed in its own time: they end within a batch of each other.
            answers = [_answer(pipe) for pipe in pipes]
        return sum(done.count / done.seconds for done in answers if isinstance(done, _Signed))

    def _start(self, closing: ExitStack, sessions: int) -> Connection:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process: SpawnProcess = context.Process(
            target=_serve, args=(theirs, self._key, self._pin, sessions)
        )
        process.start()
        theirs.close()
        closing.callback(process.join)
        closing.callback(ours.close)
        opened = _answer(ours)
        assert isinstance(opened, _Opened)
        self.removable = self.removable or opened.removable
        if self._dsc is not None and not verify_signature(
            self._dsc.public_key, PROOF_MESSAGE, opened.proof
        ):
            raise SystemExit(
                "--dsc: found another key in it than the one at --key, expected the key's own DSC"
            )
        return ours


def _answer(pipe: Connection) -> _Opened | _Signed:
    try:
        answer = pipe.recv()
    except EOFError:
        raise SystemExit(
            "a process that signs ended without a word: look at the token's module"
        ) from None
    if isinstance(answer, str):
        raise SystemExit(answer)
    assert isinstance(answer, _Opened | _Signed)
    return answer


def _serve(pipe: Connection, key: str, pin: str | None, sessions: int) -> None:
    """A process: open the key, prove it, and sign for as long as it is told to."""
    try:
        with open_signers(key, pin, sessions=sessions) as signer:
            [proof] = signer.sign([PROOF_MESSAGE])
            token = getattr(signer, "token", None)
            pipe.send(_Opened(token is not None and "removable" in token.flags, proof))
            seconds = pipe.recv()
            began, count, batch = time.perf_counter(), 0, sessions
            while (took := time.perf_counter() - began) < seconds:
                signer.sign([PROOF_MESSAGE] * batch)
                count += batch
                # A batch ends when its last signature is there; long ones keep sessions busy.
                rate = count / (time.perf_counter() - began)
                batch = max(sessions, int(rate * _LOOK_S) // sessions * sessions)
            pipe.send(_Signed(count, took))
    except VaxpassError as error:
        pipe.send(str(error))
    except EOFError:
        pass  # another process could not open the key
