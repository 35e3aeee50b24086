"""Run one export as a process of its own, which kills itself at a step: a program for tests.

``python export_victim.py REGISTER FOLDER KEY CERTIFICATE NOW_S STEP NTH``; STEP is one of STEPS, or
"none".
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vaxpass_sign.keys import open_signer
from vaxpass_sign.revocation import export, register
from vaxpass_sign.x509 import read_certificate

STEPS = ("entered", "committed", "signed", "renaming", "written", "storing", "stored")


def killing(work: Callable[..., Any], nth: int, *, before: bool = False) -> Callable[..., Any]:
    """The same work, and an end by kill -9 before or after it is done for the nth time."""
    left = nth

    def run(*args: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if before and not left:
            os.kill(os.getpid(), signal.SIGKILL)
        done = work(*args, **options)
        if not before and not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    return run


def main() -> None:
    path, folder, key, certificate, now_s, step, nth = sys.argv[1:]
    number = int(nth)
    if step == "entered":  # rows of the transaction that are not committed
        made = killing(register.Register._insert_batch, number)
        register.Register._insert_batch = made
    elif step == "committed":
        register.Register.make_batches = killing(register.Register.make_batches, 1)
    elif step == "signed":
        export.sign_batch = killing(export.sign_batch, number)
    elif step == "renaming":
        Path.replace = killing(Path.replace, number, before=True)
    elif step == "written":
        export.write_file = killing(export.write_file, number)
    elif step == "storing":
        export.write_store = killing(export.write_store, 1, before=True)
    elif step == "stored":
        export.write_store = killing(export.write_store, 1)
    with register.Register.open(Path(path)) as opened:
        export.export_batches(
            opened,
            Path(folder),
            read_certificate(certificate),
            lambda: open_signer(key),
            now=datetime.fromtimestamp(int(now_s), UTC),
        )


if __name__ == "__main__":
    main()
