"""The command line: parse, call one library function, print, exit code. Nothing is decided here.

Exit codes: 0 done (``verify``: all valid); 1 a payload is not valid; 2 nothing could be decided
or done. Results go to stdout, progress and messages to stderr. An error is one line, never a
traceback.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

from vaxpass_sign.errors import VaxpassError

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line with ``sys.argv`` and exit."""
    # Payloads and names are UTF-8 whatever the locale says.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        from vaxpass_sign.cli.app import app

        app()
    except VaxpassError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("stopped", code=130)
    except BrokenPipeError:
        # Whoever read our output has gone; there is nobody to tell. Python would complain once
        # more when it flushes stdout at exit, so stdout becomes a sink.
        sys.stdout = Path("/dev/null").open("w")  # noqa: SIM115 (open until exit)
        sys.exit(2)
    except Exception as error:  # noqa: BLE001 (a traceback may show personal data)
        place = error.__traceback__
        while place and place.tb_next:
            place = place.tb_next
        where = f"{place.tb_frame.f_code.co_name}:{place.tb_lineno}" if place else "?"
        _fail(f"a fault of vaxpass-sign itself ({type(error).__name__} in {where}): report it")
    sys.exit(0)


def _fail(message: str, code: int = 2) -> NoReturn:
    one_line = " ".join(message.split())
    sys.stderr.write(f"vaxpass-sign: {one_line}\n")
    sys.exit(code)
