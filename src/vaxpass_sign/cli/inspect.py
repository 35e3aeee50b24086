"""``inspect``: what does this credential say? Nothing is checked."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vaxpass_sign.cli.inputs import Payload, Unread, read_inputs
from vaxpass_sign.cli.output import plain, print_json, print_line, tell
from vaxpass_sign.cli.show import hcert_lines, hcert_object, headline
from vaxpass_sign.errors import HcertError
from vaxpass_sign.hcert.codec import decode

__all__ = ["command"]


def command(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PAYLOAD|FILE|PICTURE|PDF|FOLDER|-",
            help="As for verify.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> int:
    """Show what credentials say. Nothing is checked: anybody can write anything there.

    Exit codes: 0 all decoded, 1 one could not be decoded, 2 an input could not be read.
    """
    broken = unread = printed = False
    for item in read_inputs(inputs):
        if isinstance(item, Unread):
            unread = True
            tell(item.error)
            if json:
                print_json({"input": item.source, "line": None, "error": str(item.error)})
        elif json:
            found = _object(item)
            broken |= "error" in found
            print_json(found)
        else:
            if printed:
                print_line()
            broken |= not _print(item)
            printed = True
    return 1 if broken else 2 if unread else 0


def _object(payload: Payload) -> dict[str, Any]:
    place = {"input": payload.source, "line": payload.line, "checked": False}
    try:
        return place | hcert_object(decode(payload.text))
    except HcertError as error:
        return place | {"error": error.code, "detail": str(error)}


def _print(payload: Payload) -> bool:
    """Print what a payload says; False when it could not be decoded."""
    try:
        hcert = decode(payload.text)
    except HcertError as error:
        print_line(headline("NOT READABLE", "red", payload.place))
        print_line(f"  {plain(str(error))} [{error.code}]")
        return False
    for line in hcert_lines(hcert, payload.place):
        print_line(line)
    return True
