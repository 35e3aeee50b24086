"""Workers, reached through ``concurrent.futures.Executor`` and nothing else.

Each worker is an executor with one process: when one is killed, the others go on, and a new one
takes its place. Tasks hold paths and row ranges; what a worker needs besides, the PIN among it,
goes to it once when it starts. The executor of a cluster can stand in for one of these later: all
that is asked of it is ``submit`` and ``shutdown``.

Processes are spawned, never forked: PKCS#11 modules do not survive a fork.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any, TypeVar

from vaxpass_sign.closing import Closing
from vaxpass_sign.errors import InputError

__all__ = ["Pool", "collector_paused", "refuse_in_a_starting_worker", "spawn_worker"]

T = TypeVar("T")

_STOPPING = frozenset({signal.SIGINT, signal.SIGTERM})


@contextmanager
def collector_paused() -> Iterator[None]:
    """Let Python's cycle collector rest while the block runs.

    A block of rows makes many small objects and no cycles; looking through them over and over took
    a twentieth of the time of an audit. What is unused is freed by its reference count.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def refuse_in_a_starting_worker() -> None:
    """Refuse to begin while a worker process imports the script that started it.

    Raises: InputError, which the worker shows on stderr.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise InputError(
            "a worker process imports the script that started it, and the script starts workers "
            'again: put the call under if __name__ == "__main__":'
        )


def spawn_worker(initializer: Callable[..., None], *arguments: Any) -> Executor:
    """An executor with one fresh process, which begins with ``initializer(*arguments)``."""
    return ProcessPoolExecutor(
        1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(initializer, arguments),
    )


def _begin(initializer: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    # Ctrl-C reaches the whole group of processes, and so does a service manager's SIGTERM; the
    # coordinator decides what they mean. Until here they were held back, so that none can strike
    # while the process imports what it needs. A worker ends with its coordinator all the same.
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
    _end_with_the_parent()
    # A worker is one core's. numpy comes later, and would start a thread of OpenBLAS for every core
    # in each worker, which spin before they sleep; nothing here uses linear algebra.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    initializer(*arguments)


def _end_with_the_parent() -> None:
    """End this process when the coordinator is gone: a killed run must not leave signers behind."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent").start()


def _end(executor: Executor) -> None:
    executor.shutdown(wait=True, cancel_futures=True)


class Pool(Closing):
    """``launch(n)`` makes the executor of worker n, from 0."""

    def __init__(self, count: int, launch: Callable[[int], Executor]) -> None:
        self._launch = launch
        self.executors = [launch(number) for number in range(count)]

    def __len__(self) -> int:
        return len(self.executors)

    def submit(self, worker: int, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Give a worker something to do after all that it has."""
        # The process may be started by this very call, and inherits what is held back.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        try:
            return self.executors[worker].submit(function, *arguments)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def replace(self, worker: int) -> None:
        """Put a new worker in the place of one that died."""
        _end(self.executors[worker])
        self.executors[worker] = self._launch(worker)

    def close(self) -> None:
        """End the workers when they have done what they are doing; returns when they are gone."""
        # Each waits for its process; one call after the other would add the waits up.
        with ThreadPoolExecutor(len(self.executors)) as threads:
            list(threads.map(_end, self.executors))
