"""A watchdog for calls into a PKCS#11 module, any of which may never return.

A network HSM's module waits for a server that was stopped, a USB token's for a driver that hangs.
There is no timeout in PKCS#11, and a call that is under way can't be ended. So it is made in a
thread of its own, and when it does not get on for ``patience_s`` the caller gets an error instead
of waiting with it. The thread stays in the call for as long as the process lives.

>>> watched(lambda: 1 + 1, "adding", "a token")
2
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Final, TypeVar

from vaxpass_sign.errors import TokenStalledError
from vaxpass_sign.keys import PATIENCE_S

__all__ = ["CLOSING_PATIENCE_S", "PIN_PAD_PATIENCE_S", "in_thread", "stuck", "watched"]

CLOSING_PATIENCE_S: Final = 10.0
"""What can't be closed by then is left to the end of the process."""

T = TypeVar("T")

_given_up: Final[list[Thread]] = []

PIN_PAD_PATIENCE_S: Final = 300.0
"""A person looks for the PIN and types it on the token's own pad."""


def watched(
    call: Callable[[], T],
    doing: str,
    where: str,
    *,
    patience_s: float = PATIENCE_S,
    moves: Callable[[], int] | None = None,
) -> T:
    """What ``call`` returns or raises, waited for as long as it gets on.

    Args:
        moves: a number that changes while the call gets on, such as the signatures made; left out,
            the call must return within ``patience_s``.
    Raises: TokenStalledError when it stands still for ``patience_s``.
    """
    thread, outcome = in_thread(call)
    before = moves() if moves else 0
    while True:
        try:
            return outcome.result(patience_s)
        except TimeoutError:
            if outcome.done():
                return outcome.result()
        except BaseException:
            if not outcome.done():  # the wait was interrupted, and the call goes on
                _given_up.append(thread)
            raise
        now = moves() if moves else 0
        if now == before:
            _given_up.append(thread)
            raise TokenStalledError(
                f"{doing} on {where} has not returned for {patience_s:g} s: look to the token, its"
                " network and its service, then start the program again"
            )
        before = now


def in_thread(call: Callable[[], T]) -> tuple[Thread, Future[T]]:
    """Begin a call in a thread that keeps no process from ending, and what will come of it."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:  # noqa: BLE001 (raised in the caller's thread)
            outcome.set_exception(error)

    thread = Thread(target=run, daemon=True, name="token call")
    thread.start()
    return thread, outcome


def stuck() -> bool:
    """Whether a call that was given up has still not returned.

    Such a process should end by ``os._exit``: at a usual end the module's own clean-up may wait for
    what the call holds.
    """
    return any(thread.is_alive() for thread in _given_up)
