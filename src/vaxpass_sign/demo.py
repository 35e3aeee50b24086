"""The whole way on a SoftHSM token made on the spot: ``vaxpass-sign demo DIR``.

Everything stays inside the one folder, the token included. A demonstration keeps the CSCA's and the
DSC's keys on one token and their PIN in a file beside it; production never does either. Needs
Debian's softhsm2 and the extra ``all``.

SoftHSM reads where its tokens are from the environment when it is initialised: a process that is
using it already can't run a demonstration.

>>> run_demo("demo", people=0, progress=print)
Traceback (most recent call last):
vaxpass_sign.errors.InputError: people: found 0, expected 1 to 1000000
"""

from __future__ import annotations

import csv
import io
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from vaxpass_sign.campaign.table import TableReport, read_signed, sign_table
from vaxpass_sign.check import TrustStore, verify
from vaxpass_sign.durable import make_directory, write_file
from vaxpass_sign.errors import InputError, TokenError, UntrustedError
from vaxpass_sign.issuer import Issuer
from vaxpass_sign.keys import open_signer
from vaxpass_sign.qr import write_qr
from vaxpass_sign.sample import dose_rows
from vaxpass_sign.x509 import Certificate, Subject, csca_to_sign, dsc_to_sign, pem

if TYPE_CHECKING:
    from vaxpass_sign.keys.newkey import NewKey

__all__ = ["DemoReport", "Progress", "run_demo"]

COUNTRY = "VN"
ISSUER_NAME = "Bộ Y tế (thử nghiệm)"
TOKEN_LABEL = "vaxpass-demo"  # noqa: S105 (a label)
PICTURES = 3

Progress = Callable[[str, int, int], None]
"""Called with the name of a step, what is done of it and what there is to do."""


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What the demonstration did and where it left it."""

    table: TableReport
    verified: int
    verify_seconds: float
    dsc: Certificate
    doses: Path
    token: Path
    csca_file: Path
    dsc_file: Path
    pictures: tuple[Path, ...]


def run_demo(directory: str | os.PathLike[str], people: int, progress: Progress) -> DemoReport:
    """Make a token with a CSCA and a DSC, write a dose table, sign it, verify it, write pictures.

    ``directory`` must not exist yet, or be empty. ``people``: 1 to 1,000,000.

    Raises: InputError for a bad argument; TokenError when SoftHSM is missing or fails;
    UntrustedError when a credential that was just signed does not verify.
    """
    if not 1 <= people <= 1_000_000:
        raise InputError(f"people: found {people}, expected 1 to 1000000")
    # SoftHSM takes its configuration's paths as they stand, wherever we are called from.
    root = Path(directory).absolute()
    _check_new(root)
    make_directory(root)
    try:
        with _softhsm(root / "token"):
            return _run(root, people, progress)
    except BaseException:
        # The folder was ours alone; half a demonstration would only stand in the next one's way.
        shutil.rmtree(root, ignore_errors=True)
        raise


def _check_new(root: Path) -> None:
    if "#" in str(root) or not str(root).isprintable():
        raise InputError(
            f"{str(root)!r} can't be used: SoftHSM's configuration knows no path with a # or a "
            "line break; choose another name"
        )
    try:
        if not root.exists() or not any(root.iterdir()):
            return
    except OSError as error:
        raise InputError(
            f"{root} can't be used: {error.strerror}; expected a new folder: choose another name"
        ) from error
    raise InputError(f"{root} is there and not empty: give a new folder, or remove this one")


@contextmanager
def _softhsm(folder: Path) -> Iterator[None]:
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


def _run(root: Path, people: int, progress: Progress) -> DemoReport:
    progress("token", 0, 1)
    csca_key, dsc_key = _make_token(root / "token")
    csca_file, dsc_file = root / "csca.pem", root / "trust" / "dsc.pem"
    dsc = _certify(csca_key, dsc_key, csca_file, dsc_file)
    progress("token", 1, 1)

    doses = root / "doses.csv"
    write_file(doses, _dose_table(people))
    secret = secrets.token_bytes(32)
    write_file(root / "secret", secret)
    progress("sign", 0, people)
    with open_signer(str(dsc_key.uri)) as signer:
        issuer = Issuer(signer, dsc, COUNTRY, ISSUER_NAME)
        table = sign_table(
            doses, issuer, root, secret=secret, progress=lambda n: progress("sign", n, people)
        )

    progress("verify", 0, table.signed)
    started = time.perf_counter()
    verified = _verify_all(table, TrustStore.load(dsc_file, anchors=csca_file), progress)
    verify_seconds = time.perf_counter() - started
    pictures = _write_pictures(root / "qr", table)
    return DemoReport(
        table, verified, verify_seconds, dsc, doses, root / "token", csca_file, dsc_file, pictures
    )


def _make_token(folder: Path) -> tuple[NewKey, NewKey]:
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
        init_token(module, tokens[0].slot_id, TOKEN_LABEL, so_pin=so_pin, user_pin=pin)
    csca, dsc = (
        new_key(
            Pkcs11Uri(
                token=TOKEN_LABEL,
                object=label,
                module_path=str(path),
                # A path, which the URI percent-encodes by itself.
                pin_source=str(folder / "pin"),
            )
        )
        for label in ("csca", "dsc")
    )
    return csca, dsc


def _certify(csca_key: NewKey, dsc_key: NewKey, csca_file: Path, dsc_file: Path) -> Certificate:
    """Write the CSCA's own certificate and the DSC that it issues; returns the DSC."""
    now = datetime.now(UTC).replace(microsecond=0)
    begin = now - timedelta(hours=1)
    with open_signer(str(csca_key.uri)) as signer:
        draft = csca_to_sign(
            csca_key.public_key,
            Subject(COUNTRY, "vaxpass-sign demo", "CSCA for demonstration only"),
            not_before=begin,
            not_after=now + timedelta(days=4 * 365),
        )
        csca = Certificate.from_bytes(draft.finish(signer.sign([draft.tbs])[0]))
        draft = dsc_to_sign(
            dsc_key.public_key,
            Subject(COUNTRY, "vaxpass-sign demo", "DSC for demonstration only"),
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


def _dose_table(people: int) -> bytes:
    rows = dose_rows(people)
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def _verify_all(report: TableReport, trust: TrustStore, progress: Progress) -> int:
    verified = 0
    for texts in read_signed(report.signed_path):
        for text in texts:
            verdict = verify(text, trust)
            if not verdict:
                raise UntrustedError(
                    f"credential {verified + 1} does not verify ({verdict.reason}): "
                    "expected every one to; check the token"
                )
            verified += 1
        progress("verify", verified, report.signed)
    if verified != report.signed:
        raise UntrustedError(f"found {verified} credentials, expected {report.signed}")
    return verified


def _write_pictures(folder: Path, report: TableReport) -> tuple[Path, ...]:
    make_directory(folder)
    texts = next(read_signed(report.signed_path), [])[:PICTURES]
    paths = tuple(folder / f"{number}.png" for number in range(1, len(texts) + 1))
    for text, path in zip(texts, paths, strict=True):
        write_qr(text, path)
    return paths
