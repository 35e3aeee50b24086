"""The whole way on a SoftHSM token made on the spot: ``vaxpass-sign demo DIR``.

Everything stays inside the one folder, the token included. A demonstration keeps the CSCA's and the
DSC's keys on one token and their PIN in a file beside it; production never does either. Needs
Debian's softhsm2 and the extra ``all``.
"""

from __future__ import annotations

import csv
import io
import os
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vaxpass_sign.campaign.table import TableReport, read_signed, sign_table
from vaxpass_sign.check import TrustStore, verify
from vaxpass_sign.durable import make_directory, write_file
from vaxpass_sign.errors import InputError, UntrustedError
from vaxpass_sign.issuer import Issuer
from vaxpass_sign.keys import open_signer
from vaxpass_sign.qr import write_qr
from vaxpass_sign.sample import dose_rows
from vaxpass_sign.x509 import Certificate, Subject, csca_to_sign, dsc_to_sign, pem

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

    directory: Path
    table: TableReport
    verified: int
    verify_seconds: float
    key_uri: str
    dsc: Certificate
    trust: Path
    pictures: tuple[Path, ...]


def run_demo(directory: str | os.PathLike[str], people: int, progress: Progress) -> DemoReport:
    """Make a token with a CSCA and a DSC, write a dose table, sign it, verify it, write pictures.

    ``directory`` must not exist yet, or be empty. ``people``: 1 to 1,000,000.

    Raises: InputError for a bad argument; TokenError when SoftHSM is missing or fails;
    UntrustedError when a credential that was just signed does not verify.
    """
    if not 1 <= people <= 1_000_000:
        raise InputError(f"people: found {people}, expected 1 to 1000000")
    # SoftHSM reads its configuration's paths as they stand, wherever we are called from.
    root = Path(directory).absolute()
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(f"{root} is there and not empty: give a new folder, or remove this one")
    make_directory(root)
    try:
        return _run(root, people, progress)
    except BaseException:
        # The folder was ours alone; half a demonstration would only stand in the next one's way.
        shutil.rmtree(root, ignore_errors=True)
        raise


def _run(root: Path, people: int, progress: Progress) -> DemoReport:
    progress("token", 0, 1)
    uri, dsc = _make_token(root)
    trust = root / "trust"
    progress("token", 1, 1)

    doses = root / "doses.csv"
    write_file(doses, _dose_table(people))
    secret = secrets.token_bytes(32)
    write_file(root / "secret", secret)
    with open_signer(uri) as signer:
        issuer = Issuer(signer, dsc, COUNTRY, ISSUER_NAME)
        report = sign_table(
            doses, issuer, root, secret=secret, progress=lambda n: progress("sign", n, people)
        )

    started = time.perf_counter()
    verified = _verify_all(report, TrustStore.load(trust), people, progress)
    verify_seconds = time.perf_counter() - started
    pictures = _write_pictures(root, report)
    return DemoReport(root, report, verified, verify_seconds, uri, dsc, trust, pictures)


def _make_token(root: Path) -> tuple[str, Certificate]:
    """A SoftHSM token with a CSCA's and a DSC's key pair; writes their certificates.

    Returns: the DSC key's URI and the DSC.
    """
    from vaxpass_sign.keys.listing import list_tokens
    from vaxpass_sign.keys.locate import find_module
    from vaxpass_sign.keys.module import load_module
    from vaxpass_sign.keys.newkey import new_key
    from vaxpass_sign.keys.newtoken import init_token
    from vaxpass_sign.keys.uri import Pkcs11Uri

    make_directory(root / "token" / "tokens")
    configuration = root / "token" / "softhsm2.conf"
    write_file(
        configuration,
        f"directories.tokendir = {root / 'token' / 'tokens'}\n"
        "objectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n".encode(),
    )
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    pin, so_pin = secrets.token_hex(8), secrets.token_hex(8)
    write_file(root / "token" / "pin", pin.encode())
    write_file(root / "token" / "so-pin", so_pin.encode())

    path = find_module(Pkcs11Uri.parse("pkcs11:?module-name=softhsm2"))
    with load_module(path) as module:
        # SoftHSM always shows one slot more, with a token that is not initialised.
        slot = next(t.slot_id for t in list_tokens(module) if "initialised" not in t.flags)
        init_token(module, slot, TOKEN_LABEL, so_pin=so_pin, user_pin=pin)
    token = f"pkcs11:token={TOKEN_LABEL}"
    query = f"?module-path={path}&pin-source=file:{root / 'token' / 'pin'}"
    csca_uri, dsc_uri = f"{token};object=csca{query}", f"{token};object=dsc{query}"
    now = datetime.now(UTC).replace(microsecond=0)
    csca_key, dsc_key = new_key(Pkcs11Uri.parse(csca_uri)), new_key(Pkcs11Uri.parse(dsc_uri))
    with open_signer(csca_uri) as signer:
        draft = csca_to_sign(
            csca_key.public_key,
            Subject(COUNTRY, "vaxpass-sign demo", "CSCA for demonstration only"),
            not_before=now - timedelta(hours=1),
            not_after=now + timedelta(days=4 * 365),
        )
        csca = Certificate.from_bytes(draft.finish(signer.sign([draft.tbs])[0]))
        draft = dsc_to_sign(
            dsc_key.public_key,
            Subject(COUNTRY, "vaxpass-sign demo", "DSC for demonstration only"),
            csca=csca,
            not_before=now - timedelta(hours=1),
            not_after=now + timedelta(days=2 * 365),
            private_key_period=(now - timedelta(hours=1), now + timedelta(days=180)),
        )
        dsc = Certificate.from_bytes(draft.finish(signer.sign([draft.tbs])[0]))
    make_directory(root / "trust")
    write_file(root / "csca.pem", pem(csca.der))
    write_file(root / "trust" / "dsc.pem", pem(dsc.der))
    return dsc_uri, dsc


def _dose_table(people: int) -> bytes:
    rows = dose_rows(people)
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def _verify_all(report: TableReport, trust: TrustStore, people: int, progress: Progress) -> int:
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
        progress("verify", verified, people)
    if verified != report.signed:
        raise UntrustedError(f"found {verified} credentials, expected {report.signed}")
    return verified


def _write_pictures(root: Path, report: TableReport) -> tuple[Path, ...]:
    make_directory(root / "qr")
    texts = next(read_signed(report.signed_path), [])[:PICTURES]
    paths = []
    for number, text in enumerate(texts, start=1):
        path = root / "qr" / f"{number}.png"
        write_qr(text, path)
        paths.append(path)
    return tuple(paths)
