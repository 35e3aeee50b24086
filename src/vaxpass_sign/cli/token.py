"""``token``: what is on the tokens, and new keys for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaxpass_sign.cli.pins import pin_source
from vaxpass_sign.errors import InputError, TokenError

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
) -> None:
    """Show modules, slots, tokens and what they show without a PIN."""
    from vaxpass_sign.keys.listing import list_tokens
    from vaxpass_sign.keys.locate import known_modules
    from vaxpass_sign.keys.module import load_module

    paths = module or known_modules()
    if not paths:
        raise TokenError(
            "found no PKCS#11 module, expected one such as softhsm2's: install your token's "
            "driver, or give --module PATH"
        )
    failed = False
    for path in paths:
        typer.echo(typer.style(str(path), bold=True))
        try:
            with load_module(path) as loaded:
                for token in list_tokens(loaded):
                    flags = ", ".join(token.flags)
                    typer.echo(
                        f"  slot {token.slot_id}: {token.label!r}, serial {token.serial}, "
                        f"{token.manufacturer}, {token.model} ({flags})"
                    )
                    for key in token.keys:
                        typer.echo(
                            f"    {key.kind} {key.label!r}, id {key.id_hex}, {key.algorithm}"
                        )
        except TokenError as error:
            failed = True
            typer.echo(f"vaxpass-sign: {error}", err=True)
    raise typer.Exit(2 if failed else 0)


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
            help="The environment variable that holds the PIN.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make a key pair on a token; the private key can never leave it."""
    from vaxpass_sign.keys.newkey import new_key
    from vaxpass_sign.keys.uri import Pkcs11Uri

    if rsa not in (None, 2048, 3072):
        raise InputError(f"--rsa: found {rsa}, expected 2048 or 3072")
    parsed = Pkcs11Uri.parse(uri)
    pin = pin_source(uri, pin_env)
    made = new_key(parsed, pin) if rsa is None else new_key(parsed, pin, "rsa", rsa)
    typer.echo(str(made.uri))
    typer.echo(f"made {made.label!r}, id {made.id_hex}; read back: {', '.join(made.checked)}")
