"""``verify``: is this credential valid?"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from vaxpass_sign.check.policy import EU, policy_named
from vaxpass_sign.check.sentences import LANGUAGES, sentence
from vaxpass_sign.check.verdict import Reason
from vaxpass_sign.check.verify import verify
from vaxpass_sign.cli.inputs import Unread, read_inputs
from vaxpass_sign.cli.output import print_json, print_line, tell
from vaxpass_sign.cli.show import verdict_lines, verdict_object
from vaxpass_sign.cli.stores import load_trust
from vaxpass_sign.errors import InputError

__all__ = ["command"]


def command(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PAYLOAD|FILE|PICTURE|-",
            help="A payload, a file with one a line, a PNG or JPEG picture, or - for standard "
            "input, which is also read when nothing is given. Arguments show in the list of "
            "processes: prefer - or a file.",
            show_default=False,
        ),
    ] = None,
    trust: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="A folder or file of DSCs in PEM or DER, a kept list, or a signed list with its "
            "--anchor; may be given more than once. Left out: the user's trust store.",
            show_default=False,
        ),
    ] = None,
    anchor: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A CSCA that must have issued the DSCs; for a signed list, the certificate or key "
            "that must have signed it. May be given more than once.",
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
    policy: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What is asked after the signature: strict, eu, who or vietnam.",
        ),
    ] = EU.name,
    lang: Annotated[
        str | None,
        typer.Option(
            metavar="en|vi",
            help="The language of the advice. Left out: Vietnamese where LANG says so, else "
            "English.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> int:
    """Check credentials: signature, validity, key usage, schema.

    Exit codes: 0 all valid, 1 one is not, 2 one could not be decided (and none is invalid).
    """
    moment, asked, language = _moment(at), policy_named(policy), _language(lang)
    store = load_trust(trust or [], anchor or [])
    valid = invalid = undecided = 0
    for item in read_inputs(inputs):
        if isinstance(item, Unread):
            undecided += 1
            tell(item.error)
            if json:
                unread = {"input": item.source, "line": None, "valid": None}
                print_json(unread | {"error": str(item.error)})
            continue
        verdict = verify(item.text, store, moment, asked)
        if json:
            print_json(
                {"input": item.source, "line": item.line} | verdict_object(verdict, language)
            )
        else:
            if valid or invalid:
                print_line()
            for line in verdict_lines(verdict, item.place, language):
                print_line(line)
        valid, invalid = valid + verdict.valid, invalid + (not verdict.valid)
    if valid + invalid + undecided > 1 and not json:
        tell(f"{valid} valid, {invalid} not valid, {undecided} could not be read")
    return 1 if invalid else 2 if undecided else 0


def _language(asked: str | None) -> str:
    """The language asked for, or the one of the environment when there are sentences in it."""
    if asked is not None:
        sentence(Reason.VALID, asked)
        return asked
    # As gettext looks for it; the first that is set decides.
    names = (os.environ.get(name) for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"))
    locale = next(filter(None, names), "")
    return locale[:2] if locale[:2] in LANGUAGES else "en"


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
