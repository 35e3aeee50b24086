"""What is watched while a target runs: what it raises, how long an input takes, how memory grows.

A finding is kept and the run goes on, so that one run tells of all. Each is kept once: by what was
raised and where in the code, a hang and a growth by where they were entered. What ends the process
(a segmentation fault, memory beyond the limit, a loop without end) is the fuzzer's to see.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import resource
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from fuzz.target import STOPPED

__all__ = ["HANG_S", "MAX_GROWTH_MB", "SLOWEST", "Watch"]

HANG_S = 1.0
"""Seconds of the processor from which on an input is a hang. One that waits for ever takes none: the
fuzzer itself ends that."""
SLOWEST = "slowest"
"""The name of the slowest input's file."""
_SLOW_S = 0.02
_TRIES = 5
"""How often an input that seems the slowest so far is run again: caches may have been cold.
The fastest counts."""
MAX_GROWTH_MB = 96
"""By how much one input may raise the process's peak memory."""
_MOST_FINDINGS = 50
_EACH_S = 1.0
_SHOWN_BYTES = 1500


class Watch:
    """Runs inputs, and keeps what is found in a folder: ``facts.json`` and the inputs."""

    def __init__(
        self, one: Callable[[bytes], object], folder: Path, *, stop_at_first: bool = False
    ) -> None:
        self._one = one
        self._folder = folder
        self._stop_at_first = stop_at_first
        self._findings: dict[str, dict[str, str]] = {}
        self._runs = self._answers = 0
        self._slowest_s = 0.0
        self._written_at = 0.0
        self._peak_kb = _peak_kb()

    def run(self, data: bytes) -> None:
        """Run one input."""
        seconds = self._timed(data)
        if seconds > max(self._slowest_s, _SLOW_S):
            seconds = min(seconds, *(self._timed(data) for _ in range(_TRIES)))
            if seconds > HANG_S:
                self._keep("hang", data, "hang", f"{seconds:.1f} s")
        if seconds > self._slowest_s:
            self._slowest_s = seconds
            (self._folder / SLOWEST).write_bytes(data)
        peak_kb = _peak_kb()
        if peak_kb - self._peak_kb > MAX_GROWTH_MB * 1024 and self._runs > 1:
            grown = (peak_kb - self._peak_kb) // 1024
            self._keep("memory", data, "memory", f"{grown} MB more for one input")
        self._peak_kb = peak_kb
        if time.monotonic() - self._written_at > _EACH_S:
            self.write()

    def _timed(self, data: bytes) -> float:
        self._runs += 1
        begin = time.process_time()
        try:
            self._answers += bool(self._one(data))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a panic of Rust code is no Exception
            where = [
                f"{Path(frame.filename).name}:{frame.lineno}"
                for frame in traceback.extract_tb(error.__traceback__)[-3:]
            ]
            place = f"{type(error).__name__} at {' < '.join(reversed(where))}"
            self._keep(place, data, "raised", f"{place}: {str(error)[:300]}")
        return time.process_time() - begin

    def _keep(self, key: str, data: bytes, kind: str, said: str) -> None:
        if key in self._findings or len(self._findings) >= _MOST_FINDINGS:
            return
        name = f"{kind}-{hashlib.sha256(data).hexdigest()[:16]}"
        (self._folder / name).write_bytes(data)
        self._findings[key] = {"kind": kind, "said": said, "input": name}
        if len(data) <= _SHOWN_BYTES:
            self._findings[key]["base64"] = base64.b64encode(data).decode()
        self.write()
        if self._stop_at_first:
            os._exit(STOPPED)

    def write(self) -> None:
        """Write the facts so far: the process may end at any moment."""
        self._written_at = time.monotonic()
        facts = {
            "runs": self._runs,
            "answers": self._answers,
            "slowest_ms": round(self._slowest_s * 1000, 1),
            "peak_rss_mb": round(_peak_kb() / 1024),
            "findings": list(self._findings.values()),
        }
        path = self._folder / "facts.json"
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(facts), encoding="utf-8")
        temporary.replace(path)


def _peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
