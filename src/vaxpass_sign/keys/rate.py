"""How many signatures a second a key makes, with so many processes and sessions.

What is signed is :data:`PROOF_MESSAGE`, one fixed text that can't be a credential. Each worker is a
fresh process with its own login, as in a campaign; they open the key one after the other, so that a
PIN that is refused is sent once and the measuring ends there. The PIN goes to a worker through a
pipe, and neither into its arguments nor its environment.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final

from vaxpass_sign.errors import TokenError, VaxpassError
from vaxpass_sign.keys import open_signer
from vaxpass_sign.keys.pin import AskedOnce, hidden
from vaxpass_sign.keys.proof import PROOF_MESSAGE
from vaxpass_sign.keys.signer import Signer

__all__ = ["count_signatures", "signing_rate"]

_LOOK_S: Final = 0.25


def signing_rate(
    key: str,
    pin: str | Callable[[], str] | None = None,
    *,
    workers: int = 1,
    sessions: int = 1,
    seconds: float = 2.0,
) -> float:
    """Signatures a second of so many processes with so many sessions each.

    Args:
        key, pin: as for :func:`vaxpass_sign.keys.open_signer`; the PIN is asked for once.
        seconds: how long to sign; a batch that is under way is finished.
    Raises: TokenError and PinError when the key can't be opened or can't sign.
    """
    asked = AskedOnce(hidden(pin))
    del pin
    if asked.hidden is not None:
        asked.hidden()
    with ExitStack() as closing:
        pipes = [_start(closing, key, asked, sessions) for _ in range(workers)]
        for pipe in pipes:
            pipe.send(seconds)
        # Each counts what it signed in its own time: they end within a batch of each other.
        return sum(_answer(pipe) for pipe in pipes)


def count_signatures(signer: Signer, sessions: int, seconds: float) -> float:
    """Signatures a second of an open signer, in batches that keep its sessions busy."""
    began, count, batch = time.perf_counter(), 0, sessions
    while (took := time.perf_counter() - began) < seconds:
        signer.sign([PROOF_MESSAGE] * batch)
        count += batch
        # A batch ends when its last signature is there; long ones keep sessions busy.
        rate = count / (time.perf_counter() - began)
        batch = max(sessions, int(rate * _LOOK_S) // sessions * sessions)
    return count / took


@dataclass(frozen=True, slots=True)
class _Failed:
    kind: type[VaxpassError]
    message: str


def _start(closing: ExitStack, key: str, asked: AskedOnce, sessions: int) -> Connection:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, key, sessions), daemon=True)
    process.start()
    theirs.close()
    closing.callback(process.join, 10)
    closing.callback(ours.close)
    ours.send(asked.answered)
    _answer(ours)  # its key is open
    return ours


def _answer(pipe: Connection) -> float:
    try:
        answer = pipe.recv()
    except EOFError:
        raise TokenError(
            "a process that signs ended without a word: look at the token's module"
        ) from None
    if isinstance(answer, _Failed):
        raise answer.kind(answer.message)
    return float(answer)


def _serve(pipe: Connection, key: str, sessions: int) -> None:
    """A process: open the key, and sign for as long as it is told to."""
    try:
        with open_signer(key, pipe.recv(), sessions=sessions) as signer:
            pipe.send(0)
            pipe.send(count_signatures(signer, sessions, pipe.recv()))
    except VaxpassError as error:
        pipe.send(_Failed(type(error), str(error)))
    except EOFError:
        pass  # another process could not open the key
