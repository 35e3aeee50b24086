"""A peer in a process of its own, in .venv-cwt, because python-cwt needs an older cbor2.

It is asked in lines of JSON and answers in lines of JSON; it times its rounds itself.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

PEER_PYTHON = Path(__file__).parents[1] / ".venv-cwt" / "bin" / "python"
NO_PEER = "no .venv-cwt, so no ratio: `make venv-cwt` makes it, then run again"


class Peer:
    """The other end of the pipe."""

    def __init__(self, pipe_in: IO[str], pipe_out: IO[str]) -> None:
        self._in, self._out = pipe_in, pipe_out

    def ask(self, question: object) -> Any:
        """Its answer; the benchmark ends when it gives none."""
        self._in.write(json.dumps(question) + "\n")
        self._in.flush()
        line = self._out.readline()
        if not line:
            raise SystemExit("the python-cwt process ended; its error stands above")
        return json.loads(line)


@contextmanager
def open_peer(script: str) -> Iterator[Peer]:
    """The script of this folder, until the block ends."""
    with subprocess.Popen(
        [PEER_PYTHON, Path(__file__).with_name(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        yield Peer(process.stdin, process.stdout)
        process.stdin.close()
