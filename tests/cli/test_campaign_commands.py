"""clean, sign, audit, report: as an operator runs them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from campaigns import Desk
from running import PERSONAL, Done, Shown
from tokens.softhsm import SoftHsm

HEAD = re.compile(r"^head +([0-9a-f]{64})$", re.MULTILINE)


@pytest.fixture
def office(tmp_path: Path) -> Desk:
    """A desk with a table of 30 people, two of whose rows can't be used."""
    office = Desk(tmp_path / "office")
    office.table(
        "doses.csv", 30, changes={3: {"birth_date": "soon"}, 9: {"vaccine_name": "Elixir"}}
    )
    return office


def test_the_whole_way(office: Desk, program: Callable[..., Done]) -> None:
    """clean, sign, audit, report: what is done is said, the head is printed, codes are 0."""
    cleaned = program("clean", office.root, office.folder / "doses.csv")
    assert cleaned.code == 0
    assert "30 rows: 28 clean, 2 rejected, 0 repeated" in cleaned.out
    assert "28 people to sign" in cleaned.out
    assert re.search(r"^secret [0-9a-f]{16}$", cleaned.out, re.MULTILINE)
    signed = program("sign", office.root, "--yes", "--workers", "1")
    assert signed.code == 0, signed.err
    assert re.search(r"^28 signed in [\d.]+ s \([\d,]+/s\), 0 left$", signed.out, re.MULTILINE)
    for words in ("to sign   28 new", "key file", "can sign until", "365 days", "first run"):
        assert words in signed.err
    head = HEAD.search(signed.out)[1]
    audited = program("audit", office.root, "--head", head)
    assert audited.code == 0, audited.out
    assert audited.out.startswith("CLEAN  nothing was found\n")
    assert "28 of 28 verified" in audited.out
    assert json.loads((office.root / "reports" / "audit.json").read_text())["head"] == head
    page = office.folder / "out.html"
    reported = program("report", office.root, "--html", page)
    assert reported.code == 0, reported.err
    assert "019" in reported.out
    assert "<svg" in page.read_text("utf-8")
    again = program("sign", office.root)
    assert (again.code, again.out) == (0, f"nothing to sign\nhead {head}\n")
    for done in (cleaned, signed, audited, reported):
        assert not any(word in done.out + done.err for word in PERSONAL)


def test_a_table_that_was_cleaned_before(office: Desk, program: Callable[..., Done]) -> None:
    """It is passed over, and said so."""
    for _ in range(2):
        done = program("clean", office.root, office.folder / "doses.csv")
    assert done.code == 0
    assert "1 of 1 tables were cleaned before and are passed over" in done.err
    assert "0 people to sign" in done.out


def test_asked_before_the_first_signature(
    office: Desk, program: Callable[..., Done], terminal: Callable[..., Shown]
) -> None:
    """At a terminal y signs and n does not; without one --yes is needed."""
    program("clean", office.root, office.folder / "doses.csv")
    refused = program("sign", office.root)
    assert refused.code == 2
    assert "--yes answers" in refused.err
    no = terminal("sign", office.root, answers=[(b"28 records now?", b"n\n")])
    assert (no.code, no.answered) == (2, 1)
    assert office.signed() == []
    yes = terminal("sign", office.root, "--workers", "1", answers=[(b"28 records now?", b"y\n")])
    assert yes.code == 0
    assert "28 signed in" in yes.text
    assert len(office.signed()) == 28


def test_the_pin_at_a_prompt(
    tmp_path: Path, softhsm: SoftHsm, terminal: Callable[..., Shown], program: Callable[..., Done]
) -> None:
    """A token's PIN is asked for once, and a wrong one ends the run with code 2."""
    office = Desk(tmp_path / "office", token=softhsm)
    office.clean(10)
    wrong = terminal("sign", office.root, "--yes", answers=[(b"PIN", b"no-such-pin\n")])
    assert (wrong.code, wrong.answered) == (2, 1)
    assert "will not be sent again" in " ".join(wrong.text.split())
    right = terminal("sign", office.root, "--yes", answers=[(b"PIN", f"{softhsm.pin}\n".encode())])
    assert (right.code, right.answered) == (0, 1)
    # The question stays readable: nothing is drawn before it is answered.
    assert "opening the key" not in right.text[: right.text.index("PIN")]
    assert program("audit", office.root).code == 0


def test_findings_are_code_1(office: Desk, program: Callable[..., Done]) -> None:
    """What an audit finds is on stdout, one line each, and the exit code says so."""
    office.campaign.clean([office.folder / "doses.csv"], workers=1)
    office.sign()
    office.parts("signed")[0].unlink()
    done = program("audit", office.root)
    assert done.code == 1
    assert done.out.startswith("1 FINDINGS\n  file: signed/part-000001.parquet: is missing")
    assert json.loads((office.root / "reports" / "audit.json").read_text())["clean"] is False


MISTAKES = {
    "no such campaign": (["audit", "{}/nowhere"], "No such file or directory"),
    "sign without a campaign": (["sign", "{}/nowhere"], "campaign's settings"),
    "clean without a campaign": (["clean", "{}/nowhere", "doses.csv"], "campaign's settings"),
    "sign before clean": (["sign", "{}"], "run clean first"),
    "audit before clean": (["audit", "{}"], "run clean first"),
    "report before clean": (["report", "{}"], "run clean first"),
    "a table that is not there": (["clean", "{}", "{}/nothing.csv"], "nothing.csv"),
    "a table of another kind": (["clean", "{}", "{}/campaign.toml"], ".csv, .jsonl or .parquet"),
    "a head that is none": (["audit", "{}", "--head", "12"], "64 hexadecimal digits"),
    "a day that is none": (["sign", "{}", "--renew-before", "soon"], "YYYY-MM-DD"),
}


@pytest.mark.parametrize(("arguments", "words"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_line_and_code_2(
    office: Desk, vaxpass: Callable[..., Done], arguments: list[str], words: str
) -> None:
    """What was found, what was expected, what to do; never a traceback."""
    done = vaxpass(*(part.format(office.root) for part in arguments))
    assert done.code == 2
    assert words in done.err
    assert len(done.err.splitlines()) <= 2
    assert done.out == ""


def test_progress_in_plain_lines(office: Desk, program: Callable[..., Done]) -> None:
    """Without a terminal progress is lines of words: records a second, done, left."""
    program("clean", office.root, office.folder / "doses.csv")
    done = program("sign", office.root, "--yes")
    assert re.search(r"28 signed, [\d,]+/s, 0 left", done.err)
    assert "\x1b" not in done.err


def test_help_names_every_command(program: Callable[..., Done]) -> None:
    """--help lists them."""
    text = program("--help").out
    for name in ("clean", "sign", "audit", "report"):
        assert f" {name} " in text
