"""``revoke add``: enter what is revoked into the issuer's register."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import typer

from vaxpass_sign.check.revocation.hashes import HashType
from vaxpass_sign.cli.inputs import Unread, read_inputs
from vaxpass_sign.cli.moments import moment_of
from vaxpass_sign.cli.output import print_line, tell
from vaxpass_sign.errors import HcertError, InputError
from vaxpass_sign.files import open_regular
from vaxpass_sign.hcert.codec import decode
from vaxpass_sign.revocation.register import Entry, Register
from vaxpass_sign.revocation.revoking import USUAL, entries_of, entries_of_uvci, seconds_of

__all__ = ["add_command"]

_MAX_LINE: Final = 400
"""Bytes of a line that are refused: no UVCI has as many, and a part of one would be another."""


def add_command(
    register: Annotated[
        Path,
        typer.Argument(
            metavar="REGISTER",
            help="The issuer's register; made when it is missing and --country is given.",
            show_default=False,
        ),
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PAYLOAD|FILE|PICTURE|PDF|FOLDER|-",
            help="As for verify. Standard input is read when neither one nor a UVCI is given.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TYPE",
            help="By which hash: uci, countrycodeuci or signature; may be given more than once. "
            "Left out: uci and signature, and uci alone for a UVCI.",
            show_default=False,
        ),
    ] = None,
    uvci: Annotated[
        list[str] | None,
        typer.Option(
            metavar="UVCI",
            help="Revoke a UVCI whose credential is not at hand; may be given more than once.",
            show_default=False,
        ),
    ] = None,
    uvci_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A file of UVCIs, one a line; - for standard input.",
            show_default=False,
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Until when at least it must stay revoked, with its offset. A credential's own "
            "expiry counts when it is later; UVCIs need it.",
            show_default=False,
        ),
    ] = None,
    country: Annotated[
        str | None,
        typer.Option(metavar="CC", help="Whose register it is, to make it.", show_default=False),
    ] = None,
    any_kid: Annotated[
        bool,
        typer.Option(
            "--any-kid/--this-kid",
            help="For every kid, so that renewals under another DSC are revoked too; or for the "
            "credential's own alone.",
        ),
    ] = True,
    reason: Annotated[
        str | None,
        typer.Option(
            metavar="WORD",
            help="Such as wrong-person; kept in the register alone. Nothing personal.",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Enter credentials into the register of what is revoked.

    Nothing of them is checked: verify them first, for anybody can write another one's UVCI into a
    payload. Either all are entered or none. The register holds hashes and no personal data; revoke
    export publishes what is new in it.

    Exit codes: 0 entered, 2 nothing was.
    """
    types, until = _types(by), moment_of(expires, "--expires")
    with closing(_open(register, country)) as opened:
        made = _Entries(opened.country, types, until, any_kid)
        sources: Iterator[Entry] = made.of_uvcis(uvci or [], uvci_file)
        if inputs or not (uvci or uvci_file):
            sources = chain(sources, made.of_payloads(inputs))
        added = opened.add(sources, reason=reason, now_s=int(time.time()))
    print_line(
        f"{made.read:,} revoked in the register of {made.country}: {added.new:,} new entries, "
        f"{added.prolonged:,} prolonged, {added.known:,} there before"
    )
    if added.expired:
        tell(f"{added.expired:,} entries were left out: their credentials have expired already")
    return 0


def _types(by: list[str] | None) -> list[HashType] | None:
    if not by:
        return None
    try:
        return list(dict.fromkeys(HashType(word.upper()) for word in by))
    except ValueError:
        raise InputError(
            "--by: found another word, expected uci, countrycodeuci or signature"
        ) from None


def _open(path: Path, country: str | None) -> Register:
    if country is not None and not path.exists():
        made = Register.create(path, country, now_s=int(time.time()))
        tell(f"made the register {path} of {country}")
        return made
    opened = Register.open(path)
    if country not in (None, opened.country):
        found = opened.country
        opened.close()
        raise InputError(f"--country: {path} is the register of {found}; leave --country out")
    return opened


class _Entries:
    """Entries of what is given, each with its place in a message; ``read`` counts credentials."""

    def __init__(
        self, country: str, types: list[HashType] | None, until: datetime | None, any_kid: bool
    ) -> None:
        self.country, self.read = country, 0
        self._types, self._until, self._any_kid = types, until, any_kid

    def of_payloads(self, inputs: list[str] | None) -> Iterator[Entry]:
        for item in read_inputs(inputs):
            if isinstance(item, Unread):
                raise item.error
            try:
                yield from entries_of(
                    decode(item.text),
                    self.country,
                    self._types or USUAL,
                    any_kid=self._any_kid,
                    expires_at=self._until,
                )
            except (HcertError, InputError) as error:
                raise InputError(f"{item.place}: {error}; nothing was entered") from error
            self.read += 1

    def of_uvcis(self, uvcis: list[str], path: Path | None) -> Iterator[Entry]:
        given = ((f"--uvci {number}", uvci) for number, uvci in enumerate(uvcis, start=1))
        for place, uvci in chain(given, () if path is None else _lines(path)):
            if self._until is None:
                raise InputError(
                    "a UVCI does not say when its credential expires: give --expires TIME"
                )
            try:
                yield from entries_of_uvci(
                    uvci,
                    self.country,
                    self._types or (HashType.UCI,),
                    expires_s=seconds_of(self._until),
                )
            except InputError as error:
                raise InputError(f"{place}: {error}; nothing was entered") from error
            self.read += 1


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """(place, text) of each line that is not empty."""
    name = "standard input" if str(path) == "-" else str(path)
    try:
        with _opened(path) as file:
            for number, raw in enumerate(iter(lambda: file.readline(_MAX_LINE), b""), start=1):
                if len(raw) == _MAX_LINE:
                    raise InputError(
                        f"{name}, line {number}: found {_MAX_LINE} bytes or more, expected one "
                        "UVCI a line; nothing was entered"
                    )
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                if text:
                    yield f"{name}, line {number}", text
    except UnicodeDecodeError:
        raise InputError(f"{name}: found bytes that are not UTF-8, expected UVCIs") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{name} can't be read: {why}; expected one UVCI a line") from error


def _opened(path: Path) -> AbstractContextManager[BinaryIO]:
    if str(path) != "-":
        return open_regular(path)
    if sys.stdin is None:
        raise InputError("standard input is closed, expected UVCIs there, one a line")
    return nullcontext(sys.stdin.buffer)
