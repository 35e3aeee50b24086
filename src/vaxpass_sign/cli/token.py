"""``token``: what is on the tokens, new keys for them, and the keys' DSCs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from vaxpass_sign.cli.output import plain, print_line, tell
from vaxpass_sign.cli.pins import ForceFinalTry, PinEnv, pin_source
from vaxpass_sign.cli.token_check import bench_command, doctor_command
from vaxpass_sign.cli.token_dsc import csr_command, import_dsc_command
from vaxpass_sign.cli.two_people import ask_two_people, check_terminal
from vaxpass_sign.errors import InputError, TokenError
from vaxpass_sign.keys.listing import read_module
from vaxpass_sign.keys.locate import known_modules
from vaxpass_sign.keys.newkey import KeyPlan, new_key
from vaxpass_sign.keys.token import KeyInfo, TokenInfo, quoted
from vaxpass_sign.keys.uri import Pkcs11Uri

__all__ = ["app"]

app = typer.Typer(help="PKCS#11 tokens and the keys on them.", no_args_is_help=True)
app.command("doctor")(doctor_command)
app.command("bench")(bench_command)

_MAX_ID = 64


@app.command("list")
def list_command(
    module: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="A PKCS#11 module; may be given more than once. Left out: those known to be "
            "installed.",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Show the tokens, what they can sign and what is on them.

    Nobody logs in, so that private keys stay unseen; their public halves are shown, each with the
    URI that names the pair.

    Exit codes: 0 all could be read, 2 a module, slot or token could not.
    """
    paths = module or known_modules()
    if not paths:
        raise TokenError(
            "found no PKCS#11 module, expected one such as softhsm2's: install your token's "
            "driver, or give --module PATH"
        )
    failed = False
    for path in paths:
        found = read_module(path.absolute())
        if not found or not all(isinstance(token, TokenError) for token in found):
            print_line(typer.style(plain(str(path)), bold=True))
        for token in found:
            if isinstance(token, TokenError):
                failed = True
                tell(token)
            else:
                _print_token(token)
        if not found:
            print_line("  no token in any slot")
    return 2 if failed else 0


def _print_token(token: TokenInfo) -> None:
    if "initialised" not in token.flags:
        print_line(f"  slot {token.slot_id}: a token that is not initialised")
        return
    print_line(f"  token {quoted(token.label)} in slot {token.slot_id}")
    flags = ", ".join(flag for flag in token.flags if flag != "initialised")
    made = " ".join(filter(None, (token.manufacturer, token.model)))
    for label, value in (
        ("made by", f"{plain(made)}, serial {plain(token.serial)}"),
        ("state", flags or "no login needed"),
        ("can sign", ", ".join(token.signs) or "nothing: no HCERT can be signed here"),
        *(line for key in token.keys for line in _key_lines(key)),
    ):
        print_line(typer.style(f"    {label:12}", dim=True) + value)


def _key_lines(key: KeyInfo) -> Iterator[tuple[str, str]]:
    ident = key.id_hex if len(key.id_hex) <= _MAX_ID else f"{key.id_hex[:_MAX_ID]}…"
    words = f"{quoted(key.label)}, {key.algorithm}, id {ident or 'none'}"
    if key.kind == "certificate":
        until = f", until {key.not_after:%Y-%m-%d}" if key.not_after else ""
        subject = "that can't be read" if key.subject is None else f"of {quoted(key.subject)}"
        words = f"{words}, {subject}{until}"
    yield key.kind, words
    if key.uri is not None:
        yield "", key.uri


@app.command("new-key")
def new_key_command(
    uri: Annotated[
        str,
        typer.Argument(
            metavar="URI",
            help="pkcs11:token=…;object=NEW-LABEL?module-path=… (RFC 7512).",
            show_default=False,
        ),
    ],
    rsa: Annotated[
        int | None,
        typer.Option(
            metavar="BITS",
            help="An RSA key of 2048 or 3072 bits (PS256) instead of P-256 (ES256).",
            show_default=False,
        ),
    ] = None,
    pin_env: PinEnv = None,
    force_final_try: ForceFinalTry = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask two people to confirm, for scripts.")
    ] = False,
) -> None:
    """Make a key pair on a token.

    Shows what will be made where, and asks two people for their names, which are shown again at the
    end and not stored. The key's URI goes to stdout. The private key can never leave the token.
    """
    if rsa not in (None, 2048, 3072):
        raise InputError(f"--rsa: found {rsa}, expected 2048 or 3072")
    parsed = Pkcs11Uri.parse(uri)
    if not yes:
        check_terminal()
    people: list[str] = []

    def confirm(plan: KeyPlan) -> None:
        people.extend(ask_two_people(_plan_lines(plan)))

    kind: Literal["ec", "rsa"] = "ec" if rsa is None else "rsa"
    made = new_key(
        parsed,
        pin_source(uri, pin_env),
        kind,
        rsa or 2048,
        confirm=None if yes else confirm,
        final_try=force_final_try,
    )
    # The URI alone on stdout, for KEY=$(…).
    print_line(str(made.uri))
    words = "P-256" if rsa is None else f"RSA {rsa}"
    confirmed = " and ".join(people) or "nobody (--yes)"
    tell(
        f"made the {words} key {quoted(made.label)}; read back: {', '.join(made.checked)}; "
        f"confirmed by {confirmed}"
    )


def _plan_lines(plan: KeyPlan) -> Iterator[str]:
    made = " ".join(filter(None, (plan.token.manufacturer, plan.token.model)))
    yield f"to make   a {plan.kind} key pair {quoted(plan.label)}"
    yield f"on token  {quoted(plan.token.label)}, serial {plan.token.serial or 'none'}, {made}"


app.command("csr")(csr_command)
app.command("import-dsc")(import_dsc_command)
