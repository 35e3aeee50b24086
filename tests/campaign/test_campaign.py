"""The whole way of a campaign: cleaned, signed, audited; stopped, gone on with, renewed."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from campaigns import SETTINGS, Desk, assert_clean, assert_no_one_twice, bodies, write_csv
from foreign import assert_read_by_others
from vaxpass_sign import TrustStore, inspect, verify
from vaxpass_sign.campaign import Campaign
from vaxpass_sign.campaign.plan import Work
from vaxpass_sign.campaign.signing.run import SignPlan
from vaxpass_sign.errors import CampaignError, InputError
from vaxpass_sign.sample import dose_rows


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "desk")


def test_from_table_to_credentials(desk: Desk) -> None:
    """Every person of a table has one credential that verifies and says what the table said."""
    report = desk.clean(300)
    assert (report.rows, report.clean, report.people, report.rejected) == (300, 300, 300, 0)
    signed = desk.sign()
    assert (signed.planned, signed.signed, signed.refused, signed.left) == (300, 300, 0, 0)
    audit = desk.audit(head=signed.head)
    assert_clean(audit)
    assert (audit.credentials, audit.sums.signed, audit.input_rows) == (300, 300, 300)
    trust = TrustStore([desk.dsc])
    people = {row["uvci"]: row for row in desk.clean_rows()}
    rows = desk.signed()
    assert {row["uvci"] for row in rows} == set(people)
    for row in rows:
        verdict = verify(row["hc1"], trust)
        assert verdict
        entry = verdict.hcert.payload["v"][0]
        person = people[row["uvci"]]
        assert entry["ci"] == row["uvci"]
        assert (entry["mp"], entry["dt"]) == (person["mp"], person["dt"])
        assert verdict.hcert.payload["nam"]["fn"] == person["surname"]
        assert row["kid"] == desk.dsc.kid == verdict.hcert.kid
        assert row["row_sha256"] == person["row_sha256"]
        assert row["expires_at"] - row["issued_at"] == 365 * 86_400
    for row in rows[:20]:
        assert_read_by_others(row["hc1"], desk.dsc.public_key, desk.dsc.kid, "ES256")


def test_a_finished_campaign_does_nothing(desk: Desk) -> None:
    """Each step run again does nothing and changes no file; the key is not even opened."""
    desk.clean(50)
    desk.sign()
    before = {p: p.stat().st_mtime_ns for p in desk.root.rglob("*.parquet")}
    rows = len(desk.rows())
    again = desk.campaign.clean([desk.folder / "doses.csv"], workers=1)
    assert (again.tables, again.known, again.rows, again.people) == (1, 1, 0, 0)

    def no_pin() -> str:
        raise AssertionError("a PIN was asked for")

    began = time.monotonic()
    report = desk.campaign.sign(pin=no_pin, confirm=lambda plan: pytest.fail("asked"))
    assert time.monotonic() - began < 2
    assert (report.planned, report.signed) == (0, 0)
    assert len(desk.rows()) == rows
    assert {p: p.stat().st_mtime_ns for p in desk.root.rglob("*.parquet")} == before
    assert_clean(desk.audit())


def test_only_what_is_new_is_signed(desk: Desk) -> None:
    """After more clean records a second sign signs those and no others."""
    desk.clean(60)
    desk.sign()
    first = {(row["uvci"], row["hc1"]) for row in desk.signed()}
    more = desk.clean(40, name="more.csv", start=60)
    assert more.people == 40
    report = desk.sign()
    assert report.signed == 40
    rows = desk.signed()
    assert first < {(row["uvci"], row["hc1"]) for row in rows}
    assert len(rows) == 100
    assert_no_one_twice(desk)
    assert_clean(desk.audit())


def test_a_whole_export_sent_again(desk: Desk) -> None:
    """A table that repeats rows of an earlier one adds only the new ones."""
    desk.clean(30)
    desk.sign()
    report = desk.clean(50, name="export.csv")
    assert (report.rows, report.repeated, report.clean, report.people) == (50, 30, 20, 20)
    assert desk.sign().signed == 20
    assert_clean(desk.audit())


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    """Clean and rejected parts are the same, byte for byte, on another day and with more workers."""
    tables = []
    for name, workers in (("a", 1), ("b", 2)):
        desk = Desk(tmp_path / name)
        table = desk.table("doses.csv", 500, changes={3: {"birth_date": "1987-13-01"}})
        desk.campaign.clean([table], workers=workers)
        paths = [*desk.parts("clean"), *desk.parts("rejected")]
        tables.append({path.name: path.read_bytes() for path in paths})
        assert len(paths) == 2
    assert tables[0] == tables[1]


def test_rejects_are_kept_with_reasons(desk: Desk) -> None:
    """Every input row is clean or rejected; the audit counts both, and signs none of the rejects."""
    report = desk.clean(20, changes={3: {"birth_date": "soon"}, 7: {"vaccine_name": "Elixir"}})
    assert (report.clean, report.rejected) == (18, 2)
    desk.sign()
    audit = desk.audit()
    assert_clean(audit)
    assert (audit.rejected, audit.sums.signed) == (2, 18)


def test_mended_rejects_are_cleaned_and_signed(desk: Desk) -> None:
    """A rejected table that was mended is a table; what is still wrong is rejected again."""
    desk.clean(20, changes={3: {"birth_date": "soon"}, 7: {"vaccine_name": "Elixir"}})
    assert desk.sign().signed == 18
    [rejected] = map(parquet.read_table, desk.parts("rejected"))
    rows = rejected.to_pylist()
    assert [row["birth_date"] == "soon" for row in rows] == [True, False]
    rows[0]["birth_date"] = "1987-04-12"
    mended = desk.folder / "mended.parquet"
    parquet.write_table(pa.Table.from_pylist(rows, rejected.schema), mended)
    report = desk.campaign.clean([mended], workers=1)
    assert (report.rows, report.people, report.rejected) == (2, 1, 1)
    assert desk.sign().signed == 1
    audit = desk.audit()
    assert_clean(audit)
    assert (audit.input_rows, audit.rejected, audit.sums.signed) == (22, 3, 19)


def test_a_table_of_rejects_only(desk: Desk) -> None:
    """A table without one good row is cleaned, and there is nothing to sign."""
    report = desk.clean(2, changes={0: {"birth_date": "x"}, 1: {"birth_date": "x"}})
    assert (report.rows, report.people, report.rejected) == (2, 0, 2)
    assert desk.sign().planned == 0
    assert desk.parts("clean") == desk.parts("signed") == []
    assert_clean(desk.audit())


def test_a_table_that_is_none_commits_nothing(desk: Desk) -> None:
    """One table without a needed column stops the run, and none of the others is clean."""
    good, bad = desk.table("good.csv", 5), desk.folder / "bad.csv"
    bad.write_text("record_id,full_name\n1,An\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"bad\.csv.* no column birth_date"):
        desk.campaign.clean([good, bad], workers=1)
    assert bodies(desk, "clean") == []
    assert desk.parts("clean") == []
    assert desk.campaign.clean([good], workers=1).people == 5


def test_the_operators_names(desk: Desk) -> None:
    """Column names and vaccines of campaign.toml count from the table to the credential."""
    names = '\n[columns]\n"Họ và tên" = "full_name"\n\n[vaccines]\n"Elixir" = "EU/1/20/1528"\n'
    desk.write_settings(SETTINGS + names)
    rows = [row | {"vaccine_name": "elixir"} for row in dose_rows(2)]
    for row in rows:
        row["Họ và tên"] = row.pop("full_name")
    report = desk.campaign.clean([write_csv(desk.folder / "theirs.csv", rows)], workers=1)
    assert (report.people, report.rejected) == (2, 0)
    assert desk.sign().signed == 2
    for row in desk.signed():
        payload = inspect(row["hc1"]).payload
        assert payload["v"][0]["mp"] == "EU/1/20/1528"
    surnames = {inspect(row["hc1"]).payload["nam"]["fn"] for row in desk.signed()}
    assert surnames == {row["Họ và tên"].split()[0] for row in rows}


def test_the_secret_decides_the_uvcis(tmp_path: Path) -> None:
    """In another campaign the same table gets the same UVCIs; with another secret, others."""
    uvcis = []
    for name, secret in (("a", bytes(range(32))), ("b", bytes(range(32))), ("c", bytes(32))):
        desk = Desk(tmp_path / name)
        desk.secret.write_bytes(secret)
        desk.clean(30)
        desk.sign()
        uvcis.append({row["uvci"] for row in desk.signed()})
    assert len(uvcis[0]) == 30
    assert uvcis[0] == uvcis[1]
    assert not uvcis[0] & uvcis[2]


def test_in_steps(desk: Desk) -> None:
    """--max signs so many and no more; the next run goes on until nothing is left."""
    desk.clean(100)
    signed = 0
    while (report := desk.sign(most=30)).planned:
        signed += report.signed
        assert_no_one_twice(desk)
        assert_clean(audit := desk.audit())
        assert audit.sums.pending == 100 - signed
    assert signed == 100


def test_renewal_is_the_next_generation(desk: Desk) -> None:
    """What expires before a day is signed again: the same UVCI, one generation more."""
    desk.write_settings(days=30)
    desk.clean(40)
    desk.sign()
    desk.write_settings(days=365)
    assert desk.sign(renew_before=datetime.now(UTC) + timedelta(days=20)).planned == 0
    report = desk.sign(renew_before=datetime.now(UTC) + timedelta(days=40))
    assert report.signed == 40
    rows = desk.signed()
    by_generation = {0: set(), 1: set()}
    for row in rows:
        by_generation[row["generation"]].add(row["uvci"])
    assert by_generation[0] == by_generation[1]
    assert_no_one_twice(desk)
    assert_clean(audit := desk.audit())
    assert (audit.credentials, audit.sums.signed) == (80, 40)
    assert desk.sign(renew_before=datetime.now(UTC) + timedelta(days=40)).planned == 0


def test_a_renewal_that_would_expire_too_early(desk: Desk) -> None:
    """A day after which the new credentials would expire as well is refused, nothing signed."""
    desk.write_settings(days=30)
    desk.clean(5)
    desk.sign()
    with pytest.raises(InputError, match="choose an earlier day"):
        desk.sign(renew_before=datetime.now(UTC) + timedelta(days=60))
    assert len(desk.signed()) == 5


def test_a_changed_profile_is_said_and_touches_nothing_old(desk: Desk) -> None:
    """Another validity or issuer's name holds from then on; the plan says what changed."""
    plans: list[SignPlan] = []

    def keep(plan: SignPlan) -> bool:
        plans.append(plan)
        return True

    desk.clean(10)
    desk.sign(confirm=keep)
    old = {row["uvci"]: row["hc1"] for row in desk.signed()}
    desk.write_settings(days=180)
    desk.clean(10, name="more.csv", start=10)
    desk.sign(confirm=keep)
    assert plans[0].first
    assert plans[0].changes == ()
    assert plans[1].changes == ("validity: 365 days → 180 days",)
    assert plans[0].profile_hash != plans[1].profile_hash
    rows = {row["uvci"]: row for row in desk.signed()}
    assert {uvci: rows[uvci]["hc1"] for uvci in old} == old
    new = [row for uvci, row in rows.items() if uvci not in old]
    assert {row["expires_at"] - row["issued_at"] for row in new} == {180 * 86_400}
    assert {row["profile"] for row in new} == {plans[1].profile_hash}
    assert_clean(desk.audit())


def test_saying_no_signs_nothing(desk: Desk) -> None:
    """The plan is shown before the first signature; no is no."""
    desk.clean(10)
    shown: list[SignPlan] = []

    def no(plan: SignPlan) -> bool:
        shown.append(plan)
        return False

    report = desk.sign(confirm=no)
    assert (report.signed, report.left, report.stopped) == (0, 10, True)
    [plan] = shown
    assert (plan.records, plan.new, plan.renewals, plan.workers) == (10, 10, 0, 1)
    assert plan.last_day == desk.dsc.not_after - timedelta(days=365)
    assert desk.signed() == []
    assert bodies(desk, "start") == []


def test_a_row_that_fits_no_symbol_is_refused_and_the_others_go_on(desk: Desk) -> None:
    """Refused rows are in the ledger with the reason, and tried again when the profile changes."""
    small = "max_qr_version = 19\n\n[key]"
    text = (desk.root / "campaign.toml").read_text().replace("[key]", small)
    (desk.root / "campaign.toml").write_text(text)
    names = {n: {"full_name": "Nguyễn " + "Thị Minh Khai " * 4} for n in (2, 5)}
    desk.clean(10, changes=names)
    report = desk.sign()
    assert (report.signed, report.refused, report.left) == (8, 2, 0)
    assert desk.sign().planned == 0
    audit = desk.audit()
    assert_clean(audit)
    assert (audit.sums.refused, audit.sums.pending) == (2, 0)
    desk.write_settings()
    assert desk.sign().signed == 2
    assert_clean(audit := desk.audit())
    assert (audit.sums.signed, audit.sums.refused) == (10, 0)
    assert_no_one_twice(desk)


def test_a_newer_dose_supersedes(desk: Desk) -> None:
    """A later dose makes a new credential; a row that was never signed before is not signed then."""
    person = {"personal_id": "019187000001", "dose_number": "1", "vaccination_date": "2021-08-01"}
    later = {**person, "record_id": "x", "dose_number": "2", "vaccination_date": "2021-11-01"}
    desk.clean(3, changes={0: person})
    report = desk.clean(1, name="later.csv", changes={0: later | {"full_name": "A B"}})
    assert report.rejected == 1  # another name with the same number is another person
    desk.campaign.clean([desk.table("l.csv", 1, changes={0: later})], workers=1)
    assert desk.sign().signed == 3
    audit = desk.audit()
    assert_clean(audit)
    assert (audit.sums.clean, audit.sums.signed, audit.sums.superseded) == (4, 3, 1)
    newest = next(row for row in desk.clean_rows() if row["supersedes"])
    assert newest["uvci"] in {row["uvci"] for row in desk.signed()}
    assert newest["supersedes"] not in {row["uvci"] for row in desk.signed()}


def test_a_day_is_the_last_that_can_be_signed(desk: Desk) -> None:
    """A campaign whose credentials would outlive the DSC is refused before anything is signed."""
    desk.clean(3)
    desk.write_settings(days=1000)
    with pytest.raises(InputError, match="shorten the validity"):
        desk.sign()
    assert desk.signed() == []


def test_the_clock_went_back(desk: Desk) -> None:
    """Signing is refused while now lies before the last credential's issue."""
    desk.clean(6)
    desk.sign(most=3)
    back = Campaign(desk.root, clock=lambda: time.time() - 3600)
    with pytest.raises(CampaignError, match="set the clock right"):
        back.sign(workers=1)
    assert len(desk.signed()) == 3
    assert desk.sign().signed == 3
    assert_clean(desk.audit())


def test_purged_rejects_are_no_finding(desk: Desk) -> None:
    """Rejected rows can be deleted for good; audit and signing go on."""
    desk.clean(20, changes={3: {"birth_date": "soon"}})
    assert desk.campaign.purge_rejected() == 1
    assert desk.parts("rejected") == []
    assert desk.campaign.purge_rejected() == 0
    desk.sign()
    assert_clean(desk.audit())
    assert desk.campaign.report().total.rejected == 1


def test_nothing_personal_in_the_ledger(desk: Desk) -> None:
    """The ledger holds names of files, hashes and counts, and nobody's name or number."""
    desk.clean(30)
    desk.sign()
    text = "".join(row.text for row in desk.rows())
    for person in desk.clean_rows():
        assert person["fnt"] not in text.upper() or len(person["fnt"]) < 4
        assert person["uvci"] not in text
        assert person["given_name"] not in text or len(person["given_name"]) < 4
    assert inspect(desk.signed()[0]["hc1"]).payload["dob"] not in text


def test_files_and_folders_are_private(desk: Desk) -> None:
    """Folders 0700, files 0600, whatever the umask is."""
    desk.clean(20, changes={3: {"birth_date": "soon"}})
    desk.sign()
    for path in desk.root.rglob("*"):
        if path.name != "campaign.toml":
            mode = path.stat().st_mode & 0o777
            assert mode == (0o700 if path.is_dir() else 0o600), path


def test_work_is_empty_at_the_end(desk: Desk) -> None:
    """Nothing is left in staging/."""
    desk.clean(20)
    desk.sign()
    assert list((desk.root / "staging").iterdir()) == []
    assert Work([]).rows == 0
