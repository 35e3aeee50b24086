"""``revoke import`` and ``revoke check``: what somebody who verifies needs of revocation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from vaxpass_sign.check.revocation import Revocations
from vaxpass_sign.cli.inputs import Payload, Unread, read_inputs
from vaxpass_sign.cli.moments import StoreExpires, in_days
from vaxpass_sign.cli.output import plain, print_json, print_line, tell
from vaxpass_sign.cli.show import headline
from vaxpass_sign.cli.stores import load_revocations
from vaxpass_sign.errors import CertificateError, HcertError, InputError, TrustError
from vaxpass_sign.files import read_bounded
from vaxpass_sign.hcert.codec import decode
from vaxpass_sign.x509 import Certificate, load_certificates

__all__ = ["check_command", "import_command"]

_MAX_ANCHORS_BYTES = 1024 * 1024


def import_command(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The store's file.", show_default=False)
    ],
    batches: Annotated[
        list[Path],
        typer.Argument(
            metavar="BATCH|FOLDER",
            help="Signed batches (CMS, DER or base64), of any country: all that are in force.",
            show_default=False,
        ),
    ],
    anchor: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE",
            help="The certificates of those who sign batches, in PEM or DER; may be given more "
            "than once. A batch counts when one of its own country has signed it.",
            show_default=False,
        ),
    ],
    expires: StoreExpires = None,
) -> None:
    """Check signed batches, and make a store of them.

    The store is what verify --revocation asks. One batch that is not to be believed refuses all: it
    is named, and the store that was there stays. What has expired is left out.
    """
    from vaxpass_sign.check.revocation.importing import import_batches

    pinned = [certificate for path in anchor for certificate in _certificates(path)]
    until = in_days(expires, "--expires", 7)
    done = import_batches(out, batches, pinned, expires_at=until)
    countries = ", ".join(f"{country} {count:,}" for country, count in done.countries.items())
    print_line(
        f"{done.entries:,} entries of {done.batches:,} batches ({countries or 'none in force'}) in "
        f"{out}; the next is due by {until:%Y-%m-%d %H:%M} UTC"
    )
    if done.expired:
        tell(f"{done.expired:,} batches were left out: they have expired")


def _certificates(path: Path) -> list[Certificate]:
    try:
        data = read_bounded(path, _MAX_ANCHORS_BYTES)
        if len(data) > _MAX_ANCHORS_BYTES:
            raise ValueError(f"over {_MAX_ANCHORS_BYTES} bytes")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"--anchor: {path} can't be read: {reason}; expected certificates in PEM or DER"
        ) from error
    try:
        return load_certificates(data)
    except CertificateError as error:
        raise CertificateError(f"--anchor: {path}: {error}") from error


def check_command(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PAYLOAD|FILE|PICTURE|PDF|FOLDER|-", help="As for verify.", show_default=False
        ),
    ] = None,
    revocation: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="As for verify.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> int:
    """Look whether credentials are revoked. Nothing else is checked.

    Neither the signature nor anything else: verify does that. A credential counts as revoked when a
    store has it, or when its kid has an allow-list and it is not on that.

    Exit codes: 0 none is revoked, 1 one is, 2 one could not be decided (and none is revoked): it
    can't be read, or a store is stale.
    """
    with load_revocations(revocation or [], None) as revocations:
        if not revocations.stores and not revocations.allow_lists:
            raise TrustError(
                "found no revocation file, expected one: give --revocation FILE; revoke import "
                "makes it"
            )
        now, revoked, undecided, asked = datetime.now(UTC), 0, 0, 0
        for item in read_inputs(inputs):
            if isinstance(item, Unread):
                answer = _Answer(None, str(item.error))
            else:
                answer = _ask(revocations, item, now)
            _show(item, answer, json)
            asked += 1
            revoked += answer.revoked is True
            undecided += answer.revoked is None
    if not json:
        tell(
            f"{asked:,} looked up: {revoked:,} revoked, {undecided:,} not known; nothing but "
            "revocation was checked"
        )
    return 1 if revoked else 2 if undecided else 0


@dataclass(frozen=True, slots=True)
class _Answer:
    """``revoked`` is None where it can't be said; ``why`` says so, or by which hash it is."""

    revoked: bool | None
    why: str


def _ask(revocations: Revocations, payload: Payload, now: datetime) -> _Answer:
    try:
        hcert = decode(payload.text)
    except HcertError as error:
        return _Answer(None, f"{error} [{error.code}]")
    if found := revocations.revoked(hcert):
        return _Answer(True, f"a store has its {found}")
    if not revocations.honest(hcert):
        return _Answer(True, "its key was stolen, and it is not on that key's allow-list")
    is_listed = revocations.about_key(hcert)
    if not revocations.stores and not is_listed:
        return _Answer(None, "there is no store, and no allow-list is about its kid")
    if revocations.stores and not revocations.answers(now):
        return _Answer(None, "no store has it, and one that was asked has expired")
    return _Answer(False, "it is on its key's allow-list" if is_listed else "no store has it")


def _show(item: Payload | Unread, answer: _Answer, json: bool) -> None:
    if json:
        line: dict[str, Any] = {"input": item.source, "line": getattr(item, "line", None)}
        said = {"revoked": answer.revoked, "why": answer.why, "checked": "revocation alone"}
        print_json(line | said)
        return
    words = {
        True: ("REVOKED", "red"),
        False: ("NOT REVOKED", "green"),
        None: ("NOT KNOWN", "yellow"),
    }
    word, colour = words[answer.revoked]
    print_line(headline(word, colour, item.place if isinstance(item, Payload) else item.source))
    print_line(f"  {plain(answer.why)}")
