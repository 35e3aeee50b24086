"""``token``: what is on the tokens, and new keys for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaxpass_sign.cli.output import plain, print_line, tell
from vaxpass_sign.cli.pins import pin_source
from vaxpass_sign.errors import InputError, TokenError
from vaxpass_sign.keys.listing import list_tokens
from vaxpass_sign.keys.locate import known_modules
from vaxpass_sign.keys.module import load_module
from vaxpass_sign.keys.newkey import new_key
from vaxpass_sign.keys.token import TokenInfo
from vaxpass_sign.keys.uri import Pkcs11Uri

__all__ = ["app"]

app = typer.Typer(help="PKCS#11 tokens and the keys on them.", no_args_is_help=True)


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
    """Show the tokens and what is on them.

    Nobody logs in, so that private keys stay unseen; their public halves are shown.

    Exit codes: 0 all could be read, 2 a module could not.
    """
    paths = module or known_modules()
    if not paths:
        raise TokenError(
            "found no PKCS#11 module, expected one such as softhsm2's: install your token's "
            "driver, or give --module PATH"
        )
    failed = False
    for path in paths:
        try:
            with load_module(path.absolute()) as loaded:
                tokens = list_tokens(loaded)
        except TokenError as error:
            failed = True
            tell(error)
            continue
        print_line(typer.style(plain(str(path)), bold=True))
        for token in tokens:
            _print_token(token)
        if not tokens:
            print_line("  no token in any slot")
    return 2 if failed else 0


def _print_token(token: TokenInfo) -> None:
    if "initialised" not in token.flags:
        print_line(f"  slot {token.slot_id}: a token that is not initialised")
        return
    print_line(f"  token {token.label!r} in slot {token.slot_id}")
    flags = ", ".join(flag for flag in token.flags if flag != "initialised")
    made = " ".join(filter(None, (token.manufacturer, token.model)))
    for label, value in (
        ("made by", f"{plain(made)}, serial {plain(token.serial)}"),
        ("state", flags or "no login needed"),
        *((key.kind, f"{key.label!r}, {key.algorithm}, id {key.id_hex}") for key in token.keys),
    ):
        print_line(typer.style(f"    {label:12}", dim=True) + value)


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
    pin_env: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The environment variable that holds the PIN. Left out: the URI's pin-source, "
            "else a prompt.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make a key pair on a token.

    Its URI goes to stdout. The private key can never leave the token.
    """
    if rsa not in (None, 2048, 3072):
        raise InputError(f"--rsa: found {rsa}, expected 2048 or 3072")
    parsed = Pkcs11Uri.parse(uri)
    pin = pin_source(uri, pin_env)
    made = new_key(parsed, pin) if rsa is None else new_key(parsed, pin, "rsa", rsa)
    # The URI alone on stdout, for KEY=$(…).
    print_line(str(made.uri))
    kind = "P-256" if rsa is None else f"RSA {rsa}"
    tell(f"made the {kind} key {made.label!r}; read back: {', '.join(made.checked)}")
