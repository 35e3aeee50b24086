"""Calls into the product, and the files that they are given.

>>> asked(int, "1"), scratch("example", b"x").read_bytes()
(1, b'x')
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vaxpass_sign.errors import VaxpassError

__all__ = ["asked", "scratch"]


def asked(call: Callable[..., Any], *facts: Any, **more: Any) -> Any:
    """What a call gives; None when it refuses, which it must do in one line that can be printed.

    Raises: AssertionError for another message; whatever else comes out of the call.
    """
    try:
        return call(*facts, **more)
    except VaxpassError as error:
        text = str(error)
    assert text.isprintable(), "a message can't be printed"
    assert len(text) < 4000, "a message without end"
    return None


def scratch(name: str, data: bytes) -> Path:
    """A file of this process with these bytes, in the place of the last one of this name."""
    path = Path(tempfile.gettempdir()) / f"fuzz-{os.getpid()}-{name}"
    # A new file: some file systems write one that was emptied and filled again to the disk at once.
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    return path
