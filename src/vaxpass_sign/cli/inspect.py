"""``inspect``: what does this credential say? Nothing is checked."""

from __future__ import annotations

from typing import Annotated

import typer

from vaxpass_sign.cli.inputs import read_payloads
from vaxpass_sign.cli.show import hcert_lines, hcert_object, print_json
from vaxpass_sign.errors import HcertError, VaxpassError
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.hcert.codec import decode

__all__ = ["command"]


def command(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PAYLOAD|FILE|PICTURE|-]...",
            help="As for verify.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show what credentials say. Nothing is checked: anybody can write anything there.

    Exit codes: 0 all decoded, 1 one could not be decoded, 2 an input could not be read.
    """
    broken = unread = False
    for payload in read_payloads(inputs or ["-"]):
        if isinstance(payload, VaxpassError):
            typer.echo(f"vaxpass-sign: {payload}", err=True)
            unread = True
            continue
        place = {"input": payload.source, "line": payload.line, "checked": False}
        try:
            hcert = decode(payload.text)
        except HcertError as error:
            broken = True
            if json:
                print_json(place | {"error": error.code, "detail": str(error)})
            else:
                typer.echo(f"{payload.place}: {error} [{error.code}]")
            continue
        if json:
            print_json(place | hcert_object(hcert))
            continue
        typer.echo(typer.style(payload.place, dim=True))
        typer.echo(typer.style("NOTHING WAS CHECKED", fg="yellow", bold=True) + " of what it says:")
        for line in hcert_lines(hcert):
            typer.echo(line)
        alg = hcert.alg.name if isinstance(hcert.alg, Alg) else hcert.alg
        typer.echo(f"  kid {hcert.kid.hex() if hcert.kid else 'none'}, alg {alg}")
    raise typer.Exit(1 if broken else 2 if unread else 0)
