"""A watchdog for calls into a PKCS#11 module, any of which may never return.

A network HSM's module waits for a server that was stopped, a USB token's for a driver that hangs.
There is no timeout in PKCS#11, and a call that is under way can't be ended. So it is made in
another thread, and when it does not get on for ``patience_s`` the caller gets an error instead of
waiting with it. That thread stays in the call for as long as the process lives; one whose call has
returned makes the next one, for anybody.

>>> watched(lambda: 1 + 1, "adding", "a token")
2
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, TypeVar

from vaxpass_sign.errors import TokenStalledError
from vaxpass_sign.keys import PATIENCE_S

__all__ = ["CLOSING_PATIENCE_S", "PIN_PAD_PATIENCE_S", "in_thread", "stuck", "watched"]

CLOSING_PATIENCE_S: Final = 10.0
"""What can't be closed by then is left to the end of the process."""

T = TypeVar("T")

PIN_PAD_PATIENCE_S: Final = 300.0
"""A person looks for the PIN and types it on the token's own pad."""

_given_up: Final[list[Future[Any]]] = []


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
    outcome = in_thread(call)
    before = moves() if moves else 0
    while True:
        try:
            return outcome.result(patience_s)
        except TimeoutError:
            if outcome.done():
                return outcome.result()
        except BaseException:
            if not outcome.done():  # the wait was interrupted, and the call goes on
                _given_up.append(outcome)
            raise
        now = moves() if moves else 0
        if now == before:
            _given_up.append(outcome)
            raise TokenStalledError(
                f"{doing} on {where} has not returned for {patience_s:g} s: look to the token, its"
                " network and its service, then start the program again"
            )
        before = now


def in_thread(call: Callable[[], T]) -> Future[T]:
    """Begin a call in a thread that keeps no process from ending; what will come of it."""
    try:
        caller = _idle.pop()
    except IndexError:
        caller = _Caller()
    return caller.begin(call)


class _Caller(Thread):
    """A thread that makes one call after another, so that none is started for each."""

    def __init__(self) -> None:
        super().__init__(daemon=True, name="token call")
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()
        self.start()

    def begin(self, call: Callable[[], T]) -> Future[T]:
        outcome: Future[T] = Future()
        self._calls.put((call, outcome))
        return outcome

    def run(self) -> None:
        while True:
            self._make(*self._calls.get())

    def _make(self, call: Callable[[], Any], outcome: Future[Any]) -> None:
        """Make a call, and keep nothing of it: a login's holds the PIN."""
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 (raised in the caller's thread)
            _idle.append(self)
            outcome.set_exception(error)
        else:
            _idle.append(self)
            outcome.set_result(result)


_idle: Final[list[_Caller]] = []


def _begin_anew() -> None:
    """A forked child has none of the threads."""
    _idle.clear()
    _given_up.clear()


os.register_at_fork(after_in_child=_begin_anew)


def stuck() -> bool:
    """Whether a call that was given up has still not returned.

    Such a process should end by ``os._exit``: at a usual end the module's own clean-up may wait for
    what the call holds.
    """
    return any(not outcome.done() for outcome in _given_up)
