"""The commands of ``vaxpass-sign``, each in a module of its own.

Only the command that is called is imported: at a counter the program starts for each credential,
and ``verify`` needs neither PKCS#11 nor tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import typer

__all__ = ["COMMANDS", "run"]

COMMANDS = (
    "verify",
    "inspect",
    "issue",
    "clean",
    "sign",
    "audit",
    "report",
    "token",
    "trust",
    "revoke",
    "demo",
)
"""In the order in which help lists them."""

# What typer raises when it can't make sense of the arguments. It has no public name for the class
# itself, only for this one of its kinds.
_UsageError: Any = typer.BadParameter.__bases__[0]
_INTERRUPTED = 130


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code.

    Raises: what the command raises; KeyboardInterrupt when it was interrupted.
    """
    program = _program(arguments)
    try:
        code = program(args=list(arguments), standalone_mode=False)
    except _UsageError as error:
        error.show()
        return 2
    except typer.Abort:
        raise KeyboardInterrupt from None
    if code == _INTERRUPTED:
        raise KeyboardInterrupt
    return int(code or 0)


def _program(arguments: Sequence[str]) -> typer.Typer:
    """The program with the command that the arguments name; for help, with all of them."""
    program = typer.Typer(
        name="vaxpass-sign",
        no_args_is_help=True,
        add_completion=False,
        # Typer's own traceback shows local variables, and they may hold personal data.
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    program.callback()(_program_help)
    called = [name for name in arguments[:1] if name in COMMANDS]
    for name in called or COMMANDS:
        module = import_module(f"vaxpass_sign.cli.{name}")
        if hasattr(module, "app"):
            program.add_typer(module.app, name=name)
        else:
            program.command(name)(module.command)
    return program


def _program_help() -> None:
    """Vaccination records as EU-DCC credentials: sign on PKCS#11 tokens, verify offline."""
