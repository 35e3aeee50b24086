"""A campaign as an operator has one: its directory, a secret beside it, a key and a DSC for it."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pyarrow import parquet

from issuing import private_key
from running import dsc_for_today
from tokens.softhsm import SoftHsm
from vaxpass_sign.campaign import Campaign
from vaxpass_sign.campaign.audit.run import AuditReport
from vaxpass_sign.campaign.ledger import Row, read_rows, row_hash
from vaxpass_sign.sample import dose_rows
from vaxpass_sign.x509 import pem

SETTINGS = """\
time_zone = "Asia/Ho_Chi_Minh"

[issuer]
country = "VN"
name = "Bộ Y tế"

[credential]
validity_days = {days}

[key]
uri = "{uri}"
dsc = "../dsc.pem"

[secret]
file = "../secret"
"""


class Desk:
    """A folder with a campaign ``c`` in it, and what belongs to it beside.

    The key is a PEM file, or ``uri`` of the SoftHSM's key ``ec``, whose PIN is in the environment
    variable that ``pin`` is handed by tests.
    """

    def __init__(self, folder: Path, *, token: SoftHsm | None = None, days: int = 365) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.root = folder / "c"
        self.root.mkdir(mode=0o700)
        self.secret = folder / "secret"
        self.secret.write_bytes(bytes(range(32)))
        self.secret.chmod(0o600)
        key = folder / "key.pem"
        private = private_key("dsc")
        key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        key.chmod(0o600)
        self.uri = "../key.pem" if token is None else token.uri("ec")
        self.token = token
        self.pin = None if token is None else token.pin
        public = None if token is None else token.keys["ec"].public_key()
        self.dsc = dsc_for_today("dsc", public_key=public)
        (folder / "dsc.pem").write_bytes(pem(self.dsc.der))
        self.write_settings(days=days)

    @property
    def campaign(self) -> Campaign:
        return Campaign(self.root)

    def write_settings(self, text: str = SETTINGS, **facts: Any) -> None:
        values = {"days": 365, "uri": self.uri} | facts
        (self.root / "campaign.toml").write_text(text.format(**values), encoding="utf-8")

    def table(
        self, name: str, people: int, *, start: int = 0, changes: dict[int, dict] | None = None
    ) -> Path:
        """A dose table of made-up people; ``changes``: row → other values."""
        rows = dose_rows(start + people)[start:]
        for number, change in (changes or {}).items():
            rows[number] = rows[number] | change
        return write_csv(self.folder / name, rows)

    def clean(self, people: int = 300, *, name: str = "doses.csv", **options: Any):
        """Clean a table of so many people."""
        return self.campaign.clean([self.table(name, people, **options)], workers=1)

    def sign(self, **options: Any):
        return self.campaign.sign(**({"workers": 1, "pin": self.pin} | options))

    def audit(self, **options: Any) -> AuditReport:
        return self.campaign.audit(**({"workers": 1} | options))

    def rows(self) -> list[Row]:
        return read_rows(self.root / "ledger.sqlite")

    def signed(self) -> list[dict[str, Any]]:
        """Every row of signed/."""
        return [
            row for path in self.parts("signed") for row in parquet.read_table(path).to_pylist()
        ]

    def clean_rows(self) -> list[dict[str, Any]]:
        """Every row of clean/."""
        return [row for path in self.parts("clean") for row in parquet.read_table(path).to_pylist()]

    def parts(self, folder: str) -> list[Path]:
        return sorted((self.root / folder).glob("*"))


def write_csv(path: Path, rows: Iterable[dict[str, str]]) -> Path:
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def assert_clean(report: AuditReport) -> None:
    """The audit found nothing, and what it counted adds up once more."""
    assert report.findings == (), "\n".join(map(str, report.findings))
    assert report.verified == report.credentials
    sums = report.sums
    assert sums.clean == sums.signed + sums.refused + sums.superseded + sums.pending


def assert_no_one_twice(desk: Desk) -> None:
    """No (uvci, generation) has two credentials in signed/."""
    keys = [(row["uvci"], row["generation"]) for row in desk.signed()]
    assert len(keys) == len(set(keys))


def bodies(desk: Desk, kind: str) -> list[dict[str, Any]]:
    """The bodies of the ledger's rows of one kind."""
    return [json.loads(row.text) for row in desk.rows() if row.kind == kind]


def edit(desk: Desk, sql: str, *values: object) -> None:
    database = sqlite3.connect(desk.root / "ledger.sqlite")
    with database:
        database.execute(sql, values)
    database.close()


def forge(desk: Desk, change: Callable[[dict, str], None]) -> None:
    """Write the ledger's bodies anew with a chain that holds, as somebody who knows how would."""
    previous = bytes(32)
    for row in desk.rows():
        body = row.body
        change(body, row.kind)
        text = json.dumps(body, sort_keys=True, separators=(",", ":"))
        hashed = row_hash(row.number, row.kind, text, previous)
        edit(
            desk,
            "UPDATE ledger SET body = ?, previous = ?, hash = ? WHERE number = ?",
            *(text, previous, hashed, row.number),
        )
        previous = hashed
