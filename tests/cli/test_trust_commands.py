"""``trust add`` and ``trust show``, and ``verify`` with what they keep."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from issuing import csca, private_key
from running import TODAY, Desk, dsc_for_today
from signed_lists import LIST, anchor, did_document, gateway_list, gdhcn_list, leaf, sign_did
from vaxpass_sign.check.revocation import write_store
from vaxpass_sign.check.trust.keeping import keep_list
from vaxpass_sign.x509 import pem

DAY = timedelta(days=1)


class Lists:
    """A folder with lists of the desk's DSC, and the key that may sign them."""

    def __init__(self, folder: Path, desk: Desk) -> None:
        self.folder = folder
        self.desk = desk
        key = private_key("did").public_key()
        self.signer = self.write(
            "who.pem", key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        self.stranger = self.write("stranger.pem", pem(leaf("stranger").der))
        self.gateway_anchor = self.write("gateway.pem", pem(anchor().der))
        self.others = [dsc_for_today(f"other {number}") for number in range(4)]
        self.store = folder / "store"

    def write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def who(self, days_ago: int = 1, name: str = "who.json", cscas=(), size: int = 4) -> Path:
        """WHO's list: the desk's DSC and so many others."""
        dscs = [self.desk.dsc, *self.others[:size]]
        return self.write(name, gdhcn_list(*dscs, cscas=cscas, issued=TODAY - days_ago * DAY))

    def nothing_revoked(self) -> Path:
        """A revocation store without entries, for policies that demand one."""
        path = self.folder / "nothing.vxrev"
        write_store(path, [], expires_at=datetime.now(UTC) + timedelta(days=1))
        return path

    @property
    def kept(self) -> Path:
        return self.store / "who.trust.json"


@pytest.fixture
def lists(tmp_path: Path, desk: Desk) -> Lists:
    return Lists(tmp_path, desk)


def test_add_and_show_and_verify(vaxpass, lists) -> None:
    """A list is added once with its anchor; what its DSCs signed is valid from then on."""
    done = vaxpass("trust", "add", lists.who(), "--anchor", lists.signer, "--to", lists.store)
    assert done.code == 0
    assert done.message == f"wrote {lists.kept}: its signature holds"
    lines = done.out.splitlines()
    assert lines[0] == "who"
    assert "  format    gdhcn" in lines
    assert "  DSCs      5, of which a CSCA issued 0" in lines
    assert "  countries VN 5" in lines
    assert "  signed by did:web:keys.example:signing" in lines
    assert any(
        line.startswith("  age       1") and "at most 30 days allowed" in line for line in lines
    )
    shown = vaxpass("trust", "show", "--trust", lists.store)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.splitlines()[-3:] == [
        "total", "  DSCs      5, of which a CSCA issued 0", "  countries VN 5",
    ]  # fmt: skip
    done = vaxpass("verify", "--trust", lists.store, lists.desk.payload)
    assert (done.code, done.err) == (0, "")
    assert "CSCA" in done.out


def test_a_newer_list_needs_no_anchor(vaxpass, lists) -> None:
    """A list with its CSCA makes its DSCs anchored; the strict policy takes them."""
    vaxpass("trust", "add", lists.who(2), "--anchor", lists.signer, "--to", lists.store)
    done = vaxpass("trust", "add", lists.who(cscas=(csca(),)), "--to", lists.store)
    assert "DSCs      5, of which a CSCA issued 5" in done.out
    assert "CSCAs     1 in the list" in done.out
    strict = ("verify", "--policy", "strict", "--trust", lists.store, lists.desk.payload)
    assert vaxpass(*strict, "--revocation", lists.nothing_revoked()).code == 0


def test_the_users_trust_store(vaxpass, lists, tmp_path, monkeypatch) -> None:
    """Without --to and --trust it is the user's."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert vaxpass("trust", "show").code == 2
    assert vaxpass("trust", "add", lists.who(), "--anchor", lists.stranger).code == 2
    done = vaxpass("verify", lists.desk.payload)
    assert done.code == 2
    assert "nothing in your trust store" in done.message
    assert vaxpass("trust", "add", lists.who(), "--anchor", lists.signer).code == 0
    assert (tmp_path / "vaxpass-sign" / "trust" / "who.trust.json").exists()
    assert vaxpass("trust", "show").code == 0
    assert vaxpass("verify", lists.desk.payload).code == 0


def test_certificates_are_added_as_they_are(vaxpass, lists) -> None:
    """It says plainly that nobody signed them; a CSCA that is given is asked."""
    add = ("trust", "add", lists.desk.trust, "--name", "ours", "--to", lists.store)
    done = vaxpass(*add)
    assert "unsigned, and believed because you say so" in done.message
    assert "signed by nobody" in done.out
    assert "not judged" in done.out
    assert vaxpass("verify", "--trust", lists.store, lists.desk.payload).code == 0
    assert "issued 2" in vaxpass(*add, "--csca", lists.desk.csca).out
    assert vaxpass("trust", "add", lists.desk.trust, "--to", lists.store).code == 0
    assert (lists.store / "trust.trust.json").exists()


def test_why_dscs_were_left_out(vaxpass, lists) -> None:
    """Of those that their CSCA did not issue a few are named, and --json has all."""
    foreign = [leaf(f"foreign {number}", issuer="another csca") for number in range(5)]
    data = gdhcn_list(lists.desk.dsc, *foreign, issued=TODAY - DAY)
    add = ("trust", "add", lists.write("who.json", data), "--csca", lists.desk.csca)
    done = vaxpass(*add, "--anchor", lists.signer, "--to", lists.store)
    assert "left out  5 not issued by the CSCA that it names\n" in done.out
    assert done.out.count("was issued by C=VN, O=Test ministry, CN=CSCA another csca") == 3
    assert "and 2 more: see --json" in done.out
    assert "CSCAs     1 given with --csca" in done.out
    [found, _] = vaxpass("trust", "show", "--json", "--trust", lists.store).objects
    assert set(found["refused"]) == {dsc.kid.hex() for dsc in foreign}


REFUSED = {
    "no anchor": ([], {}, "no anchor was given and none is remembered"),
    "another anchor": (["--anchor", "stranger.pem"], {}, "does not verify"),
    "an anchor that is none": (["--anchor", "who.json"], {}, "--anchor: "),
    "too old": (["--anchor", "who.pem"], {"days_ago": 31}, "accept it with --max-age DAYS"),
    "a name that is none": (["--anchor", "who.pem", "--name", "../x"], {}, "--name: found"),
    "an age that is none": (["--anchor", "who.pem", "--max-age", "0"], {}, "--max-age: found"),
    "an age too large": (["--anchor", "who.pem", "--max-age", "1e300"], {}, "--max-age: found"),
    "no age": (["--anchor", "who.pem", "--max-age", "nan"], {}, "--max-age: found"),
    "no share": (["--anchor", "who.pem", "--max-shrink", "2"], {}, "--max-shrink: found"),
    "a CSCA of others": (["--anchor", "who.pem", "--csca", "gateway.pem"], {}, "no DSC that can be used"),
}  # fmt: skip


@pytest.mark.parametrize(("options", "made", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_added(vaxpass, lists, monkeypatch, options, made, words: str) -> None:
    """Exit 2, one line, and no kept list."""
    lists.who(**made)
    monkeypatch.chdir(lists.folder)
    done = vaxpass("trust", "add", "who.json", *options, "--to", lists.store)
    assert (done.code, done.out) == (2, "")
    assert words in done.message
    assert not list(lists.store.glob("*.json"))


def test_the_last_good_one_stays(vaxpass, lists) -> None:
    """What is refused changes nothing, and the message has the way to accept it, which works."""
    vaxpass("trust", "add", lists.who(2), "--anchor", lists.signer, "--to", lists.store)
    before = lists.kept.read_bytes()
    done = vaxpass("trust", "add", lists.who(size=0), "--to", lists.store)
    assert done.code == 2
    assert "lacks 4 of the 5" in done.message
    assert "accept it with --max-shrink" in done.message
    assert "the last good one, 2" in done.message
    assert lists.kept.read_bytes() == before
    shrink = ("--max-shrink", "0.8")
    assert vaxpass("trust", "add", lists.who(size=0), "--to", lists.store, *shrink).code == 0
    done = vaxpass("trust", "add", lists.who(40), "--to", lists.store, "--max-age", "50")
    assert "before the last good one" in done.message


@pytest.mark.parametrize("name", ["gone", "loop.json", "pipe"])
def test_a_source_that_is_none(vaxpass, lists, name: str) -> None:
    """Nothing there, a link to itself, a pipe: exit 2, one line."""
    (lists.folder / "loop.json").symlink_to("loop.json")
    os.mkfifo(lists.folder / "pipe")
    done = vaxpass("trust", "add", lists.folder / name, "--to", lists.store)
    assert done.code == 2
    assert "can't be read" in done.message


def test_a_link_gives_its_own_name(vaxpass, lists) -> None:
    """A link to the newest file is the same source each day."""
    (lists.folder / "today.json").symlink_to(lists.who(name="who-2026-11-24.json"))
    add = ("trust", "add", lists.folder / "today.json", "--anchor", lists.signer)
    assert vaxpass(*add, "--to", lists.store).code == 0
    assert (lists.store / "today.trust.json").exists()


def test_anchors_are_for_signed_lists(vaxpass, lists) -> None:
    for option in ("--anchor", "--document"):
        done = vaxpass("trust", "add", lists.desk.trust, option, lists.signer, "--to", lists.store)
        assert done.code == 2
        assert "is no signed list" in done.message
    assert not lists.store.exists()


def test_documents(vaxpass, lists) -> None:
    """A document that the list refers to is given with --document; a missing one is counted."""
    created = f"{TODAY - DAY:%Y-%m-%dT%H:%M:%SZ}"
    methods = (f"{LIST}:-", f"{LIST}:gone")
    top = sign_did(did_document(*methods, id=f"{LIST}:top"), "did", created=created)
    add = ("trust", "add", lists.write("top.json", json.dumps(top).encode()), "--to", lists.store)
    done = vaxpass(*add, "--anchor", lists.signer, "--document", lists.who())
    assert done.code == 0
    assert "left out  1 a reference to a document that was not given" in done.out


def test_verify_with_a_signed_list(vaxpass, lists) -> None:
    """verify --trust LIST --anchor KEY needs no kept list; without the key it decides nothing."""
    verify = ("verify", lists.desk.payload, "--trust", lists.who())
    assert vaxpass(*verify, "--anchor", lists.signer).code == 0
    for more in ([], ["--anchor", lists.stranger]):
        done = vaxpass(*verify, *more)
        assert (done.code, done.out) == (2, "")
    gateway = lists.write("list.json", gateway_list(lists.desk.dsc, cscas=(csca(),)))
    done = vaxpass(
        *("verify", "--policy", "strict", lists.desk.payload),
        *("--trust", gateway, "--anchor", lists.gateway_anchor),
        *("--revocation", lists.nothing_revoked()),
    )
    assert done.code == 0


def old_list(lists: Lists) -> None:
    """One that was added 31 days ago, when it was new."""
    signer = [private_key("did").public_key()]
    keep_list(lists.store, "who", lists.who(32).read_bytes(), signer, TODAY - 31 * DAY)


def test_verify_warns_of_an_old_list(vaxpass, lists) -> None:
    """One line on stderr; the verdict is what it is."""
    old_list(lists)
    done = vaxpass("verify", "--trust", lists.store, lists.desk.payload)
    assert done.code == 0
    assert done.message.startswith("the kept list 'who' is 32")
    assert "expected at most 30 days" in done.message
    done = vaxpass("verify", "--json", "--trust", lists.kept, lists.desk.payload)
    assert done.objects[0]["valid"]
    assert "'who'" in done.message


def test_show_says_what_is_old(vaxpass, lists) -> None:
    old_list(lists)
    done = vaxpass("trust", "show", "--trust", lists.store)
    assert (done.code, done.err) == (0, "")
    assert "OLDER THAN ALLOWED (30 days)" in done.out


def test_show_as_json(vaxpass, lists) -> None:
    """One object for each source, and the total, in which a DSC counts once."""
    foreign = leaf("of another", "DE", "another csca")
    data = gateway_list(lists.desk.dsc, foreign, cscas=(csca(),))
    list_ = lists.write("eu.json", data)
    vaxpass("trust", "add", list_, "--anchor", lists.gateway_anchor, "--to", lists.store)
    old_list(lists)
    (lists.store / "more.pem").write_bytes(pem(lists.desk.dsc.der))
    done = vaxpass("trust", "show", "--json", "--trust", lists.store)
    eu, who, files, total = done.objects
    assert (eu["source"], eu["format"], eu["dscs"], eu["anchored"]) == ("eu", "dgcg", 1, 1)
    assert eu["left_out"] == {"not a DSC": 1, "signed by none of the anchors": 1}
    assert (eu["issued_at"], eu["age_days"], eu["max_age_days"], eu["stale"]) == (
        None,
        0,
        30,
        False,
    )
    assert (who["source"], who["dscs"], who["anchored"], who["stale"]) == ("who", 5, 0, True)
    assert who["countries"] == {"VN": 5}
    assert (files["source"], files["format"], files["dscs"]) == ("certificate files", "files", 1)
    assert total == {"total": {"dscs": 5, "anchored": 1}}


def test_show_of_a_damaged_list(vaxpass, lists) -> None:
    """It is named on stderr, the others are shown, and the exit code is 2."""
    vaxpass("trust", "add", lists.who(), "--anchor", lists.signer, "--to", lists.store)
    (lists.store / "bad.trust.json").write_bytes(b"{}")
    (lists.store / "bad.pem").write_bytes(b"bad")
    done = vaxpass("trust", "show", "--trust", lists.store)
    assert done.code == 2
    assert len(done.err.splitlines()) == 2
    assert "bad.trust.json" in done.err
    assert done.out.startswith("who\n")
    assert vaxpass("verify", "--trust", lists.store, lists.desk.payload).code == 2


def test_show_of_a_signed_list(vaxpass, lists) -> None:
    """Nothing of it is trusted, and "0 DSCs" would say that of the list and not of the mistake."""
    done = vaxpass("trust", "show", "--trust", lists.who())
    assert (done.code, done.out) == (2, "")
    assert "who.json: found a signed list, of which nothing is believed yet" in done.err


def test_hostile_words_do_not_reach_the_terminal(vaxpass, lists) -> None:
    """A kept list's words are shown without what steers a terminal."""
    vaxpass("trust", "add", lists.who(), "--anchor", lists.signer, "--to", lists.store)
    value = json.loads(lists.kept.read_text())
    value["signed_by"] = "\x1b[2J\nwho\u202e"
    lists.kept.write_text(json.dumps(value))
    done = vaxpass("trust", "show", "--trust", lists.store)
    assert "signed by \ufffd[2J\ufffdwho\ufffd\n" in done.out
