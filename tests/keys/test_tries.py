"""Wrong PINs are noted by the token's serial number, and the one that could lock it is not sent."""

from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.proxy import Proxy
from tokens.softhsm import SoftHsm, make_softhsm
from vaxpass_sign.errors import PinError
from vaxpass_sign.keys import open_signer
from vaxpass_sign.keys.module import load_module
from vaxpass_sign.keys.token import read_tokens, token_info
from vaxpass_sign.keys.tries import LAST_SAFE, clear_tries, note_refusal, refusals

WRONG = ("wrong-pin-10081", "wrong-pin-20082", "wrong-pin-30083", "wrong-pin-40084")


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the notes, in a state folder of this test's own; it is not there yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "vaxpass-sign" / "refused-pins.json"


@pytest.fixture
def own(
    notes: Path, tmp_path: Path, softhsm: SoftHsm, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> SoftHsm:
    """A SoftHSM of this test's own behind the proxy, which counts what is sent to it."""
    hsm = make_softhsm(tmp_path / "own", softhsm.module)
    monkeypatch.setenv("SOFTHSM2_CONF", str(hsm.conf))
    return replace(hsm, module=proxy.path)


def serial_of(hsm: SoftHsm) -> str:
    with load_module(hsm.module) as module:
        return next(token_info(t).serial for t in read_tokens(module) if t.label == hsm.token)


def refuse(hsm: SoftHsm, pin: str, words: str, **options: bool) -> None:
    with pytest.raises(PinError, match=words):
        open_signer(hsm.uri("ec"), pin, **options)


def sign(hsm: SoftHsm) -> None:
    with open_signer(hsm.uri("ec"), hsm.pin) as signer:
        assert len(signer.sign([b"a"])[0]) == 64


def test_they_are_counted_and_the_third_is_not_sent(own: SoftHsm, proxy: Proxy) -> None:
    """Two wrong PINs are noted; a third one, even the right one, needs to be forced."""
    serial = serial_of(own)
    for count in range(LAST_SAFE):
        assert refusals(serial) == count
        refuse(own, WRONG[count], "was refused")
        assert refusals(serial) == count + 1
    assert proxy.counts()["C_Login"] == 2
    for pin in (WRONG[2], own.pin):
        refuse(own, pin, "2 PINs in a row from this account.*nothing was sent.*--force-final-try")
    assert proxy.counts()["C_Login"] == 2
    assert refusals(serial) == 2


def test_forced_it_is_sent(own: SoftHsm, proxy: Proxy) -> None:
    """Forced, a wrong PIN is sent and noted; the right one is sent, signs and clears the note."""
    for pin in WRONG[:2]:
        refuse(own, pin, "was refused")
    refuse(own, WRONG[2], "was refused", final_try=True)
    assert proxy.counts()["C_Login"] == 3
    assert refusals(serial_of(own)) == 3
    with open_signer(own.uri("ec"), own.pin, final_try=True) as signer:
        assert len(signer.sign([b"a"])[0]) == 64
    assert refusals(serial_of(own)) == 0
    sign(own)


def test_a_right_pin_clears_the_note(own: SoftHsm, notes: Path) -> None:
    """What counts is wrong PINs in a row."""
    for pin in WRONG:
        refuse(own, pin, "was refused")
        assert refusals(serial_of(own)) == 1
        sign(own)
        assert refusals(serial_of(own)) == 0
    assert json.loads(notes.read_text()) == {}


def test_a_pin_that_is_not_sent_is_not_noted(own: SoftHsm, proxy: Proxy) -> None:
    """An empty PIN, and one that was refused before, are never sent and so are no tries."""
    refuse(own, "", "is empty")
    assert refusals(serial_of(own)) == 0
    refuse(own, WRONG[0], "was refused")
    refuse(own, WRONG[0], "is not sent again")
    assert refusals(serial_of(own)) == 1
    assert proxy.counts()["C_Login"] == 1


@pytest.mark.parametrize(
    ("answer", "noted"),
    [
        ("CKR_PIN_INCORRECT", 1),
        ("0xa1", 1),
        ("0xa2", 1),
        ("CKR_PIN_EXPIRED", 0),
        ("CKR_PIN_LOCKED", 0),
        ("CKR_DEVICE_ERROR", 0),
    ],
)
def test_only_a_refused_pin_is_noted(own: SoftHsm, proxy: Proxy, answer: str, noted: int) -> None:
    """PIN_INCORRECT, PIN_INVALID and PIN_LEN_RANGE speak of the PIN; the rest of the token."""
    proxy.fail("C_Login", answer)
    with pytest.raises(Exception, match="token"):
        open_signer(own.uri("ec"), own.pin)
    assert refusals(serial_of(own)) == noted


def test_each_token_has_its_own(own: SoftHsm) -> None:
    """Another token's wrong PINs don't count."""
    own.add_token("another")
    own.import_key(own.keys["ec"], "ec", "a1", token="another")
    for pin in WRONG[:2]:
        refuse(replace(own, token="another"), pin, "was refused")
    refuse(replace(own, token="another"), own.pin, "2 PINs in a row")
    sign(own)


def test_nobody_else_can_read_it_and_it_holds_no_pin(own: SoftHsm, notes: Path) -> None:
    """Mode 0600 in a folder of 0700; serial numbers and counts, and nothing that PINs make."""
    for pin in WRONG[:2]:
        refuse(own, pin, "was refused")
    for path in notes.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert not [pin for pin in (*WRONG, own.pin) if pin.encode() in path.read_bytes()]
    assert stat.S_IMODE(notes.parent.stat().st_mode) == 0o700
    assert json.loads(notes.read_text()) == {serial_of(own): 2}


# --- notes that can't be used ----------------------------------------------------------------


def _broken(notes: Path) -> None:
    notes.parent.mkdir(parents=True)
    notes.write_bytes(b'{"half": ')


def _not_text(notes: Path) -> None:
    notes.parent.mkdir(parents=True)
    notes.write_bytes(b"\xff\xfe\x00")


def _deep(notes: Path) -> None:
    notes.parent.mkdir(parents=True)
    notes.write_bytes(b"[" * 60_000)


def _folder(notes: Path) -> None:
    notes.mkdir(parents=True)


def _no_folder(notes: Path) -> None:
    notes.parent.parent.mkdir()
    notes.parent.write_text("a file where the folder should be")


def _lock_is_a_folder(notes: Path) -> None:
    notes.with_suffix(".lock").mkdir(parents=True)


SPOILT = [
    (_broken, 1),
    (_not_text, 1),
    (_deep, 1),
    (_folder, 0),
    (_no_folder, 0),
    (_lock_is_a_folder, 0),
]


@pytest.mark.parametrize(
    ("spoil", "noted"), SPOILT, ids=[spoil.__name__.strip("_") for spoil, _ in SPOILT]
)
def test_spoilt_notes_stop_nobody(
    own: SoftHsm,
    notes: Path,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], None],
    noted: int,
) -> None:
    """It is logged; a wrong PIN is still a PinError, and a right one signs."""
    spoil(notes)
    with caplog.at_level(logging.WARNING, "vaxpass_sign.keys.tries"):
        refuse(own, WRONG[0], "was refused")
        assert refusals(serial_of(own)) == noted
        sign(own)
    assert [record.levelname for record in caplog.records if "refused PIN" in record.message]
    assert not [pin for pin in (*WRONG, own.pin) if pin in caplog.text]


def _without_rights(script: str, *arguments: object) -> str:
    """What a script of a process without a superuser's rights prints."""
    drop = "import os\nif os.geteuid() == 0:\n    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    done = subprocess.run(
        # Imported first: the code itself need not be where nobody may read.
        [
            sys.executable,
            "-c",
            f"import vaxpass_sign.keys.tries as tries\n{drop}{script}",
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


TOUCH = """
import logging, sys, pathlib
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
tries._path = lambda: pathlib.Path(sys.argv[1])
tries.note_refusal("77")
tries.clear_tries("77")
print("count", tries.refusals("77"))
"""


@pytest.fixture
def open_to_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that everybody can reach and nobody but its owner can write."""
    folder = tmp_path_factory.mktemp("open")
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.getuid() and parent != Path("/") and "pytest" in str(parent):
            parent.chmod(0o755)
    return folder


def test_a_place_that_is_read_only(open_to_all: Path) -> None:
    """What is noted there counts; what can't be noted is logged."""
    path = open_to_all / "refused-pins.json"
    assert "WARNING a refused PIN can't be noted" in _without_rights(TOUCH, path)
    path.write_text('{"77": 1}')
    path.chmod(0o644)
    shown = _without_rights(TOUCH, path)
    assert "WARNING a refused PIN can't be noted" in shown
    assert "count 1" in shown


def test_a_file_that_is_not_ours_to_read(open_to_all: Path) -> None:
    """Its count is not known, and that is logged."""
    path = open_to_all / "refused-pins.json"
    path.write_text('{"77": 1}')
    path.chmod(0o600)
    shown = _without_rights(TOUCH, path)
    assert "WARNING the notes of refused PINs can't be read: Permission denied" in shown
    assert "count 0" in shown


@pytest.mark.parametrize(
    "text", ['["77"]', '{"77": "2"}', '{"77": -1}', '{"77": true}', '{"77": 1e3}', "null"]
)
def test_notes_of_another_form_count_nothing(notes: Path, text: str) -> None:
    """Anything but a whole number above 0 is no note."""
    notes.parent.mkdir(parents=True)
    notes.write_text(text)
    assert refusals("77") == 0
    note_refusal("77")
    assert refusals("77") == 1


def test_several_processes_lose_nothing(notes: Path) -> None:
    """Four processes note wrong PINs of two tokens at once: every one is counted."""
    script = (
        "import sys; from vaxpass_sign.keys.tries import note_refusal\n"
        "sys.stdin.read()\n"
        "for _ in range(25): note_refusal('shared'); note_refusal(sys.argv[1])"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(number)], stdin=subprocess.PIPE)
        for number in range(4)
    ]
    for process in processes:
        process.stdin.close()  # type: ignore[union-attr]  # now: all of them at once
    assert [process.wait(60) for process in processes] == [0] * 4
    assert refusals("shared") == 100
    assert [refusals(str(number)) for number in range(4)] == [25] * 4
    clear_tries("shared")
    assert [refusals(str(number)) for number in range(4)] == [25] * 4
    assert refusals("shared") == 0
