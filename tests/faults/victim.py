"""A program that cleans or signs a campaign and kills itself, or one of its workers, at a step.

``victim.py '{"command": "sign", "root": …, "kill": {"who": "coordinator", "step": "committed",
"at": 2, "mark": …}}'``. Exit code 2: a token's error stopped it. The process dies by SIGKILL at the ``at``-th time that it passes the step;
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
from vaxpass_sign.errors import VaxpassError
from vaxpass_sign.keys import PATIENCE_S, lasting

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


def start_worker(job: dict[str, Any], *arguments: Any) -> None:
    """The worker's initializer, with a killer at its steps."""
    if kill := job.get("kill"):
        signing_worker.step = Killer(kill)
    be_impatient(job)
    _real_start(*arguments)


def be_impatient(job: dict[str, Any]) -> None:
    """A token that is gone for good shall not take half a minute of each test."""
    if outage_s := job.get("outage_s"):
        lasting.LastingSigner.__init__.__kwdefaults__["outage_s"] = outage_s
        signing_worker.OUTAGE_S = outage_s


def main(job: dict[str, Any]) -> None:
    kill = job.get("kill")
    if kill and kill["who"] == "coordinator":
        commit.step = Killer(kill)
    workers = {**job, "kill": kill if kill and kill["who"] == "worker" else None}
    real_spawn = sign_run.spawn_worker
    sign_run.spawn_worker = lambda initializer, *arguments: real_spawn(
        start_worker, workers, *arguments
    )
    be_impatient(job)
    layout = Layout(Path(job["root"]))
    if job["command"] == "clean":
        from vaxpass_sign.campaign import Campaign

        Campaign(layout.root).clean([Path(path) for path in job["inputs"]], workers=1)
        return
    options = sign_run.SignOptions(
        workers=2,
        sessions=job.get("sessions", 1),
        part_rows=job.get("part_rows", PART_ROWS),
        patience_s=job.get("patience_s", PATIENCE_S),
    )
    try:
        sign_run.sign_campaign(layout, options, pin=os.environ.get("VICTIM_PIN"))
    except VaxpassError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
        # As the command line does: a thread may be stuck in the module.
        os._exit(2)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
