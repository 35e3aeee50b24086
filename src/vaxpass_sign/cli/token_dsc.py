"""``token csr`` and ``token import-dsc``: from a key to its DSC, and the DSC to its key."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Annotated

import typer

from vaxpass_sign.cli.output import print_line, tell
from vaxpass_sign.cli.pins import ForceFinalTry, PinEnv, pin_source
from vaxpass_sign.durable import write_file
from vaxpass_sign.errors import InputError
from vaxpass_sign.keys import open_signer
from vaxpass_sign.keys.certificate import import_dsc
from vaxpass_sign.keys.csr import signed_csr
from vaxpass_sign.keys.uri import Pkcs11Uri
from vaxpass_sign.x509 import pem, read_certificate
from vaxpass_sign.x509.draft import Subject

__all__ = ["csr_command", "import_dsc_command"]

_Uri = Annotated[
    str,
    typer.Argument(
        metavar="URI",
        help="The key: pkcs11:token=…;object=LABEL?module-path=… (RFC 7512).",
        show_default=False,
    ),
]


def csr_command(
    uri: _Uri,
    country: Annotated[
        str,
        typer.Option(
            metavar="CC", help="Whose DSC it will be: two capital letters.", show_default=False
        ),
    ],
    organisation: Annotated[
        str, typer.Option(metavar="TEXT", help="Such as the ministry.", show_default=False)
    ],
    common_name: Annotated[
        str,
        typer.Option(metavar="TEXT", help="What tells this DSC from others.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A new file, .pem or .der. Left out, or -: PEM to standard output.",
            show_default=False,
        ),
    ] = None,
    pin_env: PinEnv = None,
    force_final_try: ForceFinalTry = False,
) -> None:
    """Make a request for the DSC of a key.

    The key on the token signs it (PKCS #10, RFC 2986), which proves that it exists. It asks for a
    DSC that signs vaccinations.
    """
    Pkcs11Uri.parse(uri)  # a key file is no token
    subject = Subject(country, organisation, common_name)
    path = None if out is None or str(out) == "-" else out
    if path is not None:
        _check_new_file(path)
    with open_signer(uri, pin_source(uri, pin_env), final_try=force_final_try) as signer:
        der, alg, name = signed_csr(signer, subject), signer.alg.name, getattr(signer, "name", uri)
    text = pem(der, "CERTIFICATE REQUEST")
    if path is None:
        print_line(text.decode("ascii").rstrip("\n"))
    else:
        _check_new_file(path)
        write_file(path, der if path.suffix == ".der" else text)
    written = "" if path is None else f"wrote {path}: "
    digest = hashlib.sha256(der).hexdigest()
    tell(f"{written}a request of {name}, signed with {alg}; SHA-256 of its DER {digest}")


def _check_new_file(path: Path) -> None:
    if path.suffix not in (".pem", ".der"):
        raise InputError(f"--out: found {path.name[:80]!r}, expected a name with .pem or .der")
    if os.path.lexists(path):
        raise InputError(f"--out: {path} is there already; remove it or choose another name")
    if not path.parent.is_dir():
        raise InputError(f"--out: found no folder {path.parent}, expected one; make it first")


def import_dsc_command(
    uri: _Uri,
    dsc: Annotated[
        Path,
        typer.Argument(
            metavar="DSC-FILE", help="The key's DSC, in PEM or DER.", show_default=False
        ),
    ],
    pin_env: PinEnv = None,
    force_final_try: ForceFinalTry = False,
) -> None:
    """Put a DSC beside its key on the token.

    A test signature proves first that it is this key's. A DSC that is there already is left alone.
    """
    parsed = Pkcs11Uri.parse(uri)
    certificate = read_certificate(dsc)
    done = import_dsc(parsed, certificate, pin_source(uri, pin_env), final_try=force_final_try)
    what = f"DSC {certificate.subject}, until {certificate.not_after:%Y-%m-%d}"
    print_line(f"kid {certificate.kid.hex()}")
    if done.is_new:
        without = f"; the token would not take {', '.join(done.left_out)}" if done.left_out else ""
        tell(f"put the {what} beside {done.key}; it is this key's, and was read back{without}")
    else:
        tell(f"the {what} is beside {done.key} already; it is this key's, nothing was changed")
    for other in done.others:
        tell(f"another certificate with this key's id is there too and was left: {other}")
