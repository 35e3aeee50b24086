"""Workers: fresh processes that end when their coordinator does, whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from vaxpass_sign.campaign.signing.signals import Signals
from vaxpass_sign.workers import Pool, spawn_worker


def nothing() -> None:
    pass


def test_each_worker_is_a_process_of_its_own() -> None:
    """Tasks of one worker run in one process, which is neither ours nor another worker's."""
    with Pool(2, lambda _: spawn_worker(nothing)) as pool:
        pids = [pool.submit(worker, os.getpid).result() for worker in (0, 1, 0, 1)]
    assert pids[:2] == pids[2:]
    assert len({*pids, os.getpid()}) == 3


def test_one_death_is_one_workers(tmp_path: Path) -> None:
    """A killed worker takes no other with it; a new one takes its place."""
    with Pool(2, lambda _: spawn_worker(nothing)) as pool:
        first = pool.submit(0, os.getpid).result()
        os.kill(first, signal.SIGKILL)
        with pytest.raises(BrokenProcessPool):
            pool.submit(0, time.sleep, 1).result()
        assert pool.submit(1, os.getpid).result() > 0
        pool.replace(0)
        assert pool.submit(0, os.getpid).result() != first


def test_close_waits_until_they_are_gone() -> None:
    """After the block no worker is left, so that nothing of theirs is in the way."""
    with Pool(2, lambda _: spawn_worker(nothing)) as pool:
        pids = [pool.submit(worker, os.getpid).result() for worker in range(2)]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


COORDINATOR = """
import os, sys, time
from vaxpass_sign.workers import Pool, spawn_worker
def main():
    pool = Pool(2, lambda _: spawn_worker(time.time))
    print(*(pool.submit(worker, os.getpid).result() for worker in range(2)), flush=True)
    pool.submit(0, time.sleep, 60)
    time.sleep(60)
if __name__ == "__main__":
    main()
"""


def test_workers_end_with_a_killed_coordinator(tmp_path: Path) -> None:
    """Busy or idle, they are gone a moment after it, and hold no token any more."""
    script = tmp_path / "coordinator.py"
    script.write_text(COORDINATOR)
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    process.kill()
    process.wait()
    process.stdout.close()
    give_up = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < give_up, "a worker outlived its coordinator"
        time.sleep(0.01)


def test_signals_are_seen_by_everybody(tmp_path: Path) -> None:
    """A stop reaches every worker; counts of all of them add up."""
    path = tmp_path / "signals"
    signals = Signals.create(path, workers=3)
    workers = [Signals(path) for _ in range(3)]
    for number, worker in enumerate(workers):
        assert not worker.stopped
        worker.count(number, 10 * (number + 1))
        worker.count(number, 1)
    assert signals.signed() == 63
    signals.stop()
    assert all(worker.stopped for worker in workers)
    assert path.stat().st_mode & 0o777 == 0o600
    for one in (signals, *workers):
        one.close()
