"""``issue``: one record in, one HCERT out."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from vaxpass_sign.cli.pins import pin_source
from vaxpass_sign.errors import CertificateError, InputError
from vaxpass_sign.issuer import Issuer
from vaxpass_sign.keys import open_signer
from vaxpass_sign.prepare.doses import record_from_mapping
from vaxpass_sign.x509 import read_certificate

__all__ = ["command"]

_MAX_RECORD_BYTES = 100_000


def command(
    record: Annotated[
        Path,
        typer.Argument(
            metavar="RECORD.json",
            help="A JSON object with a dose table's columns; - for standard input.",
            show_default=False,
        ),
    ],
    key: Annotated[
        str,
        typer.Option(
            metavar="URI", help="pkcs11:… (RFC 7512), or a PEM key file.", show_default=False
        ),
    ],
    dsc: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The key's DSC, in PEM or DER.", show_default=False),
    ],
    pin_env: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The environment variable that holds the PIN. Left out: the URI's pin-source, "
            "else a prompt.",
            show_default=False,
        ),
    ] = None,
    qr: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.png", help="Also write the QR picture (.png or .svg).", show_default=False
        ),
    ] = None,
    validity_days: Annotated[
        int, typer.Option(min=1, max=3650, help="Days from issue to expiry.")
    ] = 365,
) -> None:
    """Sign one record and print its payload.

    The issuing country and name are the DSC's, unless the record names an issuer.
    """
    vaccination = record_from_mapping(_read_record(record))
    certificate = read_certificate(dsc)
    if qr is not None:
        from vaxpass_sign.qr import check_picture_path

        check_picture_path(qr)
    name = certificate.organisation or certificate.common_name
    if certificate.country is None or not name:
        raise CertificateError(
            f"{dsc}: found a DSC without a country or organisation in its subject, expected both: "
            "they are what a credential names as its issuer"
        )
    with open_signer(key, pin=pin_source(key, pin_env)) as signer:
        issuer = Issuer(
            signer, certificate, certificate.country, name, timedelta(days=validity_days)
        )
        text = issuer.issue(vaccination)
    if qr is not None:
        from vaxpass_sign.qr import write_qr

        write_qr(text, qr)
        typer.echo(f"wrote {qr}", err=True)
    typer.echo(text)


def _read_record(path: Path) -> dict[str, Any]:
    import sys

    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(_MAX_RECORD_BYTES + 1)
        else:
            with path.open("rb") as file:
                data = file.read(_MAX_RECORD_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}; expected a record") from error
    if len(data) > _MAX_RECORD_BYTES:
        raise InputError(f"{path}: found more than {_MAX_RECORD_BYTES} bytes, expected one record")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError(f"{path}: found no JSON object, expected one record as JSON in UTF-8")
    return value
