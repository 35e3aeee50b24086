"""A campaign whose remote HSM goes away in the middle, and is back two seconds later."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from campaigns import Desk, assert_clean, assert_no_one_twice
from faults.crashes import PROGRAM, committed, fresh_copy
from tokens.conftest import get
from tokens.findings import Findings
from tokens.p11kit import RemoteHsm

PEOPLE = 8000
PART_ROWS = 400
AWAY_S = 2.0
COST_S = 5.0


@dataclass
class RemoteDesk:
    """A cleaned campaign whose key is behind p11-kit's server."""

    desk: Desk
    remote: RemoteHsm

    def start(self) -> subprocess.Popen[bytes]:
        """Sign it in a process of its own, with two workers."""
        fresh_copy(self.desk)
        job = {"command": "sign", "root": str(self.desk.root), "part_rows": PART_ROWS}
        with (self.desk.folder / "stderr").open("wb") as stderr:
            return subprocess.Popen(
                [sys.executable, PROGRAM, json.dumps(job)],
                env={**os.environ, **self.remote.environment, "VICTIM_PIN": self.remote.pin},
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )

    def sign(self, disturb: Callable[[], None] = lambda: None) -> float:
        """Sign it all, disturbed once some parts are committed; the seconds from there to its end.

        It must end well: with exit code 0, everything signed and nothing twice.
        """
        run = self.start()
        try:
            give_up_at = time.monotonic() + 60
            while len(committed(self.desk)) < 4:
                assert run.poll() is None, (self.desk.folder / "stderr").read_text()
                assert time.monotonic() < give_up_at
                time.sleep(0.02)
            began = time.monotonic()
            disturb()
            assert run.wait(120) == 0, (self.desk.folder / "stderr").read_text()
            took = time.monotonic() - began
        finally:
            if run.poll() is None:
                run.kill()
                run.wait()
        report = self.desk.audit()
        assert_clean(report)
        assert report.sums.signed == report.credentials == PEOPLE
        assert_no_one_twice(self.desk)
        return took

    def lose_the_server(self) -> None:
        """Kill it as a power cut does, and start it again after a while."""
        self.remote.servers[0].kill()
        time.sleep(AWAY_S)
        self.remote.start_server()


@pytest.fixture
def remote_desk(tmp_path: Path, findings: Findings) -> RemoteDesk:
    remote = get(findings, "p11kit")
    assert isinstance(remote, RemoteHsm)
    assert remote.hsm is not None
    desk = Desk(tmp_path / "desk", token=remote.hsm)
    desk.write_settings(uri=remote.uri("ec"))
    desk.token = None  # its files are the server's, and no run of ours is killed
    desk.clean(PEOPLE)
    return RemoteDesk(desk, remote)


@pytest.mark.timeout(300)
def test_a_server_that_is_restarted(remote_desk: RemoteDesk) -> None:
    """The campaign is signed in one run, and nobody is lost or doubled."""
    remote_desk.sign(remote_desk.lose_the_server)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_restarted_twenty_times(remote_desk: RemoteDesk) -> None:
    """Twenty runs in a row; each costs at most five seconds more than one that is left alone."""
    alone = min(remote_desk.sign() for _ in range(3))
    costs = [remote_desk.sign(remote_desk.lose_the_server) - alone for _ in range(20)]
    sys.stderr.write(f"alone {alone:.2f} s; costs {[round(cost, 2) for cost in costs]}\n")
    assert max(costs) <= COST_S
