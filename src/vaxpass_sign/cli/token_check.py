"""``token doctor`` and ``token bench``: is a key fit to sign, and how fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaxpass_sign.cli.output import plain, print_line, tell
from vaxpass_sign.cli.pins import ForceFinalTry, PinEnv, pin_source
from vaxpass_sign.keys.bench import bench
from vaxpass_sign.keys.doctor import examine
from vaxpass_sign.x509 import read_certificate

__all__ = ["bench_command", "doctor_command"]

_SIGNS = {"ok": "ok  ", "note": "note", "bad": "BAD "}


def doctor_command(
    uri: Annotated[
        str,
        typer.Argument(
            metavar="URI",
            help="pkcs11:token=…;object=…?module-path=… (RFC 7512).",
            show_default=False,
        ),
    ],
    dsc: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The DSC that belongs to the key.", show_default=False),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0, max=60, help="Of each measurement; 0 measures nothing.")
    ] = 1.0,
    pin_env: PinEnv = None,
    force_final_try: ForceFinalTry = False,
) -> int:
    """Try a key in order and say what is wrong and what to do.

    Module, token, PIN, key, one signature of a text that can't be a credential, and how fast it
    goes with more sessions and processes.

    Exit codes: 0 the key can sign, 2 it can't.
    """
    certificate = None if dsc is None else read_certificate(dsc)
    pin = pin_source(uri, pin_env)
    bad = False
    for check in examine(uri, pin, dsc=certificate, seconds=seconds, final_try=force_final_try):
        bad = bad or check.state == "bad"
        print_line(f"{_SIGNS[check.state]}  {check.step:10} {plain(check.text)}")
    if bad:
        tell("the key can't be used as it is; what comes after was not tried")
    return 2 if bad else 0


def bench_command(
    uri: Annotated[
        str,
        typer.Argument(
            metavar="URI", help="pkcs11:token=…?module-path=… (RFC 7512).", show_default=False
        ),
    ],
    this_key: Annotated[
        bool,
        typer.Option(
            "--this-key",
            help="Sign with the URI's own key, a text that can't be a credential. Left out: with a "
            "key of the session, which is gone afterwards.",
        ),
    ] = False,
    rsa: Annotated[bool, typer.Option("--rsa", help="An RSA key of 2048 bits, not P-256.")] = False,
    seconds: Annotated[float, typer.Option(min=0.1, max=60, help="Of each round.")] = 1.0,
    pin_env: PinEnv = None,
    force_final_try: ForceFinalTry = False,
) -> None:
    """Measure the library's signer against a bare loop of C_SignInit and C_Sign, in one session."""
    found = bench(
        uri,
        pin_source(uri, pin_env),
        kind="rsa" if rsa else "ec",
        this_key=this_key,
        seconds=seconds,
        final_try=force_final_try,
    )
    print_line(f"key        {plain(found.key)}")
    print_line(f"library    {found.library:,.1f} signatures/s")
    print_line(f"bare loop  {found.bare:,.1f} signatures/s")
    print_line(f"ratio      {found.ratio:.2f}")
