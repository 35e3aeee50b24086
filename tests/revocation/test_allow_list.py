"""The allow-list of a campaign: all that it honestly signed, and none when its books don't hold."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice
from pathlib import Path

import pytest
from pyarrow import parquet

from campaigns import Desk, edit, forge
from issuing import RECORD, make_issuer
from vaxpass_sign import inspect
from vaxpass_sign.campaign.layout import Layout
from vaxpass_sign.check.revocation import AllowList, write_allow_list
from vaxpass_sign.errors import CampaignError, InputError, LedgerError
from vaxpass_sign.revocation import allow_list_entries

END = datetime(2040, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A signed campaign of several parts; copied by each test that changes it."""
    desk = Desk(tmp_path_factory.mktemp("signed") / "desk")
    desk.clean(120, name="a.csv")
    desk.sign()
    desk.clean(60, name="b.csv", start=120)
    desk.sign()
    assert len(desk.parts("signed")) >= 2
    return desk


@pytest.fixture
def desk(signed: Desk, tmp_path: Path) -> Desk:
    shutil.copytree(signed.folder, tmp_path / "desk")
    copy = object.__new__(Desk)
    copy.__dict__.update(signed.__dict__, folder=tmp_path / "desk", root=tmp_path / "desk" / "c")
    return copy


def entries(desk: Desk, **options: object) -> list[bytes]:
    return list(allow_list_entries(desk.root, desk.dsc.kid, **options))


def test_every_credential_is_on_it(desk: Desk, tmp_path: Path) -> None:
    """The same hashes as computed here from the Parquet rows; and each of them is permitted."""
    hcerts = [inspect(row["hc1"]) for row in desk.signed()]
    expected = [sha256(h.sign1.sig_structure + h.sign1.signature).digest() for h in hcerts]
    found = entries(desk)
    assert len(found) == 180
    assert sorted(found) == sorted(expected)
    assert entries(desk, head=desk.rows()[-1].hash.hex()) == found
    path = tmp_path / "allowed"
    made = write_allow_list(
        path, desk.dsc.kid, allow_list_entries(desk.root, desk.dsc.kid), expires_at=END
    )
    assert made == 180
    with AllowList.open(path) as allowed:
        assert all(allowed.permits(hcert) for hcert in hcerts)
        # The same key and DSC, outside of the campaign: as a thief signs.
        thief = inspect(make_issuer(dsc=desk.dsc, clock=time.time).issue(RECORD))
        assert thief.kid == desk.dsc.kid
        assert not allowed.permits(thief)


def test_a_kid_that_signed_nothing(desk: Desk) -> None:
    with pytest.raises(InputError, match="nothing signed under kid 0000000000000000"):
        list(allow_list_entries(desk.root, bytes(8)))
    with pytest.raises(InputError, match="8"):
        list(allow_list_entries(desk.root, b"x"))


def test_it_is_not_made_while_somebody_signs(desk: Desk) -> None:
    """And nobody signs while it is made."""
    with Layout(desk.root).locked(alone=False), pytest.raises(CampaignError, match="in use"):
        entries(desk)
    running = allow_list_entries(desk.root, desk.dsc.kid)
    assert len(list(islice(running, 3))) == 3
    with pytest.raises(CampaignError, match="in use"):
        desk.sign()
    running.close()
    desk.sign()


def test_no_campaign(tmp_path: Path) -> None:
    for name in ("missing", "."):
        with pytest.raises(CampaignError):
            list(allow_list_entries(tmp_path / name, bytes(8)))


def cut_ledger(desk: Desk) -> None:
    edit(desk, "DELETE FROM ledger WHERE number = 2")


def edit_ledger(desk: Desk) -> None:
    edit(
        desk,
        "UPDATE ledger SET body = replace(body, '\"rows\":', '\"rows\": ') WHERE kind = 'part'",
    )


def odd_bodies(desk: Desk) -> None:
    def change(body: dict, kind: str) -> None:
        if kind == "part":
            del body["ranges"]

    forge(desk, change)


def other_rows(desk: Desk) -> None:
    def change(body: dict, kind: str) -> None:
        if kind == "part":
            body["files"][0]["rows"] += 1

    forge(desk, change)


def lose_part(desk: Desk) -> None:
    desk.parts("signed")[0].unlink()


def flip_part(desk: Desk) -> None:
    path = desk.parts("signed")[-1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def swap_parts(desk: Desk) -> None:
    first, second = desk.parts("signed")[:2]
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)


def rewrite(desk: Desk, column: str, value) -> None:
    """Change a row of a part, and the ledger with it, as somebody who knows how would."""
    path = desk.parts("signed")[0]
    table = parquet.read_table(path)
    rows = table.to_pylist()
    rows[5][column] = value(rows[5][column])
    parquet.write_table(type(table).from_pylist(rows, schema=table.schema), path)
    sha = sha256(path.read_bytes()).hexdigest()

    def change(body: dict, kind: str) -> None:
        if kind == "part" and body["files"][0]["name"].endswith(path.name):
            body["files"][0]["sha256"] = sha

    forge(desk, change)


def other_kid(desk: Desk) -> None:
    rewrite(desk, "kid", lambda kid: bytes(8))


def unreadable(desk: Desk) -> None:
    rewrite(desk, "hc1", lambda text: text[:-4])


@pytest.mark.parametrize(
    "change",
    [
        cut_ledger,
        edit_ledger,
        odd_bodies,
        other_rows,
        lose_part,
        flip_part,
        swap_parts,
        other_kid,
        unreadable,
    ],
    ids=lambda change: change.__name__,
)
def test_books_that_do_not_hold(desk: Desk, tmp_path: Path, change) -> None:
    """A LedgerError of one line without personal data; and the list that was there stays."""
    assert len(entries(desk)) == 180
    change(desk)
    path = tmp_path / "allowed"
    path.write_bytes(b"old")
    with pytest.raises(LedgerError) as caught:
        write_allow_list(
            path, desk.dsc.kid, allow_list_entries(desk.root, desk.dsc.kid), expires_at=END
        )
    assert "\n" not in str(caught.value)
    assert "HC1:" not in str(caught.value)
    assert path.read_bytes() == b"old"


def test_a_part_that_is_not_in_its_folder_yet(desk: Desk) -> None:
    """A stop between commit and rename leaves it in staging: signing again moves it."""
    lose_part(desk)
    with pytest.raises(LedgerError, match="run sign again"):
        entries(desk)


def test_another_history_needs_the_noted_head(desk: Desk) -> None:
    """A ledger written anew by one who knows how is believed, unless a head was noted."""
    head = desk.rows()[-1].hash.hex()

    def change(body: dict, kind: str) -> None:
        if kind == "campaign":
            body["created_at"] += 1

    forge(desk, change)
    assert len(entries(desk)) == 180
    with pytest.raises(LedgerError, match="noted"):
        entries(desk, head=head)
