"""A program that signs and writes down all that it can tell of its failures: ``leaking.py JOB``.

JOB is JSON: ``uri`` or ``campaign`` says what to sign, ``pin_file`` and ``give`` where the PIN is and
how it is given, ``told`` the file for the errors. Everything else of it is in :func:`main`. The
program itself keeps the PIN in no variable.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from vaxpass_sign.keys import open_signer

MESSAGES = [b"message %d" % number for number in range(40)]


def links(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and all causes and contexts, those that no traceback shows as well."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        link = waiting.pop()
        if link is not None and link not in seen:
            seen.append(link)
            waiting += [link.__cause__, link.__context__]
    yield from seen


def told(error: BaseException) -> str:
    """All that a program could print of an error: messages, notes, arguments, frames with locals."""
    lines = []
    for link in links(error):
        lines.append(f"{type(link).__name__} {link} {link!r} {link.args} {vars(link)}")
        lines += traceback.format_exception(link)
        for frame, line in traceback.walk_tb(link.__traceback__):
            lines.append(f"{frame.f_code.co_filename}:{line} {frame.f_code.co_qualname}")
            lines += [f"    {name} = {shown(value)}" for name, value in frame.f_locals.items()]
    return "\n".join(lines)


def shown(value: object) -> str:
    # The repr of python-pkcs11's objects asks their module, which may be gone or hang.
    if type(value).__module__.startswith("pkcs11"):
        return "an object of python-pkcs11"
    return repr(value)


def pin_given(job: dict[str, Any]) -> str | Callable[[], str] | None:
    path = Path(job["pin_file"])
    if job["give"] == "text":
        return path.read_text()
    return path.read_text if job["give"] == "function" else None


def sign_messages(job: dict[str, Any]) -> None:
    patience_s = job.get("patience_s", 60)
    with open_signer(job["uri"], pin_given(job), patience_s=patience_s) as signer:
        signer.sign(MESSAGES)


def sign_campaign(job: dict[str, Any]) -> None:
    from vaxpass_sign.campaign import Campaign

    Campaign(job["campaign"]).sign(workers=2, pin=pin_given(job))


def interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def no_process(_self: object) -> None:
    raise BlockingIOError(11, "Resource temporarily unavailable")


def main(job: dict[str, Any]) -> int:
    if job.get("interrupt_after_s"):
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, job["interrupt_after_s"])
    if job.get("no_worker"):
        SpawnProcess.start = no_process  # type: ignore[method-assign]
    try:
        (sign_campaign if "campaign" in job else sign_messages)(job)
    except BaseException as error:
        Path(job["told"]).write_text(told(error))
        # A call that hangs would keep the process from ending.
        os._exit(2)
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
