"""How much a block does, by what no other load of the machine changes: the functions it calls."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["at_most_calls"]


@contextmanager
def at_most_calls(most: int) -> Iterator[None]:
    """Fails when the block calls more functions than that, Python's own among them."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(before)
    assert calls <= most, f"{calls} calls, expected at most {most}"
