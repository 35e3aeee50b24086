"""Where a PIN comes from: an environment variable, the URI's pin-source, or a prompt."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from vaxpass_sign.errors import PinError
from vaxpass_sign.keys.pin import Hidden, hidden
from vaxpass_sign.keys.uri import Pkcs11Uri, is_pkcs11_uri

__all__ = ["ForceFinalTry", "PinEnv", "pin_source"]

PinEnv = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The environment variable that holds the PIN. Left out: the URI's pin-source, "
        "else a prompt.",
        show_default=False,
    ),
]

ForceFinalTry = Annotated[
    bool,
    typer.Option(
        "--force-final-try",
        help="Send the PIN even when a wrong one would lock the token.",
    ),
]


def pin_source(key: str, pin_env: str | None) -> Callable[[], str] | None:
    """What :func:`vaxpass_sign.keys.open_signer` asks for the PIN; None when the URI knows it.

    A prompt or a file is asked only when the PIN is needed. A variable is taken out of the
    environment at once, so that no process that is started from here inherits it.
    """
    if pin_env is not None:
        given = hidden(os.environ.pop(pin_env, ""))
        return lambda: _from_environment(given, pin_env)
    if not is_pkcs11_uri(key):
        return lambda: _from_prompt("Password of the key file: ")
    if Pkcs11Uri.parse(key).pin_source is not None:
        return None
    return lambda: _from_prompt("PIN of the token: ")


def _from_environment(given: Hidden, name: str) -> str:
    pin = given()
    if not pin:
        raise PinError(
            f"--pin-env: found no environment variable {name}, or an empty one; expected it to "
            "hold the PIN"
        )
    return pin


def _from_prompt(words: str) -> str:
    import getpass

    # Asked at the terminal itself, so that standard input may hold the record; without one,
    # getpass would read standard input and show what is typed.
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        raise PinError(
            "a PIN is needed and there is no terminal to ask at: give --pin-env NAME, or "
            "pin-source in the URI"
        ) from None
    try:
        return getpass.getpass(words)
    except EOFError:
        raise PinError("no PIN was given; nothing was sent") from None
    except KeyboardInterrupt:
        # What is said next shall begin on a line of its own.
        sys.stderr.write("\n")
        raise
