"""The command line: parse, call one library function, print, exit code. Nothing is decided here.

Exit codes: 0 done (``verify``: all valid); 1 a payload is not valid; 2 nothing could be decided
or done; 130 interrupted. Results go to stdout, progress and messages to stderr. An error is one
line, never a traceback.
"""

from __future__ import annotations

import io
import os
import sys
from typing import NoReturn

from vaxpass_sign.errors import TrustError, TrustFault, VaxpassError

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line with ``sys.argv`` and exit."""
    # Payloads and names are UTF-8 whatever the locale says.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    _hush()
    try:
        code = _run(sys.argv[1:])
    except KeyboardInterrupt:
        # As early as in an import, so that nothing of ours can be used to say it.
        if sys.stderr is not None:
            sys.stderr.write("vaxpass-sign: stopped\n")
        code = 130
    _end_if_stuck(code)
    sys.exit(code)


def _end_if_stuck(code: int) -> None:
    """End at once when a call into a token's module never returned: else we might wait for it."""
    watch = sys.modules.get("vaxpass_sign.keys.watch")
    if watch is not None and watch.stuck():
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(code)


def _hush() -> None:
    """Show no traceback of what is raised where nobody can catch it.

    python-pkcs11 does that when a search on a token can't begin: the error that says so is shown as
    any other, but a destructor raises a second one, and Cython prints it by both hooks.
    """
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = lambda _: None
        sys.excepthook = lambda *_: None


def _run(arguments: list[str]) -> int:
    import logging

    from vaxpass_sign.cli.app import run
    from vaxpass_sign.cli.output import OutputClosed, tell

    # The library's warnings, such as of a DSC that was left out, look as our own messages do.
    logging.basicConfig(format="vaxpass-sign: %(message)s")

    try:
        return run(arguments)
    except VaxpassError as error:
        # What was left behind stands in notes.
        words = str(error)
        if isinstance(error, TrustError) and error.code is not TrustFault.UNREADABLE:
            words = f"{error} [{error.code}]"
        tell("; ".join([words, *getattr(error, "__notes__", ())]))
    except OutputClosed:
        # Python flushes stdout once more at its end, and would complain; it shall go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:  # noqa: BLE001 (a traceback may show personal data)
        place = error.__traceback__
        while place and place.tb_next:
            place = place.tb_next
        where = f"{place.tb_frame.f_code.co_name}:{place.tb_lineno}" if place else "?"
        tell(f"a fault of vaxpass-sign itself ({type(error).__name__} in {where}): report it")
    return 2
