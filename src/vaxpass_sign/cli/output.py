"""Where words go: results to stdout, all else to stderr, and nothing raw to a terminal.

Names come from credentials that anybody may have written, labels from tokens, paths from folders.
None of them may move the cursor, colour a line, turn its direction or forge another one: see
:func:`plain` and :func:`print_json`.

>>> plain("Nguyễn\\x1b[2J\\u202eVăn")
'Nguyễn\ufffd[2J\ufffdVăn'
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import Any

import typer

from vaxpass_sign.errors import InputError

__all__ = ["OutputClosed", "json_line", "plain", "print_json", "print_line", "show_line", "tell"]

# Joiners shape Persian and Indic names, and these two spaces are in use; the rest of what Unicode
# calls not printable is for steering.
_HARMLESS = frozenset("\u200c\u200d\u00a0\u3000")


class OutputClosed(Exception):  # noqa: N818 (no fault: whoever read our output has enough)
    """Standard output was closed by its reader, such as ``head -1``."""


def plain(text: str, limit: int | None = None) -> str:
    """The text without what could steer a terminal, cut after ``limit`` characters."""
    if limit is not None and len(text) > limit:
        text = text[:limit] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _HARMLESS else "\ufffd" for c in text)


def print_line(text: str = "") -> None:
    """One line of a result on stdout; colours are left out unless it is a terminal.

    Raises: OutputClosed when nobody reads any more; InputError when it can't be written.
    """
    if sys.stdout is None:
        raise InputError("standard output is closed, expected it open: the result goes there")
    try:
        typer.echo(text, color=False if os.environ.get("NO_COLOR") else None)
    except BrokenPipeError:
        raise OutputClosed from None
    except OSError as error:
        raise InputError(
            f"standard output can't be written: {error.strerror}; make room, or choose another"
        ) from error


def print_json(value: dict[str, Any]) -> None:
    """One JSON object on one line of stdout: see :func:`json_line`."""
    print_line(json_line(value))


def json_line(value: dict[str, Any]) -> str:
    """A JSON object on one line; what is not printable is escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not text.isprintable():
        # Only inside its strings can JSON on one line hold such a character.
        text = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
    return text


def show_line(text: str) -> None:
    """One line of something longer on stderr, such as what is asked about."""
    if sys.stderr is not None:
        with suppress(OSError):
            typer.echo(plain(text), err=True)


def tell(message: object) -> None:
    """One line on stderr, whatever the message holds."""
    line = " ".join(str(message).split())
    # Without stderr there is nobody to tell; the exit code says it all the same.
    if sys.stderr is not None:
        with suppress(OSError):
            typer.echo(f"vaxpass-sign: {plain(line)}", err=True)
