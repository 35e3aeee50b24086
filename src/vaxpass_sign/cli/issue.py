"""``issue``: one record in, one HCERT out."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from vaxpass_sign.cli.output import print_line, tell
from vaxpass_sign.cli.pins import ForceFinalTry, PinEnv, pin_source
from vaxpass_sign.errors import CertificateError, InputError
from vaxpass_sign.issuer import Issuer
from vaxpass_sign.keys import open_signer
from vaxpass_sign.prepare.doses import record_from_mapping
from vaxpass_sign.x509 import Certificate, read_certificate

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
    pin_env: PinEnv = None,
    force_final_try: ForceFinalTry = False,
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

    The issuing country and name are the DSC's, unless the record names others.
    """
    pin = pin_source(key, pin_env)
    vaccination = record_from_mapping(_read_record(record))
    certificate = read_certificate(dsc)
    country, name = _issuing(certificate, dsc)
    if qr is not None:
        from vaxpass_sign.qr import check_picture_path

        check_picture_path(qr)
    with open_signer(key, pin=pin, final_try=force_final_try) as signer:
        issuer = Issuer(signer, certificate, country, name, timedelta(days=validity_days))
        text = issuer.issue(vaccination)
    # First the payload, so that a picture that can't be written loses nothing.
    print_line(text)
    if qr is not None:
        from vaxpass_sign.qr import write_qr

        write_qr(text, qr)
        tell(f"wrote {qr}")


def _issuing(certificate: Certificate, path: Path) -> tuple[str, str]:
    """Country and name of whom the DSC was issued to."""
    name = certificate.organisation or certificate.common_name
    if certificate.country is None or not name:
        raise CertificateError(
            f"{path}: found a DSC without a country or organisation in its subject, expected both: "
            "they are what a credential names as its issuer"
        )
    return certificate.country.upper(), name


def _read_record(path: Path) -> dict[str, Any]:
    place = "standard input" if str(path) == "-" else str(path)
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(_MAX_RECORD_BYTES + 1) if sys.stdin else b""
        else:
            with path.open("rb") as file:
                data = file.read(_MAX_RECORD_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"{place} can't be read: {error.strerror}; expected a record as JSON"
        ) from error
    if len(data) > _MAX_RECORD_BYTES:
        raise InputError(f"{place}: found more than {_MAX_RECORD_BYTES} bytes, expected one record")
    found = "no JSON"
    try:
        value = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_without_doubles)
        if isinstance(value, dict):
            return value
        found = "JSON that is no object"
    except json.JSONDecodeError as error:
        found = f"no JSON at line {error.lineno}, column {error.colno} ({error.msg})"
    except UnicodeDecodeError:
        found = "bytes that are not UTF-8"
    except _DoubledNameError:
        found = "a name that stands twice"
    except (ValueError, RecursionError):
        pass  # a number or a nesting out of all bounds
    # Raised out here, so that no cause carries what the record holds.
    raise InputError(f"{place}: found {found}, expected one record as a JSON object in UTF-8")


class _DoubledNameError(Exception):
    pass


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object; one that names a column twice may mean either value, so it means none."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _DoubledNameError
    return result
