"""Progress from ledger and tables: every clean row and every reject in one facility's line."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from campaigns import SETTINGS, Desk, write_csv
from vaxpass_sign.campaign.report.progress import Progress
from vaxpass_sign.errors import CampaignError, LedgerError
from vaxpass_sign.sample import dose_rows


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "desk")


def by_facility(progress: Progress) -> dict[tuple[str, str], tuple[int, ...]]:
    return {
        (f.province_code, f.facility_id): (f.rows_clean, f.signed, f.waiting, f.rejected)
        for f in progress.facilities
    }


def test_every_row_is_in_its_facilitys_line(desk: Desk) -> None:
    """Clean, signed, waiting and rejected by facility, as counting the table by hand gives."""
    bad = {3: {"birth_date": "soon"}, 9: {"vaccine_name": "Elixir"}, 11: {"birth_date": "x"}}
    desk.clean(120, changes=bad)
    desk.sign(most=50)
    rows = dose_rows(120)
    rejected = Counter(("019", rows[n]["facility_id"]) for n in bad)
    clean = Counter(("019", r["facility_id"]) for n, r in enumerate(rows) if n not in bad)
    signed = Counter((r["province_code"], r["facility_id"]) for r in desk.signed())
    progress = desk.campaign.report()
    assert by_facility(progress) == {
        place: (clean[place], signed[place], clean[place] - signed[place], rejected[place])
        for place in clean | rejected
    }
    assert (progress.total.signed, progress.total.waiting) == (50, 67)
    assert (progress.input_rows, progress.repeated, progress.merged) == (120, 0, 117)
    assert sum(point.signed for point in progress.rate) == 50
    assert progress.head == desk.rows()[-1].hash.hex()
    reasons = dict(progress.reasons)
    assert sum(reasons.values()) == 3
    assert any(reason.startswith("vaccine_name: found") for reason in reasons)


def test_before_anything_is_signed(desk: Desk) -> None:
    """A cleaned campaign has all waiting and no dates."""
    desk.clean(10)
    progress = desk.campaign.report()
    assert (progress.total.waiting, progress.total.signed) == (10, 0)
    assert progress.last_issued_at is None
    assert progress.expires_first is None
    assert progress.rate == ()


def test_renewals_and_expiry(desk: Desk) -> None:
    """A renewed row is one signed row; the first expiry is that of what is current."""
    desk.write_settings(days=30)
    desk.clean(10)
    desk.sign()
    desk.write_settings(days=365)
    desk.sign(renew_before=datetime.now(UTC) + timedelta(days=40))
    progress = desk.campaign.report()
    assert (progress.total.signed, progress.renewals) == (10, 10)
    assert progress.expires_first > datetime.now(UTC) + timedelta(days=300)


def test_columns_of_other_systems(desk: Desk) -> None:
    """Rejected rows are counted to their facility also when its column has another name."""
    desk.write_settings(SETTINGS + '\n[columns]\n"Cơ sở" = "facility_id"\n')
    rows = [
        {"Cơ sở" if name == "facility_id" else name: value for name, value in row.items()}
        for row in dose_rows(3)
    ]
    rows[1]["birth_date"] = "soon"
    desk.campaign.clean([write_csv(desk.folder / "d.csv", rows)], workers=1)
    [place] = [f.facility_id for f in desk.campaign.report().facilities if f.rejected]
    assert place == rows[1]["Cơ sở"]


def test_what_is_superseded_and_refused(desk: Desk) -> None:
    """Each clean row is in one of four places."""
    person = {"personal_id": "019187000001", "dose_number": "1", "vaccination_date": "2021-08-01"}
    later = {**person, "record_id": "x", "dose_number": "2", "vaccination_date": "2021-11-01"}
    text = SETTINGS.replace("[key]", "max_qr_version = 19\n\n[key]")
    desk.write_settings(text)
    long = {"full_name": "Nguyễn " + "Thị Minh Khai " * 4}
    desk.clean(4, changes={0: person, 2: long})
    desk.campaign.clean([desk.table("l.csv", 1, changes={0: later})], workers=1)
    desk.sign()
    total = desk.campaign.report().total
    assert (total.rows_clean, total.signed, total.waiting) == (5, 3, 0)
    assert (total.refused, total.superseded) == (1, 1)


def test_a_report_while_signing(desk: Desk) -> None:
    """It needs no lock, and shows what was committed by then."""
    desk.clean(200)
    seen: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.append(desk.campaign.report().total.signed)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(3):
            desk.sign(most=50)
    finally:
        done.set()
        watcher.join()
    assert seen == sorted(seen)
    assert desk.campaign.report().total.signed == 150


def test_what_can_not_be_reported(desk: Desk) -> None:
    """No ledger, or a table that is gone: one line that says what to do."""
    with pytest.raises(CampaignError, match="run clean first"):
        desk.campaign.report()
    desk.clean(5)
    desk.parts("clean")[0].unlink()
    with pytest.raises(LedgerError, match="run audit"):
        desk.campaign.report()
