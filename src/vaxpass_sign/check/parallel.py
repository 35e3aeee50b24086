"""Blocks of payloads through worker processes, one for each core, in the order of the blocks.

What comes back of a block is what ``work`` makes of it there, and should be small: a Verdict with
its claims takes longer to send than to make.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
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
        workers: processes; one for each core when left out.
    Raises: InputError when a worker process died or ``asked.at`` has no UTC offset; what a block or
        ``work`` raises.
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
    count = workers or len(os.sched_getaffinity(0))
    try:
        with Pool(count, lambda _: spawn_worker(_begin, asked, work)) as pool:
            yield from _in_order(pool, blocks)
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process was ended from outside (by the system, if memory ran out): the "
            "verdicts so far are no whole table; run it again, with fewer workers"
        ) from error


def _in_order(pool: Pool, blocks: Iterator[B]) -> Iterator[R]:
    waiting: deque[tuple[int, Future[R]]] = deque()

    def send(worker: int) -> None:
        for block in islice(blocks, 1):
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


_verifier: BatchVerifier
_do: Callable[..., Any]


def _begin(asked: Asked, work: Callable[..., object]) -> None:
    global _verifier, _do
    _verifier, _do = _verifier_of(asked), work


def _work(block: object) -> Any:
    from vaxpass_sign.workers import collector_paused

    with collector_paused():
        return _do(_verifier, block)
