"""``revoke``: an issuer's register, what is published of it, and what a reader asks offline."""

from __future__ import annotations

import typer

from vaxpass_sign.cli.revoke_add import add_command
from vaxpass_sign.cli.revoke_publish import export_command, key_command
from vaxpass_sign.cli.revoke_read import check_command, import_command

__all__ = ["app"]

app = typer.Typer(help="Revoke credentials and stolen keys; check offline.", no_args_is_help=True)
app.command("add")(add_command)
app.command("export")(export_command)
app.command("key")(key_command)
app.command("import")(import_command)
app.command("check")(check_command)
