"""Faults that a harness must find.

Two are in the product, for the target decoding: "believe" takes every signature, and "names" raises
for a credential that is signed and whose names are no map. The others take the target's place, and
stand at the end of a way that only coverage leads along: bytes of an input open one door after the
other. By chance that takes millions of inputs; by keeping each that got a door further, thousands.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from importlib import import_module

__all__ = ["IN_PLACE", "PLANTS", "is_open", "plant"]

One = Callable[[bytes], object]

_kept: list[bytearray] = []


def plant(what: str, one: One) -> One:
    """A target with a fault."""
    if what in _IN_THE_PRODUCT:
        _IN_THE_PRODUCT[what]()
        return one

    def run(data: bytes) -> None:
        if is_open(data):
            _FAULTS[what]()

    return run


def is_open(data: bytes) -> bool:
    """Three doors, each a branch of its own, so that each is seen when it opens."""
    if len(data) < 8 or data[3] != 0x56:
        return False
    if data[4] != 0x41:
        return False
    return data[5] ^ data[6] == 0x5A


# --- in the product -------------------------------------------------------------------------


def _believe() -> None:
    import_module("vaxpass_sign.check.steps").verify_signature = lambda *_: True


def _names() -> None:
    module = import_module("vaxpass_sign.check.verify")
    check_schema = module.check_schema

    def broken(hcert):
        if hcert.payload and "nam" in hcert.payload:
            len(hcert.payload["nam"])
        check_schema(hcert)

    module.check_schema = broken


_IN_THE_PRODUCT: dict[str, Callable[[], None]] = {"believe": _believe, "names": _names}


# --- in its place ---------------------------------------------------------------------------


def _raise() -> None:
    raise KeyError("planted")


def _loop() -> None:
    while True:
        pass


def _hang() -> None:
    end = time.process_time() + 1.1
    while time.process_time() < end:
        pass


def _spike() -> None:
    grown = bytearray(200 << 20)
    for number in range(0, len(grown), 4096):
        grown[number] = 1


def _growth() -> None:
    _kept.append(bytearray(b"x" * (8 << 20)))


_FAULTS: dict[str, Callable[[], None]] = {
    "raise": _raise,
    "hang": _hang,
    "loop": _loop,
    "spike": _spike,
    "growth": _growth,
    "death": lambda: ctypes.string_at(0),
}

IN_PLACE = tuple(_FAULTS)
PLANTS = (*_IN_THE_PRODUCT, *IN_PLACE)
