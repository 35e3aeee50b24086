"""The audit names whatever was changed: a table of what somebody did, and what is found."""

from __future__ import annotations

import json
import os
import shutil
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow import parquet

from campaigns import Desk, assert_clean, edit, forge
from running import dsc_for_today
from vaxpass_sign.campaign.audit.outcome import audit_lines, write_audit
from vaxpass_sign.campaign.commit import file_sha256
from vaxpass_sign.campaign.ledger import Ledger, read_rows
from vaxpass_sign.campaign.tables import write_signed
from vaxpass_sign.errors import CampaignError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A campaign of 60 people in three signed parts, with two rejects and some still to sign."""
    desk = Desk(tmp_path_factory.mktemp("audit") / "desk")
    desk.clean(62, changes={3: {"birth_date": "soon"}, 9: {"vaccine_name": "Elixir"}})
    for _ in range(3):
        desk.sign(most=18)
    return desk


@pytest.fixture
def desk(whole: Desk, tmp_path: Path) -> Desk:
    """A copy to spoil."""
    folder = tmp_path / "desk"
    shutil.copytree(whole.folder, folder)
    copy = object.__new__(Desk)
    copy.__dict__.update(whole.__dict__)
    copy.folder, copy.root = folder, folder / "c"
    return copy


def test_a_whole_campaign_is_clean(desk: Desk) -> None:
    """Nothing is found; what is pending is no finding; more workers find the same."""
    report = desk.audit()
    assert_clean(report)
    assert (report.sums.signed, report.sums.pending, report.rejected) == (54, 6, 2)
    two = desk.audit(workers=2)
    assert (two.findings, two.verified, two.sums) == ((), 54, report.sums)


def test_each_head_so_far_is_part_of_it(desk: Desk) -> None:
    """Any head that was ever printed is found, in either case of its letters."""
    for row in desk.rows():
        assert_clean(desk.audit(head=row.hash.hex().upper()))


# --- what somebody did ---------------------------------------------------------------------


def flip_a_bit(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def swap(a: Path, b: Path) -> None:
    data = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(data)


def replace_part(desk: Desk, number: int, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write another signed part in the place of one, and its hash into a forged ledger."""
    path = desk.parts("signed")[number]
    table = change(parquet.read_table(path))
    path.unlink()
    sha256, size = write_signed(path, table)

    def accept(body: dict, kind: str) -> None:
        for file in body.get("files", ()):
            if file["name"] == f"signed/{path.name}":
                file.update(sha256=sha256, bytes=size, rows=len(table))

    forge(desk, accept)


def with_column(table: pa.Table, name: str, values: list) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(name), pa.array(values, table[name].type))


def swap_texts(table: pa.Table) -> pa.Table:
    texts = table["hc1"].to_pylist()
    return with_column(table, "hc1", [texts[1], texts[0], *texts[2:]])


def break_a_text(table: pa.Table) -> pa.Table:
    texts = table["hc1"].to_pylist()
    changed = texts[4][:200] + ("A" if texts[4][200] != "A" else "B") + texts[4][201:]
    return with_column(table, "hc1", [*texts[:4], changed, *texts[5:]])


def replace_clean(desk: Desk, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write another clean part in the place of the one, and its hash into a forged ledger."""
    [path] = desk.parts("clean")
    parquet.write_table(change(parquet.read_table(path)), path)
    sha256, size = file_sha256(path)

    def accept(body: dict, kind: str) -> None:
        for file in body.get("files", ()):
            if file["name"].startswith("clean/"):
                file.update(sha256=sha256, bytes=size)

    forge(desk, accept)


def purge_signed(desk: Desk) -> None:
    """Say in the ledger that a signed part was purged, and delete it."""
    [part, *_] = desk.parts("signed")
    with Ledger.open(desk.root / "ledger.sqlite") as ledger:
        ledger.append("purge", {"at": 0, "names": [f"signed/{part.name}"]})
    part.unlink()


def move_away(part: Path) -> None:
    part.unlink()
    part.symlink_to("/nowhere/part.parquet")


def put_back_purged(desk: Desk) -> None:
    [part] = desk.parts("rejected")
    kept = part.read_bytes()
    desk.campaign.purge_rejected()
    part.write_bytes(kept)


def sign_again(desk: Desk) -> None:
    """Forget a part in the ledger and let its rows be signed once more, then put the part back."""
    part = desk.parts("signed")[1]
    kept = part.read_bytes()
    saved = desk.root / "ledger.sqlite"
    old = saved.read_bytes()
    rows = [row for row in desk.rows() if row.kind == "part"]
    edit(desk, "DELETE FROM ledger WHERE number >= ?", rows[1].number)
    for path in desk.parts("signed")[1:]:
        path.unlink()
    desk.sign(most=10)
    assert saved.read_bytes() != old
    (part.parent / "part-000077.parquet").write_bytes(kept)


DONE: dict[str, tuple[Callable[[Desk], object], list[str]]] = {
    "a bit of a signed part": (
        lambda desk: flip_a_bit(desk.parts("signed")[1], 5000),
        ["file: signed/part-000002.parquet", "another hash"],
    ),
    "a bit of a clean part": (
        lambda desk: flip_a_bit(desk.parts("clean")[0], 5000),
        ["file: clean/000001-0001.parquet: was changed"],
    ),
    "a bit of a rejected part": (
        lambda desk: flip_a_bit(desk.parts("rejected")[0], 500),
        ["file: rejected/000001-0001.parquet: was changed"],
    ),
    "a signed part deleted": (
        lambda desk: desk.parts("signed")[0].unlink(),
        ["file: signed/part-000001.parquet: is missing"],
    ),
    "a clean part deleted": (
        lambda desk: desk.parts("clean")[0].unlink(),
        ["file: clean/000001-0001.parquet: is missing"],
    ),
    "a part added": (
        lambda desk: shutil.copy(desk.parts("signed")[0], desk.root / "signed" / "part-000099.parquet"),
        ["file: signed/part-000099.parquet: is there and no ledger row commits it"],
    ),
    "a stranger's file added": (
        lambda desk: (desk.root / "clean" / "notes.txt").write_text("x"),
        ["file: clean/notes.txt: is there and no ledger row"],
    ),
    "two parts swapped": (
        lambda desk: swap(*desk.parts("signed")[:2]),
        ["file: signed/part-000001.parquet", "file: signed/part-000002.parquet"],
    ),
    "a part cut": (
        lambda desk: desk.parts("signed")[2].write_bytes(desk.parts("signed")[2].read_bytes()[:9000]),
        ["file: signed/part-000003.parquet", "found 9000 bytes"],
    ),
    "a part emptied": (
        lambda desk: desk.parts("signed")[2].write_bytes(b""),
        ["file: signed/part-000003.parquet", "found 0 bytes"],
    ),
    "a ledger row edited": (
        lambda desk: edit(desk, "UPDATE ledger SET body = replace(body, 'sign', 'sing') WHERE number = 3"),
        ["ledger: ledger.sqlite: row 3 (start) was changed after it was written"],
    ),
    "a ledger row deleted": (
        lambda desk: edit(desk, "DELETE FROM ledger WHERE number = 3"),
        ["ledger: ledger.sqlite: row 3 is missing"],
    ),
    "the last part's row deleted": (
        lambda desk: edit(desk, "DELETE FROM ledger WHERE number >= (SELECT max(number) - 1 FROM ledger)"),
        ["file: signed/part-000003.parquet: is there and no ledger row"],
    ),
    "a part signed twice": (
        sign_again,
        ["duplicate: signed/: found", "file: signed/part-000077.parquet: is there"],
    ),
    "texts of two people swapped, all hashes right": (
        lambda desk: replace_part(desk, 0, swap_texts),
        ["credential: signed/part-000001.parquet (row 0 of", "says something else than its clean row"],
    ),
    "a text changed, all hashes right": (
        lambda desk: replace_part(desk, 0, break_a_text),
        ["credential: signed/part-000001.parquet (row 4 of", "is not valid ("],
    ),
    "a row taken out, all hashes right": (
        lambda desk: replace_part(desk, 0, lambda table: table.slice(1)),
        ["count: signed/part-000001.parquet: found 17 credentials, expected 18"],
    ),
    "a row twice, all hashes right": (
        lambda desk: replace_part(desk, 0, lambda t: pa.concat_tables([t.slice(0, 17), t.slice(0, 1)])),
        ["duplicate: signed/", "credential: signed/part-000001.parquet (row 17 of"],
    ),
    "another person's key, all hashes right": (
        lambda desk: replace_part(desk, 0, lambda t: with_column(t, "person_key", [bytes(32)] * len(t))),
        ["its column person_key differs from its clean row or ledger row"],
    ),
    "another expiry beside the text": (
        lambda desk: replace_part(
            desk, 0, lambda t: with_column(t, "expires_at", pc.add(t["expires_at"], 1).to_pylist())
        ),
        ["its column expires_at differs"],
    ),
    "rows signed under two parts": (
        lambda desk: forge(
            desk,
            lambda body, kind: body.update(ranges=[[0, 18]]) if kind == "part" else None,
        ),
        ["plan: signed/part-000002.parquet: 18 rows of clean/000001-0001.parquet are signed as"],
    ),
    "rows that are not there": (
        lambda desk: forge(
            desk, lambda body, kind: body.update(ranges=[[50, 68]]) if kind == "part" else None
        ),
        ["plan: signed/part-000001.parquet: its rows 50 to 68 are not in clean/"],
    ),
    "a generation skipped": (
        lambda desk: forge(
            desk, lambda body, kind: body.update(generation=1) if kind == "part" else None
        ),
        ["without the generation before", "its column generation differs"],
    ),
    "an unknown profile": (
        lambda desk: forge(
            desk, lambda body, kind: body.update(profile="0" * 64) if kind == "part" else None
        ),
        ["names the profile 0000000000000000…, which no run began with"],
    ),
    "a signed part said to be purged": (
        purge_signed,
        [
            "ledger: signed/part-000001.parquet: a row says that it was purged",
            "file: signed/part-000001.parquet: is missing",
        ],
    ),
    "a signed part moved away, a link left": (
        lambda desk: move_away(desk.parts("signed")[0]),
        ["file: signed/part-000001.parquet: is no regular file"],
    ),
    "purged files that are still there": (
        lambda desk: put_back_purged(desk),
        ["file: rejected/000001-0001.parquet: was purged and is still there"],
    ),
    "another count of superseding rows": (
        lambda desk: forge(
            desk, lambda body, kind: body.update(superseding=2) if kind == "clean" else None
        ),
        ["found 0 rows that supersede another, expected 2"],
    ),
    "two rows that supersede one": (
        lambda desk: replace_clean(
            desk,
            lambda t: with_column(t, "supersedes", [t["uvci"][0].as_py()] * 2 + [None] * (len(t) - 2)),
        ),
        [
            "found 2 rows that supersede another, expected 0",
            "found 1 rows that are superseded by another, expected 0",
        ],
    ),
    "one person's rows without a line": (
        lambda desk: replace_clean(
            desk, lambda t: with_column(t, "person_key", [bytes(32)] * len(t))
        ),
        ["found 1 persons whose clean rows do not supersede one another, expected 0"],
    ),
    "another DSC for a profile": (
        lambda desk: forge(
            desk,
            lambda body, kind: (
                body.update(dsc=b64encode(dsc_for_today("other").der).decode())
                if kind == "start"
                else None
            ),
        ),
        ["plan: signed/part-000001.parquet", "whose DSC is not the one that the ledger keeps"],
    ),
    "another validity in a profile": (
        lambda desk: forge(
            desk,
            lambda body, kind: body["profile"].update(validity_s=1) if kind == "start" else None,
        ),
        ["whose content has another hash"],
    ),
    "another count of input rows": (
        lambda desk: forge(
            desk, lambda body, kind: body["inputs"][0].update(rows=63) if kind == "clean" else None
        ),
        ["count: input doses.csv: 63 rows, but 60 clean, 2 rejected and 0 repeated"],
    ),
    "an input row that is nowhere": (
        lambda desk: forge(
            desk,
            lambda body, kind: (
                body["inputs"][0].update(rows=63, clean=61) if kind == "clean" else None
            ),
        ),
        ["count: input rows in clean/: found 60, expected 61 by the ledger"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("do", "named"), DONE.values(), ids=DONE)
def test_what_somebody_did_is_named(
    desk: Desk, do: Callable[[Desk], object], named: list[str]
) -> None:
    """Each change is a finding that names the place, and no other finding hides it."""
    do(desk)
    findings = "\n".join(map(str, desk.audit().findings))
    for words in named:
        assert words in findings, findings
    for person in ("Nguyễn", "HC1:", "URN:UVCI"):
        assert person not in findings


def test_a_restored_old_copy_is_found_by_a_noted_head(desk: Desk) -> None:
    """An older copy of the whole campaign is a clean history; only a noted head tells."""
    older = desk.folder / "older"
    shutil.copytree(desk.root, older)
    noted = desk.sign().head
    shutil.rmtree(desk.root)
    older.rename(desk.root)
    assert_clean(desk.audit())
    [finding] = desk.audit(head=noted).findings
    assert "this is an older copy, or another history" in str(finding)


def test_a_forged_chain_is_found_by_a_noted_head(desk: Desk) -> None:
    """Who writes the ledger anew has another head."""
    noted = desk.rows()[-1].hash.hex()
    forge(desk, lambda body, kind: body.update(user="another") if kind == "start" else None)
    assert [f.kind for f in desk.audit(head=noted).findings] == ["ledger"]


def test_the_audit_changes_nothing(desk: Desk) -> None:
    """No file is touched, whatever is found."""
    flip_a_bit(desk.parts("signed")[1], 5000)
    before = {p: p.read_bytes() for p in desk.root.rglob("*") if p.is_file()}
    desk.audit()
    after = {p: p.read_bytes() for p in desk.root.rglob("*") if p.is_file()}
    assert {p: d for p, d in after.items() if "sqlite-" not in p.name} == before


def test_the_reports(desk: Desk) -> None:
    """The JSON has every finding and figure, the page is one file, the lines say it at once."""
    report = desk.audit()
    [data, page] = write_audit(desk.campaign.layout, report)
    found = json.loads(data.read_text("utf-8"))
    assert found["clean"] is True
    assert (found["credentials"], found["verified"], found["pending_rows"]) == (54, 54, 6)
    assert found["head"] == read_rows(desk.root / "ledger.sqlite")[-1].hash.hex()
    assert next(audit_lines(report)) == "CLEAN  nothing was found"
    assert page.read_text("utf-8").lower().startswith("<!doctype html>")
    flip_a_bit(desk.parts("signed")[1], 5000)
    report = desk.audit()
    write_audit(desk.campaign.layout, report)
    [finding] = json.loads(data.read_text("utf-8"))["findings"]
    assert finding["kind"] == "file"
    assert "part-000002" in page.read_text("utf-8")
    assert next(audit_lines(report)) == "1 FINDINGS"


def test_what_can_not_be_audited(desk: Desk) -> None:
    """No campaign, a head that is none, a ledger whose rows say nothing: an error of one line."""
    with pytest.raises(CampaignError, match="64 hexadecimal digits"):
        desk.audit(head="abc")
    forge(desk, lambda body, kind: body.clear() if kind == "part" else None)
    with pytest.raises(CampaignError, match=r"row 4 \(part\) has a body that can't be"):
        desk.audit()
    (desk.root / "ledger.sqlite").unlink()
    with pytest.raises(CampaignError, match="is missing"):
        desk.audit()
    shutil.rmtree(desk.root)
    with pytest.raises(CampaignError, match="expected a campaign's directory"):
        desk.audit()


def test_a_directory_whose_name_is_not_utf_8(desk: Desk) -> None:
    """Any name that the system allows can be signed, audited and reported."""
    odd = desk.folder / os.fsdecode(b"c\xff")
    desk.root.rename(odd)
    desk.root = odd
    assert desk.sign().signed == 6
    report = desk.audit()
    assert_clean(report)
    write_audit(desk.campaign.layout, report)
    assert desk.campaign.report().total.signed == 60


def test_a_purge_that_was_stopped_is_finished(desk: Desk) -> None:
    """The next command deletes what a purge had only written down."""
    put_back_purged(desk)
    desk.sign()
    assert desk.parts("rejected") == []
    assert_clean(desk.audit())


def test_nobody_writes_meanwhile(desk: Desk) -> None:
    """An audit is refused while somebody signs, and signing while somebody audits."""
    with desk.campaign.layout.locked(alone=True), pytest.raises(CampaignError, match="in use"):
        desk.audit()
    with desk.campaign.layout.locked(alone=False), pytest.raises(CampaignError, match="in use"):
        desk.sign()
    assert file_sha256(desk.parts("signed")[0])[1] > 0
