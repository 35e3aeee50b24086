"""``verify``: is this credential valid?"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from vaxpass_sign.check.trust import TrustStore
from vaxpass_sign.check.verify import verify
from vaxpass_sign.cli.inputs import read_payloads
from vaxpass_sign.cli.show import print_json, verdict_lines, verdict_object
from vaxpass_sign.errors import InputError, TrustError, VaxpassError

__all__ = ["command"]


def command(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PAYLOAD|FILE|PICTURE|-]...",
            help="A payload, a file with one a line, a PNG or JPEG picture, or - for standard "
            "input. Arguments show in the list of processes: prefer - or a file.",
            show_default=False,
        ),
    ] = None,
    trust: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="A folder or file of DSCs in PEM or DER; may be given more than once. Left out: "
            "the user's trust store.",
            show_default=False,
        ),
    ] = None,
    anchor: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PEM",
            help="A CSCA that must have issued the DSCs; may be given more than once.",
            show_default=False,
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="The moment to judge validity for, with its offset: 2026-11-22T10:00:00+07:00. "
            "Left out: now.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Check credentials: signature, validity, key usage, schema.

    Exit codes: 0 all valid, 1 one is not, 2 nothing could be decided.
    """
    moment = _moment(at)
    store = _trust(trust or [], anchor or [])
    invalid = undecided = False
    for payload in read_payloads(inputs or ["-"]):
        if isinstance(payload, VaxpassError):
            typer.echo(f"vaxpass-sign: {payload}", err=True)
            undecided = True
            continue
        verdict = verify(payload.text, store, at=moment)
        invalid |= not verdict.valid
        if json:
            place = {"input": payload.source, "line": payload.line}
            print_json(place | verdict_object(verdict))
            continue
        typer.echo(typer.style(payload.place, dim=True))
        for line in verdict_lines(verdict):
            typer.echo(line)
    raise typer.Exit(1 if invalid else 2 if undecided else 0)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.utcoffset() is None:
        raise InputError(
            f"--at: found {text[:40]!r}, expected a time with its offset, such as "
            "2026-11-22T10:00:00+07:00 or 2026-11-22T03:00:00Z"
        )
    return moment


def _trust(paths: list[Path], anchors: list[Path]) -> TrustStore:
    if not paths:
        import platformdirs

        default = Path(platformdirs.user_data_dir("vaxpass-sign")) / "trust"
        if not default.is_dir() or not any(default.iterdir()):
            raise TrustError(
                f"no trust: found no --trust, and the user's trust store {default} is empty; "
                "expected DSCs: give --trust PATH, or put them there"
            )
        paths = [default]
    cscas = [csca for anchor in anchors for csca in TrustStore.load(anchor)] or None
    store = TrustStore.load(paths[0], anchors=cscas)
    for path in paths[1:]:
        store |= TrustStore.load(path, anchors=cscas)
    return store
