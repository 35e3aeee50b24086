"""Blocks of payloads through worker processes, one for each core, in the order of the blocks.

What comes back of a block is what ``work`` makes of it there, and should be small: a Verdict with
its claims takes longer to send than to make.
"""

from __future__ import annotations

import os
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from vaxpass_sign.check.asked import Asked
from vaxpass_sign.check.many import BatchVerifier
from vaxpass_sign.check.verify import moment
from vaxpass_sign.errors import InputError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from vaxpass_sign.workers import Pool

__all__ = ["verify_blocks"]

B = TypeVar("B")
R = TypeVar("R")

_WAITING: Final = 3
"""Blocks that each worker has, or has done while an earlier one is not: memory is bounded."""

_MOST: Final = 96
"""Workers unless more are asked for: each takes eight of the 1024 files that a process may open."""


def verify_blocks(
    asked: Asked,
    blocks: Iterable[B],
    work: Callable[[BatchVerifier, B], R],
    *,
    workers: int | None = None,
) -> Iterator[R]:
    """What ``work`` makes of each block, in their order.

    A single block is worked on here; for more of them processes are started. Blocks are taken as
    they are needed, and a bounded number is held. All are judged for one moment.

    Args:
        work: a function of a module (it is pickled by its name), called with a verifier that is
            kept from block to block.
        workers: processes; one for each core, 96 at most, when left out.
    Raises: InputError when a worker process died or can't be started, or ``asked.at`` has no UTC
        offset; TrustError when a revocation file can't be opened there; what a block or ``work``
        raises.
    """
    asked = replace(asked, at=moment(asked.at))
    rest = iter(blocks)
    first = list(islice(rest, 2))
    if len(first) < 2:
        verifier = _verifier_of(asked)
        yield from (work(verifier, block) for block in first)
        return
    yield from _by_processes(asked, chain(first, rest), work, workers)


def _by_processes(
    asked: Asked,
    blocks: Iterator[B],
    work: Callable[[BatchVerifier, B], R],
    workers: int | None,
) -> Iterator[R]:
    # Only here: a single block, such as one credential at a counter, needs none of this.
    from concurrent.futures.process import BrokenProcessPool

    from vaxpass_sign.workers import Pool, refuse_in_a_starting_worker, spawn_worker

    refuse_in_a_starting_worker()
    count = workers or min(len(os.sched_getaffinity(0)), _MOST)
    try:
        # As bytes: what can't be opened again there, such as a revocation store that is gone, shall
        # be the answer to a task. While the process begins it would end it.
        packed = pickle.dumps(asked)
        with _started():
            made = Pool(count, lambda _: spawn_worker(_begin, packed, work))
        with made as pool:
            yield from _in_order(pool, blocks)
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process could not begin or was ended from outside: the verdicts so far are "
            "no whole table. If memory ran out, run it again with fewer workers; if a script "
            'started it, that must be a file whose calls stand under if __name__ == "__main__":'
        ) from error


@contextmanager
def _started() -> Iterator[None]:
    """What the system says when there can't be so many processes, or files for talking to them."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"worker processes can't be started: {error.strerror}; use fewer workers, or raise the "
            "limit (ulimit -n, ulimit -u)"
        ) from error


def _in_order(pool: Pool, blocks: Iterator[B]) -> Iterator[R]:
    waiting: deque[tuple[int, Future[R]]] = deque()

    def send(worker: int) -> None:
        for block in islice(blocks, 1):
            with _started():
                waiting.append((worker, pool.submit(worker, _work, block)))

    for _ in range(_WAITING):
        for worker in range(len(pool)):
            send(worker)
    while waiting:
        worker, future = waiting.popleft()
        result = future.result()
        send(worker)
        yield result


def _verifier_of(asked: Asked) -> BatchVerifier:
    return BatchVerifier(asked.trust, asked.at, asked.policy, asked.revocations)


_packed: bytes
_do: Callable[..., Any]


def _begin(packed: bytes, work: Callable[..., object]) -> None:
    global _packed, _do
    _packed, _do = packed, work


@cache
def _verifier() -> BatchVerifier:
    return _verifier_of(pickle.loads(_packed))  # noqa: S301 (from our own coordinator)


def _work(block: object) -> Any:
    from vaxpass_sign.workers import collector_paused

    with collector_paused():
        return _do(_verifier(), block)
