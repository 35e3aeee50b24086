"""Killed with SIGKILL at every step and at random moments: nothing lost, nothing doubled."""

from __future__ import annotations

import platform
import random
import shutil
from pathlib import Path

import pytest

from campaigns import Desk, assert_clean
from faults.crashes import COORDINATOR_STEPS, HOWS, PEOPLE, crashes, start, summary
from tokens.softhsm import SoftHsm

REPORT = Path(__file__).parents[2] / "docs" / "reference" / "crashes.md"


@pytest.fixture
def desk(tmp_path: Path, softhsm: SoftHsm) -> Desk:
    """A cleaned campaign whose key is on a SoftHSM token."""
    desk = Desk(tmp_path / "desk", token=softhsm)
    desk.clean(PEOPLE)
    return desk


@pytest.mark.timeout(600)
def test_killed_runs_are_finished(desk: Desk) -> None:
    """Thirty runs, each kind of kill three times; `make test-long` does three hundred and more."""
    found = list(crashes(desk, 3 * len(HOWS), seed=1))
    assert {crash.how for crash in found} == set(HOWS)
    assert sum(crash.ended == "dead" for crash in found) >= len(found) / 2
    assert any(crash.ended == "went on" for crash in found)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_three_hundred_killed_runs(desk: Desk) -> None:
    """Three hundred and forty runs; what came of them is written to docs/reference/crashes.md."""
    found = list(crashes(desk, 34 * len(HOWS), seed=2))
    dead = sum(crash.ended == "dead" for crash in found)
    went_on = sum(crash.ended == "went on" for crash in found)
    assert dead + went_on >= 300
    REPORT.write_text(
        "\n".join(
            [
                "# Killed runs",
                "",
                "Written by `make test-long` (`tests/faults/test_crashes.py`). Each run signs a "
                f"campaign of {PEOPLE} people on a SoftHSM token with two workers, in parts of 40 "
                "records, and is killed with SIGKILL: at a named step of the commit protocol "
                "([how it works](../explanation/commit-protocol.md)), or at a random moment. Then "
                "the same command is run again until nothing is left, and the campaign is audited.",
                "",
                f"{len(found)} runs: {dead} died, {went_on} lost a worker and went on without it, "
                f"and {len(found) - dead - went_on} were done before they could be struck, or lost "
                "SoftHSM's token with a killed process (it writes its files in place). In every "
                "one of them: the audit was clean, every part that was committed when the run died "
                "was still there with the same bytes, no file was published that was not "
                "committed, and no (uvci, generation) had two credentials.",
                "",
                *summary(found),
                "",
                f"{platform.system()} {platform.release()}, Python {platform.python_version()}.",
                "",
            ]
        ),
        encoding="utf-8",
    )


@pytest.mark.parametrize("step", COORDINATOR_STEPS)
def test_a_killed_clean_is_done_again(tmp_path: Path, step: str) -> None:
    """Cleaning killed at any step of its commit gives the same bytes when it is run again."""
    whole = Desk(tmp_path / "whole")
    table = whole.table("doses.csv", 200, changes={3: {"birth_date": "soon"}})
    whole.campaign.clean([table], workers=1)
    desk = Desk(tmp_path / "killed")
    kill = {"who": "coordinator", "step": step, "at": 1, "mark": str(tmp_path / "mark")}
    job = {"command": "clean", "root": str(desk.root), "inputs": [str(table)], "kill": kill}
    assert start(desk, job).wait(timeout=60) == -9
    desk.campaign.clean([table], workers=1)
    for folder in ("clean", "rejected"):
        expected = {path.name: path.read_bytes() for path in whole.parts(folder)}
        assert {path.name: path.read_bytes() for path in desk.parts(folder)} == expected
        assert expected
    desk.sign()
    assert_clean(desk.audit())


@pytest.mark.timeout(300)
def test_a_clean_killed_at_random(tmp_path: Path) -> None:
    """At any moment: the next clean does it all, or finds it done."""
    rng = random.Random(5)
    whole = Desk(tmp_path / "whole")
    table = whole.table("doses.csv", 3000)
    whole.campaign.clean([table], workers=1)
    expected = {path.name: path.read_bytes() for path in whole.parts("clean")}
    for number in range(8):
        desk = Desk(tmp_path / str(number))
        job = {"command": "clean", "root": str(desk.root), "inputs": [str(table)]}
        victim = start(desk, job)
        try:
            victim.wait(timeout=rng.uniform(0.3, 1.5))
        except Exception:
            victim.kill()
            victim.wait()
        desk.campaign.clean([table], workers=1)
        assert {path.name: path.read_bytes() for path in desk.parts("clean")} == expected
        shutil.rmtree(desk.folder)
