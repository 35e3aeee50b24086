"""A program that cleans or signs a campaign and kills itself, or one of its workers, at a step.

``victim.py '{"command": "sign", "root": …, "kill": {"who": "coordinator", "step": "committed",
"at": 2, "mark": …}}'``. The process dies by SIGKILL at the ``at``-th time that it passes the step;
the file ``mark`` keeps it to once, however many workers follow.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from vaxpass_sign.campaign import commit
from vaxpass_sign.campaign.layout import Layout
from vaxpass_sign.campaign.signing import run as sign_run
from vaxpass_sign.campaign.signing import worker as signing_worker

PART_ROWS = 40
_real_start = signing_worker.start_worker


class Killer:
    """Counts the passes of a step."""

    def __init__(self, kill: dict[str, Any]) -> None:
        self.kill = kill
        self.passed = 0

    def __call__(self, step: str) -> None:
        if step != self.kill["step"]:
            return
        self.passed += 1
        if self.passed < self.kill["at"]:
            return
        try:
            os.close(os.open(self.kill["mark"], os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


def start_worker(kill: dict[str, Any], *arguments: Any) -> None:
    """The worker's initializer, with a killer at its steps."""
    signing_worker.step = Killer(kill)
    _real_start(*arguments)


def main(job: dict[str, Any]) -> None:
    kill = job.get("kill")
    if kill and kill["who"] == "coordinator":
        commit.step = Killer(kill)
    if kill and kill["who"] == "worker":
        real_spawn = sign_run.spawn_worker
        sign_run.spawn_worker = lambda initializer, *arguments: real_spawn(
            start_worker, kill, *arguments
        )
    layout = Layout(Path(job["root"]))
    if job["command"] == "clean":
        from vaxpass_sign.campaign import Campaign

        Campaign(layout.root).clean([Path(path) for path in job["inputs"]], workers=1)
        return
    options = sign_run.SignOptions(workers=2, part_rows=job.get("part_rows", PART_ROWS))
    sign_run.sign_campaign(layout, options, pin=os.environ.get("VICTIM_PIN"))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
