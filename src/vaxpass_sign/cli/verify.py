"""``verify``: is this credential valid?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from vaxpass_sign.check.asked import Asked
from vaxpass_sign.check.payload_files import COLUMN
from vaxpass_sign.check.policy import EU, policy_named
from vaxpass_sign.check.sentences import LANGUAGES, sentence
from vaxpass_sign.check.verdict import Reason
from vaxpass_sign.cli.inputs import InBlocks, read_many
from vaxpass_sign.cli.judging import show_verdicts, write_table
from vaxpass_sign.cli.moments import moment_of
from vaxpass_sign.cli.stores import load_revocations, load_trust
from vaxpass_sign.errors import InputError

__all__ = ["command"]


def command(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PAYLOAD|FILE|PICTURE|PDF|FOLDER|-",
            help="A payload; a file with one a line; a Parquet table of them; a PNG or JPEG "
            "picture or a PDF with QR codes; a folder of such files, not its subfolders; or - for "
            "standard input, which is also read when nothing is given. Arguments show in the list "
            "of processes: prefer - or a file.",
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
    revocation: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="A revocation store or a stolen key's allow-list, or a folder of such .vxrev "
            "files; may be given more than once. Left out: the user's folder of them, if there is "
            "one.",
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
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Write a verdict a row to a .csv, .jsonl or .parquet file, and show none.",
            show_default=False,
        ),
    ] = None,
    column: Annotated[
        str,
        typer.Option(metavar="NAME", help="The column of a Parquet table that has the payloads."),
    ] = COLUMN,
) -> int:
    """Check credentials, from the signature to revocation.

    Exit codes: 0 all valid, 1 one is not, 2 one could not be decided (and none is invalid).
    """
    if json and out is not None:
        raise InputError(
            "found --json and --out, expected one of them: a table whose name ends in .jsonl has "
            "an object a line"
        )
    moment, asked, language = moment_of(at, "--at"), policy_named(policy), _language(lang)
    store = load_trust(trust or [], anchor or [])
    with load_revocations(revocation or [], moment) as revocations:
        question = Asked(store, moment, asked, revocations)
        if out is not None:
            return write_table(out, question, read_many(inputs, InBlocks(column, pipes=True)))
        found = read_many(inputs, InBlocks(column, pipes=False))
        return show_verdicts(found, question, language, as_json=json)


def _language(asked: str | None) -> str:
    """The language asked for, or the one of the environment when there are sentences in it."""
    if asked is not None:
        sentence(Reason.VALID, asked)
        return asked
    # As gettext looks for it; the first that is set decides.
    names = (os.environ.get(name) for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"))
    locale = next(filter(None, names), "")
    return locale[:2] if locale[:2] in LANGUAGES else "en"
