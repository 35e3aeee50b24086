"""A demonstration from a made-up table to audited credentials, in one folder."""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from vaxpass_sign.campaign.audit.outcome import write_audit
from vaxpass_sign.campaign.audit.run import AuditReport
from vaxpass_sign.campaign.campaign import Campaign
from vaxpass_sign.campaign.cleaning import CleanReport
from vaxpass_sign.campaign.pages.page import render_report
from vaxpass_sign.campaign.signing.run import SignReport
from vaxpass_sign.demo.token import certify, make_token, softhsm
from vaxpass_sign.durable import make_directory, write_file
from vaxpass_sign.errors import InputError, UntrustedError
from vaxpass_sign.qr import write_qr
from vaxpass_sign.sample import dose_rows
from vaxpass_sign.x509 import Certificate

__all__ = ["DemoReport", "Progress", "run_demo"]

COUNTRY = "VN"
ISSUER_NAME = "Bộ Y tế (thử nghiệm)"
PICTURES = 3
WORKERS = 2

_SETTINGS = """\
time_zone = "Asia/Ho_Chi_Minh"

[issuer]
country = "{country}"
name = "{name}"

[credential]
validity_days = 365

[key]
uri = {uri}
dsc = "../trust/dsc.pem"

[secret]
file = "../secret"
"""

Progress = Callable[[str, int, int], None]
"""Called with the name of a step, what is done of it and what there is to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """What the demonstration did and where it left it.

    ``audit`` found nothing, and every one of the ``signed`` credentials is among those it verified.
    """

    cleaned: CleanReport
    signed: SignReport
    audit: AuditReport
    dsc: Certificate
    doses: Path
    campaign: Path
    credentials: Path
    """The campaign's signed/."""
    audit_page: Path
    report_page: Path
    pictures: tuple[Path, ...]
    token: Path
    csca_file: Path
    dsc_file: Path


def run_demo(directory: str | os.PathLike[str], people: int, progress: Progress) -> DemoReport:
    """Make a token with a CSCA and a DSC, write a dose table, run a campaign of it, write pictures.

    ``directory`` must not exist yet, or be empty. ``people``: 1 to 1,000,000.

    Raises: InputError for a bad argument; TokenError when SoftHSM is missing or fails;
    UntrustedError when the audit finds anything or not everybody has a credential;
    KeyboardInterrupt when it was stopped. Then nothing is left of it.
    """
    if not 1 <= people <= 1_000_000:
        raise InputError(f"people: found {people}, expected 1 to 1000000")
    # SoftHSM takes its configuration's paths as they stand, wherever we are called from.
    root = Path(directory).absolute()
    _check_new(root)
    make_directory(root)
    try:
        with softhsm(root / "token"):
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


def _run(root: Path, people: int, progress: Progress) -> DemoReport:
    progress("token", 0, 1)
    csca_key, dsc_key = make_token(root / "token")
    csca_file, dsc_file = root / "csca.pem", root / "trust" / "dsc.pem"
    dsc = certify(COUNTRY, csca_key, dsc_key, csca_file, dsc_file)
    progress("token", 1, 1)

    doses = root / "doses.csv"
    write_file(doses, _dose_table(people))
    write_file(root / "secret", secrets.token_bytes(32))
    campaign = _new_campaign(root / "campaign", str(dsc_key.uri))
    cleaned, signed, audit = _clean_sign_audit(campaign, doses, people, progress)

    _, audit_page = write_audit(campaign.layout, audit)
    report_page = campaign.layout.reports / "report.html"
    write_file(report_page, render_report(campaign.report()).encode())
    credentials = campaign.layout.of("signed")
    return DemoReport(
        cleaned=cleaned,
        signed=signed,
        audit=audit,
        dsc=dsc,
        doses=doses,
        campaign=campaign.layout.root,
        credentials=credentials,
        audit_page=audit_page,
        report_page=report_page,
        pictures=_write_pictures(root / "qr", credentials),
        token=root / "token",
        csca_file=csca_file,
        dsc_file=dsc_file,
    )


def _dose_table(people: int) -> bytes:
    rows = dose_rows(people)
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def _new_campaign(root: Path, uri: str) -> Campaign:
    make_directory(root)
    # A JSON text in Unicode is a TOML text, whatever is in the path that the URI names.
    settings = _SETTINGS.format(
        country=COUNTRY, name=ISSUER_NAME, uri=json.dumps(uri, ensure_ascii=False)
    )
    write_file(root / "campaign.toml", settings.encode())
    return Campaign(root)


def _clean_sign_audit(
    campaign: Campaign, doses: Path, people: int, progress: Progress
) -> tuple[CleanReport, SignReport, AuditReport]:
    """Raises: UntrustedError, KeyboardInterrupt."""

    def checked(stage: str, done: int, total: int) -> None:
        # Of the stages this one takes the time and knows how much there is.
        if stage == "check":
            progress("clean", done, total)

    progress("clean", 0, people)
    cleaned = campaign.clean([doses], progress=checked)
    progress("sign", 0, people)
    signed = campaign.sign(workers=WORKERS, progress=lambda p: progress("sign", p.done, people))
    if signed.stopped:
        # What was in hand is committed; a demonstration that is stopped goes as a whole.
        raise KeyboardInterrupt
    progress("verify", 0, people)
    audit = campaign.audit(
        head=signed.head,
        workers=WORKERS,
        progress=lambda done, total: progress("verify", done, total),
    )
    if not audit.clean:
        raise UntrustedError(f"the audit found {audit.findings[0]}: expected nothing; run it again")
    if audit.verified != people:
        raise UntrustedError(
            f"found {audit.verified} credentials that verify, expected {people}: check the token"
        )
    return cleaned, signed, audit


def _write_pictures(folder: Path, credentials: Path) -> tuple[Path, ...]:
    make_directory(folder)
    texts = list(islice(_texts(credentials), PICTURES))
    paths = tuple(folder / f"{number}.png" for number in range(1, len(texts) + 1))
    for text, path in zip(texts, paths, strict=True):
        write_qr(text, path)
    return paths


def _texts(credentials: Path) -> Iterator[str]:
    """The "HC1:" texts in signed/, file by file."""
    from pyarrow import parquet

    for path in sorted(credentials.glob("*.parquet")):
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=PICTURES, columns=["hc1"]):
                yield from map(str, batch.column(0).to_pylist())
