"""The commands of ``vaxpass-sign``, each in a module of its own."""

from __future__ import annotations

import typer

from vaxpass_sign.cli import demo, inspect, issue, token, verify

__all__ = ["app"]

app = typer.Typer(
    name="vaxpass-sign",
    help="Vaccination records as EU-DCC credentials: sign on PKCS#11 tokens, verify offline.",
    no_args_is_help=True,
    add_completion=False,
    # Typer's own traceback shows local variables, and they may hold personal data.
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("verify")(verify.command)
app.command("inspect")(inspect.command)
app.command("issue")(issue.command)
app.add_typer(token.app, name="token")
app.command("demo")(demo.command)
