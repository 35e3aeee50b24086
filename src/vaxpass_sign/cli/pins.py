"""Where a PIN comes from: an environment variable, the URI's pin-source, or a prompt."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer

from vaxpass_sign.errors import PinError

__all__ = ["pin_source"]


def pin_source(key: str, pin_env: str | None) -> Callable[[], str] | None:
    """What :func:`vaxpass_sign.keys.open_signer` asks for the PIN; None when the URI knows it.

    The PIN itself is read only when it is needed, and kept nowhere.
    """
    if pin_env is not None:
        return lambda: _from_environment(pin_env)
    if "pin-source=" in key:
        return None
    return _from_prompt


def _from_environment(name: str) -> str:
    pin = os.environ.get(name)
    if not pin:
        raise PinError(
            f"--pin-env: found no environment variable {name}, expected it to hold the PIN"
        )
    return pin


def _from_prompt() -> str:
    if not sys.stdin.isatty():
        raise PinError(
            "a PIN is needed and there is no terminal to ask at: give --pin-env NAME, or "
            "pin-source in the URI"
        )
    return str(typer.prompt("PIN", hide_input=True, err=True))
