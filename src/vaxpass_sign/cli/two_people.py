"""Two people confirm at the terminal what one alone must not do.

Nothing proves who they are: their names go into the protocol of those who stand beside them.

>>> check_different("Ng. V. An", "tt bình")
('Ng. V. An', 'tt bình')
>>> check_different("An", " a n ")
Traceback (most recent call last):
...
vaxpass_sign.errors.InputError: the same name was typed twice, expected two people; ...
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable

import typer

from vaxpass_sign.cli.output import show_line
from vaxpass_sign.errors import InputError

__all__ = ["ask_two_people", "check_different", "check_terminal"]

_MAX_NAME = 64


def check_terminal() -> None:
    """Raises: InputError when nobody can be asked."""
    # What is asked about is shown on stderr: who can't see it confirms nothing.
    if any(stream is None or not stream.isatty() for stream in (sys.stdin, sys.stderr)):
        raise InputError(
            "nothing was made: two people must confirm, and there is no terminal to ask at; run it "
            "at one, or let a script answer with --yes"
        )


def ask_two_people(lines: Iterable[str]) -> tuple[str, str]:
    """Show what is about to be done and ask for two names; initials are enough.

    Raises: InputError when the names are not two people's.
    """
    for line in lines:
        show_line(line)
    show_line("Two people confirm this with their names or initials; Ctrl-C makes nothing.")
    return check_different(_answer("first"), _answer("second"))


def _answer(who: str) -> str:
    # Not typer.prompt: it writes a blank to stdout, where the URI must stand alone.
    typer.echo(f"vaxpass-sign: {who} person: ", nl=False, err=True)
    try:
        line = sys.stdin.readline()
    except KeyboardInterrupt:
        # What is said next shall begin on a line of its own.
        typer.echo(err=True)
        raise
    if not line:
        typer.echo(err=True)
        raise InputError("found no answer, expected two people's names; nothing was made")
    return line


def check_different(first: str, second: str) -> tuple[str, str]:
    """Both names without blanks around them.

    Raises: InputError when one is empty or too long, or both are the same but for case and blanks.
    """
    names = first.strip(), second.strip()
    compared = [_compared(name) for name in names]
    if not all(compared):
        raise InputError("found an empty name, expected two people's; nothing was made: run again")
    if any(len(name) > _MAX_NAME for name in names):
        raise InputError(
            f"found a name of more than {_MAX_NAME} characters, expected a name or initials; "
            "nothing was made: run again"
        )
    if compared[0] == compared[1]:
        raise InputError(
            "the same name was typed twice, expected two people; nothing was made: ask a second one"
        )
    return names


def _compared(name: str) -> str:
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(char for char in folded if char.isprintable() and not char.isspace())
