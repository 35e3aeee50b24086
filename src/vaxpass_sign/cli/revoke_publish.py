"""``revoke export`` and ``revoke key``: what an issuer gives to those who verify."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from vaxpass_sign.check.revocation.hashes import KID_BYTES
from vaxpass_sign.cli.moments import StoreExpires, moment_of
from vaxpass_sign.cli.output import print_line, tell
from vaxpass_sign.cli.pins import ForceFinalTry, PinEnv, pin_source
from vaxpass_sign.errors import InputError
from vaxpass_sign.keys import open_signer
from vaxpass_sign.x509 import read_certificate

__all__ = ["export_command", "key_command"]

_KID_DIGITS: Final = 2 * KID_BYTES


def export_command(
    register: Annotated[
        Path,
        typer.Argument(metavar="REGISTER", help="The issuer's register.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="A folder; made when it is missing.", show_default=False
        ),
    ],
    key: Annotated[
        str,
        typer.Option(
            metavar="URI",
            help="The key that signs batches: pkcs11:… (RFC 7512), or a PEM key file.",
            show_default=False,
        ),
    ],
    cert: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="That key's certificate, in PEM or DER; not a DSC.",
            show_default=False,
        ),
    ],
    expires: StoreExpires = None,
    pin_env: PinEnv = None,
    force_final_try: ForceFinalTry = False,
) -> None:
    """Write what is revoked as signed batches.

    And as a store for readers without a network, OUT/revoked.vxrev, which is made anew each time.
    Entries that are in no batch yet are put into new ones (at most 1000 entries, one type and kid).
    Each batch that has no file in OUT is signed; a file that is there is left alone. It can be
    stopped at any time: the same command goes on.
    """
    from vaxpass_sign.revocation.export import STORE_NAME, export_batches
    from vaxpass_sign.revocation.register import Register

    until, pin = moment_of(expires, "--expires"), pin_source(key, pin_env)
    certificate = read_certificate(cert)
    with Register.open(register) as opened:
        done = export_batches(
            opened,
            out,
            certificate,
            lambda: open_signer(key, pin=pin, final_try=force_final_try),
            expires_at=until,
        )
    print_line(
        f"{done.signed:,} batches signed, {done.there:,} there before; "
        f"{done.entries:,} entries in {out / STORE_NAME}"
    )


def key_command(
    kid: Annotated[
        str,
        typer.Argument(
            metavar="KID",
            help="The stolen key's kid, 16 hexadecimal digits, as inspect shows it.",
            show_default=False,
        ),
    ],
    campaign: Annotated[
        list[Path],
        typer.Argument(
            metavar="CAMPAIGN",
            help="The directory of the campaign; of each one that signed under this kid.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="The allow-list's file.", show_default=False),
    ],
    head: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HASH",
            help="The head that was noted after the campaign's last run; for several campaigns one "
            "for each, in their order.",
            show_default=False,
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="When the list is of no use any more, with its offset. Left out: when the last "
            "credential of the campaigns expires.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """After a key was stolen: list all that it honestly signed.

    The list has SHA-256(Sig_structure ‖ signature) of each credential that the campaign's ledger
    commits under this kid. Whoever verifies with it believes these and nothing else under that kid.
    What was signed outside of the campaigns given, such as by issue, is not on it.
    """
    from itertools import chain

    from vaxpass_sign.check.revocation.building import write_allow_list
    from vaxpass_sign.revocation.allow_list import allow_list_entries, last_expiry

    wanted, heads = _kid(kid), _heads(head or [], len(campaign))
    until = moment_of(expires, "--expires") or max(map(last_expiry, campaign))
    if until <= datetime.now(UTC):
        raise InputError(
            f"found that it is of no use since {until:%Y-%m-%d}, when the last credential expired: "
            "take the DSC out of the trust lists; --expires TIME makes a list all the same"
        )
    entries = chain.from_iterable(
        allow_list_entries(directory, wanted, head=noted)
        for directory, noted in zip(campaign, heads, strict=True)
    )
    made = write_allow_list(out, wanted, entries, expires_at=until)
    print_line(f"{made:,} credentials signed under {kid.lower()} are on the allow-list {out}")
    tell(
        "give it to everybody who verifies, beside their revocation stores, and leave the DSC in "
        "the trust lists: what is on the list stays valid, and nothing else under this kid. Sign "
        "with this key no more, and take it out of its token"
    )


def _kid(text: str) -> bytes:
    try:
        if len(text) == _KID_DIGITS and len(kid := bytes.fromhex(text)) == KID_BYTES:
            return kid
    except ValueError:
        pass
    raise InputError(
        f"KID: found {len(text)} characters, expected {_KID_DIGITS} hexadecimal digits, as inspect "
        "shows the kid of a credential"
    )


def _heads(heads: list[str], campaigns: int) -> list[str | None]:
    if not heads:
        return [None] * campaigns
    if len(heads) != campaigns:
        raise InputError(
            f"--head: found {len(heads)}, expected one for each of {campaigns} campaigns, or none"
        )
    return [*heads]
