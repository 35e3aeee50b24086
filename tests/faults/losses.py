"""Let a token fail in every way that the table has while a campaign is signed, and finish it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from campaigns import Desk, assert_clean, assert_no_one_twice
from faults.crashes import PEOPLE, committed, fresh_copy, restore_token, start, wait_for_orphans
from proxy.proxy import Fault, Proxy

OUTAGE_S = 3
PATIENCE_S = 2
LONGEST_S = 90
"""A run that takes longer hangs."""

LOST = (
    "CKR_DEVICE_ERROR",
    "CKR_DEVICE_MEMORY",
    "CKR_DEVICE_REMOVED",
    "CKR_FUNCTION_FAILED",
    "CKR_GENERAL_ERROR",
    "CKR_HOST_MEMORY",
    "CKR_KEY_HANDLE_INVALID",
    "CKR_OBJECT_HANDLE_INVALID",
    "CKR_OPERATION_ACTIVE",
    "CKR_SESSION_CLOSED",
    "CKR_SESSION_HANDLE_INVALID",
    "CKR_TOKEN_NOT_PRESENT",
    "CKR_USER_NOT_LOGGED_IN",
    "CKR_CRYPTOKI_NOT_INITIALIZED",
)
_ODD = ("CKR_BUFFER_TOO_SMALL", "CKR_TOKEN_NOT_RECOGNIZED", "0x80001234")
_DONE = ("expire", "logout", "remove:0.5", "remove:2", "kill", "hang", "hang:0.5")
_OPENING = (*LOST[:6], "CKR_TOKEN_NOT_PRESENT", "remove:0.5", "kill", "hang", "hang:0.5")

TABLE = (
    *(("C_Sign", action) for action in (*LOST, *_ODD, *_DONE)),
    *(("C_SignInit", action) for action in (*LOST, *_ODD, *_DONE)),
    *(("C_Login", action) for action in (*_OPENING, "CKR_PIN_INCORRECT", "CKR_PIN_LOCKED")),
    *(("C_Login", "CKR_PIN_INCORRECT after a loss"),) * 2,
    *(("C_Initialize", action) for action in ("CKR_GENERAL_ERROR", "kill", "hang")),
    *(("C_GetSlotList", action) for action in ("CKR_GENERAL_ERROR", "hang", "remove:0.5")),
    *(("C_GetTokenInfo", action) for action in ("CKR_DEVICE_ERROR", "CKR_TOKEN_NOT_PRESENT")),
    *(("C_OpenSession", action) for action in (*_OPENING, "CKR_SESSION_COUNT")),
    *(("C_FindObjects", action) for action in ("CKR_DEVICE_REMOVED", "hang", "kill")),
    *(("C_GetAttributeValue", action) for action in ("CKR_DEVICE_ERROR", "hang")),
)
"""Function and what happens at its n-th call, of all processes together."""

REFUSALS = ("CKR_PIN_INCORRECT", "CKR_PIN_LOCKED", "CKR_PIN_INCORRECT after a loss")


@dataclass(frozen=True)
class Loss:
    """One run with a fault: where it struck, and how the run ended."""

    function: str
    action: str
    for_good: bool
    struck: bool
    ended: str
    """``done``, ``stopped`` with exit code 2, or ``killed`` with its coordinator."""
    seconds: float


def losses(desk: Desk, proxy: Proxy, count: int, seed: int) -> Iterator[Loss]:
    """Sign the desk's cleaned campaign ``count`` times, a fault in each, and then finish it."""
    rng = random.Random(seed)
    table = list(TABLE)
    rng.shuffle(table)
    for number in range(count):
        fresh_copy(desk)
        yield loss(desk, proxy, *table[number % len(table)], rng)


def loss(desk: Desk, proxy: Proxy, function: str, action: str, rng: random.Random) -> Loss:
    """Sign with one fault; look at what was left; finish it without the fault; audit all."""
    how = f"{action} at {function}"
    for_good = action not in REFUSALS and rng.random() < 0.2
    sessions = rng.choice((1, 1, 1, 3))
    job = {
        "command": "sign",
        "root": str(desk.root),
        "sessions": sessions,
        "patience_s": PATIENCE_S,
        "outage_s": OUTAGE_S,
    }
    fault = set_fault(proxy, function, action, for_good, rng)
    began = time.monotonic()
    run = start(desk, job)
    try:
        code = run.wait(timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        raise AssertionError(f"{how}: the run hangs: {said(desk)}") from None
    seconds = time.monotonic() - began
    struck = fault.hits > 0
    proxy.clear()
    proxy.plug_in()
    wait_for_orphans(desk.root)
    restore_token(desk)
    assert code in (0, 2, -signal.SIGKILL), f"{how}: ended with {code}: {said(desk)}"
    if code == -signal.SIGKILL:
        assert action == "kill", how
    if action in REFUSALS and struck:
        assert fault.hits == 1, f"{how}: a refused PIN was sent {fault.hits} times"
        assert code == 2, f"{how}: ended with {code}"
    kept = committed(desk)
    for path in desk.parts("signed"):
        assert f"signed/{path.name}" in kept, f"{how}: {path.name} is published, not committed"
    desk.sign()
    assert kept.items() <= committed(desk).items(), how
    report = desk.audit()
    assert_clean(report)
    assert report.sums.signed == report.sums.clean == report.credentials == PEOPLE, how
    assert_no_one_twice(desk)
    ended = {0: "done", 2: "stopped"}.get(code, "killed")
    return Loss(function, action, for_good, struck, ended, seconds)


def set_fault(
    proxy: Proxy, function: str, action: str, for_good: bool, rng: random.Random
) -> Fault:
    """Set what the table says, at a call that the run is likely to make."""
    if action == "CKR_PIN_INCORRECT after a loss":
        # The coordinator and two workers have logged in by then.
        proxy.fail("C_Sign", "logout", at=rng.randint(250, PEOPLE))
        return proxy.fail(function, "CKR_PIN_INCORRECT", at=4, times=None)
    if action in REFUSALS:
        return proxy.fail(function, action, at=rng.randint(1, 3), times=None)
    calls = PEOPLE if function.startswith("C_Sign") else 6
    times = None if for_good and action not in ("kill", "remove:0.5", "remove:2") else 1
    return proxy.fail(function, action, at=rng.randint(1, calls), times=times)


def said(desk: Desk) -> str:
    """The end of what the run said on stderr."""
    return (desk.folder / "stderr").read_text()[-800:]


def summary(found: list[Loss]) -> list[str]:
    """The losses as a Markdown table."""
    lines = [
        "| call | what happened at it | runs | went on | stopped with exit code 2 | killed | "
        "not reached | longest run |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for function, action in dict.fromkeys(TABLE):
        runs = [loss for loss in found if (loss.function, loss.action) == (function, action)]
        if not runs:
            continue
        ended = Counter(loss.ended if loss.struck else "not reached" for loss in runs)
        lines.append(
            f"| {function} | {action} | {len(runs)} | {ended['done']} | {ended['stopped']} | "
            f"{ended['killed']} | {ended['not reached']} | "
            f"{max(loss.seconds for loss in runs):.0f} s |"
        )
    return lines
