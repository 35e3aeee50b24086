"""The demonstration's token: SoftHSM with a CSCA's and a DSC's key, and their certificates."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from vaxpass_sign.durable import make_directory, write_file
from vaxpass_sign.errors import TokenError
from vaxpass_sign.keys import open_signer
from vaxpass_sign.x509 import Certificate, Subject, csca_to_sign, dsc_to_sign, pem

if TYPE_CHECKING:
    from vaxpass_sign.keys.newkey import NewKey

__all__ = ["certify", "make_token", "softhsm"]

_LABEL = "vaxpass-demo"


@contextmanager
def softhsm(folder: Path) -> Iterator[None]:
    """SoftHSM with its tokens in ``folder``, for as long as the block runs."""
    make_directory(folder / "tokens")
    configuration = folder / "softhsm2.conf"
    write_file(
        configuration,
        f"directories.tokendir = {folder / 'tokens'}\n"
        "objectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n".encode(),
    )
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    try:
        yield
    finally:
        if before is None:
            del os.environ["SOFTHSM2_CONF"]
        else:
            os.environ["SOFTHSM2_CONF"] = before


def make_token(folder: Path) -> tuple[NewKey, NewKey]:
    """A SoftHSM token with a CSCA's and a DSC's key pair, whose URIs name the PIN's file."""
    from vaxpass_sign.keys.listing import list_tokens
    from vaxpass_sign.keys.locate import find_module
    from vaxpass_sign.keys.module import load_module
    from vaxpass_sign.keys.newkey import new_key
    from vaxpass_sign.keys.newtoken import init_token
    from vaxpass_sign.keys.uri import Pkcs11Uri

    pin, so_pin = secrets.token_hex(8), secrets.token_hex(8)
    write_file(folder / "pin", pin.encode())
    write_file(folder / "so-pin", so_pin.encode())
    path = find_module(Pkcs11Uri(module_name="softhsm2"))
    with load_module(path) as module:
        # SoftHSM always shows one slot more, with a token that is not initialised.
        tokens = list_tokens(module)
        if any("initialised" in token.flags for token in tokens):
            raise TokenError(
                "SoftHSM shows tokens that are not the demonstration's, expected none: this "
                "process uses it already; run the demonstration in another one"
            )
        init_token(module, tokens[0].slot_id, _LABEL, so_pin=so_pin, user_pin=pin)
    csca, dsc = (
        new_key(
            Pkcs11Uri(
                token=_LABEL,
                object=label,
                module_path=str(path),
                # A path, which the URI percent-encodes by itself.
                pin_source=str(folder / "pin"),
            )
        )
        for label in ("csca", "dsc")
    )
    return csca, dsc


def certify(
    country: str, csca_key: NewKey, dsc_key: NewKey, csca_file: Path, dsc_file: Path
) -> Certificate:
    """Write the CSCA's own certificate and the DSC that it issues; returns the DSC."""
    now = datetime.now(UTC).replace(microsecond=0)
    begin = now - timedelta(hours=1)
    with open_signer(str(csca_key.uri)) as signer:
        draft = csca_to_sign(
            csca_key.public_key,
            Subject(country, "vaxpass-sign demo", "CSCA for demonstration only"),
            not_before=begin,
            not_after=now + timedelta(days=4 * 365),
        )
        csca = Certificate.from_bytes(draft.finish(signer.sign([draft.tbs])[0]))
        draft = dsc_to_sign(
            dsc_key.public_key,
            Subject(country, "vaxpass-sign demo", "DSC for demonstration only"),
            csca=csca,
            not_before=begin,
            not_after=now + timedelta(days=2 * 365),
            private_key_period=(begin, now + timedelta(days=180)),
        )
        dsc = Certificate.from_bytes(draft.finish(signer.sign([draft.tbs])[0]))
    for file, certificate in ((csca_file, csca), (dsc_file, dsc)):
        make_directory(file.parent)
        write_file(file, pem(certificate.der))
    return dsc
