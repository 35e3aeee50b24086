"""Kill a run, finish it, and look whether anything was lost or doubled."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaigns import Desk, assert_clean, assert_no_one_twice

PEOPLE = 400
COORDINATOR_STEPS = ("staged", "synced", "committed", "renamed", "published")
WORKER_STEPS = ("signing", "written")
PROGRAM = str(Path(__file__).with_name("victim.py"))
HOWS = (
    *(f"coordinator at {step}" for step in COORDINATOR_STEPS),
    *(f"worker at {step}" for step in WORKER_STEPS),
    "coordinator at random",
    "one worker at random",
    "all at random",
)
"""Every way to be killed. A fresh copy of the same campaign for each run."""


@dataclass(frozen=True)
class Crash:
    """One run that was killed: how, what was committed then, and how the run ended."""

    how: str
    committed: int
    """Parts in the ledger when it was dead (or done)."""
    ended: str
    """``dead``; ``went on``, when the run finished without the worker that was killed; ``too late``,
    when there was nobody left to kill; ``no token``, when SoftHSM's own files did not survive."""


def crashes(desk: Desk, count: int, seed: int) -> Iterator[Crash]:
    """Kill ``count`` runs of the desk's cleaned campaign, each then finished and audited."""
    rng = random.Random(seed)
    for number in range(count):
        fresh_copy(desk)
        yield crash(desk, HOWS[number % len(HOWS)], rng)


def fresh_copy(desk: Desk) -> None:
    """Put the campaign back as it was the first time: cleaned, and nothing signed."""
    cleaned = desk.folder / "cleaned"
    if not cleaned.exists():
        shutil.copytree(desk.root, cleaned)
        if desk.token:
            shutil.copytree(desk.token.directory / "tokens", desk.folder / "tokens")
    shutil.rmtree(desk.root)
    shutil.copytree(cleaned, desk.root)


def crash(desk: Desk, how: str, rng: random.Random) -> Crash:
    """Kill one run in this way, look at what it left, finish it and audit all."""
    who, _, where = how.partition(" at ")
    job: dict[str, Any] = {"command": "sign", "root": str(desk.root)}
    mark = desk.folder / "mark"
    mark.unlink(missing_ok=True)
    if where != "random":
        # 400 people make some ten parts.
        job["kill"] = {"who": who, "step": where, "at": rng.randint(1, 4), "mark": str(mark)}
    victim = start(desk, job)
    struck = strike(victim, who, rng) if where == "random" else False
    code = victim.wait(timeout=60)
    struck = struck or mark.exists()
    wait_for_orphans(desk.root)
    restore_token(desk)
    before = committed(desk)
    # What is published is committed: nobody can have seen anything else.
    for path in desk.parts("signed"):
        assert f"signed/{path.name}" in before, f"{how}: {path.name} is published, not committed"
    ended = "dead" if code == -signal.SIGKILL else "went on" if struck else "too late"
    if code not in (0, -signal.SIGKILL):
        # SoftHSM writes its token in place at a login: a worker that is killed right then leaves
        # one that nobody can open, and the run ends with an error. Hardware has no such moment.
        said = (desk.folder / "stderr").read_text()
        assert "TokenLookupError: no token in" in said, f"{how}: ended with {code}: {said[-800:]}"
        ended = "no token"
    assert where == "random" or ended == ("dead" if who == "coordinator" else "went on"), how
    desk.sign()
    after = committed(desk)
    assert before.items() <= after.items(), f"{how}: what was committed is not what it was"
    report = desk.audit()
    assert_clean(report)
    assert report.sums.signed == report.sums.clean == PEOPLE
    assert report.credentials == PEOPLE
    assert_no_one_twice(desk)
    assert list((desk.root / "staging").iterdir()) == []
    return Crash(how, len(before), ended)


def restore_token(desk: Desk) -> None:
    """Put SoftHSM's files back as they were: it writes them in place at a login, and a process that
    is killed right then leaves a token that nobody can open. A token of hardware loses nothing.
    """
    if desk.token:
        for kept in (desk.folder / "tokens").rglob("*"):
            if kept.is_file():
                place = desk.token.directory / "tokens" / kept.relative_to(desk.folder / "tokens")
                if not place.exists() or place.read_bytes() != kept.read_bytes():
                    shutil.copyfile(kept, place)


def start(desk: Desk, job: dict[str, Any]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "VICTIM_PIN": desk.pin or ""}
    with (desk.folder / "stderr").open("wb") as stderr:
        return subprocess.Popen(
            [sys.executable, PROGRAM, json.dumps(job)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )


def strike(victim: subprocess.Popen[bytes], who: str, rng: random.Random) -> bool:
    """Kill the coordinator, a worker, or the whole group, at a random moment of its run.

    Returns: whether there was anybody left to kill.
    """
    time.sleep(rng.uniform(0.1, 1.3))
    if victim.poll() is not None:
        return False
    if who == "coordinator":
        victim.kill()
    elif who == "all":
        os.killpg(victim.pid, signal.SIGKILL)
    else:
        workers = children(victim.pid)
        if not workers:
            return False
        try:
            os.kill(rng.choice(workers), signal.SIGKILL)
        except ProcessLookupError:
            return False
    return True


def children(pid: int) -> list[int]:
    """The worker processes of a coordinator."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return [child for child in found if "spawn_main" in command_of(child)]


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def wait_for_orphans(root: Path) -> None:
    """Workers end by themselves when their coordinator is gone; wait until they have."""
    give_up = time.monotonic() + 20
    while any(orphans(root)):
        assert time.monotonic() < give_up, "a worker outlived its coordinator"
        time.sleep(0.02)


def orphans(root: Path) -> Iterator[int]:
    """Processes that have a file of the campaign mapped or open."""
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid() or "spawn_main" not in command_of(int(process.name)):
            continue
        try:
            if str(root) in (process / "maps").read_text():
                yield int(process.name)
        except OSError:
            continue


def committed(desk: Desk) -> dict[str, str]:
    """Signed file → its hash, by the ledger."""
    return {
        file["name"]: file["sha256"]
        for row in desk.rows()
        if row.kind == "part"
        for file in row.body["files"]
    }


def summary(found: list[Crash]) -> list[str]:
    """The crashes as a Markdown table."""
    lines = [
        "| killed | runs | dead | went on without it | struck too late | SoftHSM lost its token | "
        "parts committed then (min, median, max) |",
        "|---|---|---|---|---|---|---|",
    ]
    for how in HOWS:
        these = [one for one in found if one.how == how]
        if not these:
            continue
        parts = sorted(one.committed for one in these)
        ended = Counter(one.ended for one in these)
        counts = " | ".join(
            str(ended[word]) for word in ("dead", "went on", "too late", "no token")
        )
        middle = parts[len(parts) // 2]
        lines.append(f"| {how} | {len(these)} | {counts} | {parts[0]}, {middle}, {parts[-1]} |")
    return lines
