"""The watchdog: a call that gets on is waited for, one that stands still is given up."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import weakref
from functools import partial

import pytest

from vaxpass_sign.errors import TokenStalledError
from vaxpass_sign.keys.watch import in_thread, stuck, watched


def test_what_a_call_returns_and_raises() -> None:
    assert watched(lambda: 7, "counting", "here") == 7
    with pytest.raises(KeyError):
        watched(lambda: {}["x"], "counting", "here")
    with pytest.raises(TimeoutError, match="its own"):
        watched(_raise_timeout, "counting", "here")


def _raise_timeout() -> None:
    raise TimeoutError("its own")


def test_a_call_that_stands_still() -> None:
    """It is given up after its time, and counts as stuck until it returns after all."""
    release = threading.Event()
    assert not stuck()
    began = time.monotonic()
    with pytest.raises(TokenStalledError, match=r"waiting on a token has not returned for 0\.2 s"):
        watched(release.wait, "waiting", "a token", patience_s=0.2)
    assert 0.15 < time.monotonic() - began < 5
    assert stuck()
    release.set()
    for _ in range(100):
        if not stuck():
            return
        time.sleep(0.02)
    pytest.fail("it has returned, and is still said to be stuck")


def test_a_call_that_gets_on() -> None:
    """However long it takes, while something moves."""
    made: list[int] = []

    def work() -> str:
        for number in range(8):
            time.sleep(0.1)
            made.append(number)
        return "done"

    assert watched(work, "signing", "it", patience_s=0.25, moves=lambda: len(made)) == "done"


def test_calls_share_a_thread() -> None:
    """One that is free makes the next call; one that is in a call is not waited for."""
    first = watched(threading.current_thread, "asking", "here")
    assert watched(threading.current_thread, "asking", "here") is first
    release = threading.Event()
    held = in_thread(release.wait)
    assert watched(lambda: 7, "counting", "here") == 7
    release.set()
    assert held.result(5)


def test_nothing_of_a_call_is_kept() -> None:
    """A login's call holds the PIN."""

    class Secret:
        pass

    secret = Secret()
    gone = weakref.ref(secret)
    watched(partial(isinstance, secret, Secret), "looking", "here")
    del secret
    for _ in range(100):
        if gone() is None:
            return
        time.sleep(0.02)
    pytest.fail("the thread still holds what it called")


def test_a_forked_child_has_threads_of_its_own() -> None:
    """The parent's are not in it, nor is the call in which one of them is stuck."""
    watched(lambda: 1, "warming", "here")
    code = (
        "import os, threading\n"
        "from vaxpass_sign.keys.watch import stuck, watched\n"
        "from vaxpass_sign.errors import TokenStalledError\n"
        "watched(int, 'warming', 'here')\n"
        "try: watched(threading.Event().wait, 'waiting', 'here', patience_s=0.1)\n"
        "except TokenStalledError: pass\n"
        "child = os.fork()\n"
        "if not child: os._exit(3 if not stuck() and watched(lambda: 7, '', '') == 7 else 4)\n"
        "code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "os._exit(code if stuck() else 5)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=20).returncode == 3


CODE = """
from threading import Event
from vaxpass_sign import cli
from vaxpass_sign.errors import TokenStalledError
from vaxpass_sign.keys.watch import watched

def run(arguments):
    print("begun", flush=False)
    try:
        watched(Event().wait, "signing", "a token", patience_s=0.1)
    except TokenStalledError:
        return 2

cli._run = run
import atexit
atexit.register(lambda: print("a usual end"))
cli.main()
"""


def test_the_program_ends_while_a_call_is_stuck() -> None:
    """With its exit code and what it printed, and without waiting for anybody's clean-up."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (2, "begun\n", "")
