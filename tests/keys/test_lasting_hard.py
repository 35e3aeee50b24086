"""What goes wrong while something is going wrong: closing that hangs, PINs in a storm, races."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from proxy.proxy import Proxy
from tokens.softhsm import SoftHsm
from vaxpass_sign.errors import PinError, TokenError
from vaxpass_sign.keys.lasting import LastingSigner
from vaxpass_sign.keys.token import pinned
from vaxpass_sign.keys.tries import note_refusal, refusals
from vaxpass_sign.keys.uri import Pkcs11Uri

MESSAGES = [b"message %d" % number for number in range(40)]

PROGRAM = """
import sys
from vaxpass_sign.errors import VaxpassError
from vaxpass_sign.keys import watch
from vaxpass_sign.keys import session, token_signer
from vaxpass_sign.keys.lasting import LastingSigner

session.CLOSING_PATIENCE_S = token_signer.CLOSING_PATIENCE_S = 0.5
uri, pin, sessions, patience_s = sys.argv[1:]
try:
    signer = LastingSigner(
        uri, lambda: pin, sessions=int(sessions), patience_s=float(patience_s), outage_s=3
    )
    print("opened", flush=True)
    signer.sign([b"a"] * 40)
    print("signed", flush=True)
    signer.close()
except VaxpassError as error:
    print(type(error).__name__, flush=True)
"""


def run(
    hsm: SoftHsm, *, sessions: int = 1, patience_s: float = 0.5, interrupt_after: float = 0
) -> list[str]:
    """Open and sign in a process of its own, which must end by itself; what it printed."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, hsm.uri("ec"), hsm.pin, str(sessions), str(patience_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        if interrupt_after:
            time.sleep(interrupt_after)
            process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    return out.splitlines()


@pytest.mark.parametrize("sessions", [1, 3])
def test_a_stalled_process_can_end(proxied: SoftHsm, proxy: Proxy, sessions: int) -> None:
    """No thread that is stuck in the module keeps the process from ending."""
    proxy.fail("C_Sign", "hang", at=5)
    assert run(proxied, sessions=sessions) == ["opened", "TokenStalledError"]


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ([("C_Login", "CKR_DEVICE_ERROR", 1), ("C_CloseSession", "hang", 1)], ["TokenLostError"]),
        ([("C_OpenSession", "CKR_DEVICE_ERROR", 1), ("C_Finalize", "hang", 1)], ["TokenStalled"]),
        (
            [
                ("C_Sign", "expire", 5),
                ("C_Login", "CKR_DEVICE_ERROR", 2),
                ("C_CloseSession", "hang", 1),
                ("C_CloseSession", "hang", 2),
            ],
            ["opened"],
        ),
        ([("C_Login", "CKR_PIN_LOCKED", 1), ("C_CloseSession", "hang", 1)], ["PinError"]),
    ],
)
def test_closing_hangs_after_something_failed(
    proxied: SoftHsm, proxy: Proxy, faults: list[tuple[str, str, int]], said: list[str]
) -> None:
    """What can't be closed is left to the end of the process, and the error is said."""
    for function, action, at in faults:
        proxy.fail(function, action, at=at)
    found = run(proxied)
    assert found[0].startswith(said[0])


def test_the_flags_hang_after_a_refused_pin(proxied: SoftHsm, proxy: Proxy) -> None:
    """How many tries are left is asked for, and not waited for."""
    proxy.fail("C_Login", "CKR_DEVICE_ERROR")
    run(proxied)
    asked = proxy.counts()["C_GetTokenInfo"]
    proxy.clear()
    proxy.fail("C_Login", "CKR_PIN_INCORRECT")
    proxy.fail("C_GetTokenInfo", "hang", at=asked + 1)
    assert run(proxied) == ["PinError"]


def test_ctrl_c_in_a_login_that_hangs(proxied: SoftHsm, proxy: Proxy) -> None:
    """The program ends, although nothing can be closed."""
    proxy.fail("C_Login", "hang")
    proxy.fail("C_CloseSession", "hang")
    assert run(proxied, patience_s=60, interrupt_after=2.5) == []


@pytest.mark.parametrize("rv", ["CKR_GENERAL_ERROR", "CKR_FUNCTION_FAILED", "CKR_DEVICE_ERROR"])
def test_no_storm_of_pins(proxied: SoftHsm, proxy: Proxy, rv: str) -> None:
    """A driver may say no more than this of a wrong PIN: it is sent twice at most."""
    with LastingSigner(proxied.uri("ec"), proxied.pin, outage_s=5) as signer:
        before = proxy.counts()["C_Login"]
        proxy.fail("C_Sign", "expire", at=3)
        proxy.fail("C_Login", rv, times=None)
        with pytest.raises(TokenError, match="may mean a refused PIN, so it is not sent again"):
            signer.sign(MESSAGES)
        assert proxy.counts()["C_Login"] - before == 2


def test_a_batch_that_never_ends(proxied: SoftHsm, proxy: Proxy) -> None:
    """A few signatures and a loss, again and again: a bounded number of times."""
    with LastingSigner(proxied.uri("ec"), proxied.pin) as signer:
        before = proxy.counts()["C_OpenSession"]
        for at in range(5, 500, 5):
            proxy.fail("C_Sign", "CKR_GENERAL_ERROR", at=at)
        with pytest.raises(TokenError, match="it was lost 9 times while 40 messages"):
            signer.sign(MESSAGES)
        assert proxy.counts()["C_OpenSession"] - before == 8


def test_busy_for_a_while(proxied: SoftHsm, proxy: Proxy) -> None:
    """A token that is busy for longer than a moment is waited for."""
    with LastingSigner(proxied.uri("ec"), proxied.pin) as signer:
        signer.sign(MESSAGES)
        fault = proxy.fail("C_SignInit", "CKR_FUNCTION_FAILED", times=None)
        timer = threading.Timer(2.5, fault.clear)
        timer.start()
        assert len(signer.sign(MESSAGES)) == len(MESSAGES)
        timer.join()


def test_busy_while_it_is_opened_again(proxied: SoftHsm, proxy: Proxy) -> None:
    """Whichever attribute can't be read at that moment: it is tried once more."""
    before = proxy.counts()["C_GetAttributeValue"]
    with LastingSigner(proxied.uri("ec"), proxied.pin):
        reads = proxy.counts()["C_GetAttributeValue"] - before
    for at in range(1, reads + 1):
        with LastingSigner(proxied.uri("ec"), proxied.pin, outage_s=5) as signer:
            proxy.fail("C_Sign", "expire", at=3)
            proxy.fail("C_GetAttributeValue", "CKR_FUNCTION_FAILED", at=at)
            assert len(signer.sign(MESSAGES)) == len(MESSAGES), at
            proxy.clear()


def test_closed_while_it_waits(proxied: SoftHsm, proxy: Proxy) -> None:
    """Nothing is opened, sent or signed any more."""
    signer = LastingSigner(proxied.uri("ec"), proxied.pin, outage_s=10)
    proxy.fail("C_Sign", "remove:1.5", at=3)
    ended: list[object] = []

    def work() -> None:
        try:
            ended.append(signer.sign(MESSAGES))
        except TokenError as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.5)
    before = proxy.counts()["C_Login"]
    signer.close()
    thread.join(20)
    [error] = ended
    assert "is closed" in str(error)
    assert proxy.counts()["C_Login"] == before
    with pytest.raises(TokenError, match="is closed"):
        signer.sign(MESSAGES)


def test_an_error_that_is_raised_again_holds_no_frames(proxied: SoftHsm, proxy: Proxy) -> None:
    """The frames of each call hold its messages."""
    with LastingSigner(proxied.uri("ec"), proxied.pin, outage_s=0.1) as signer:
        proxy.fail("C_Sign", "remove", at=3)
        for _ in range(100):
            with pytest.raises(TokenError) as caught:
                signer.sign(MESSAGES)
    assert len(caught.traceback) < 10
    proxy.plug_in()


def test_a_login_that_was_there_clears_no_note(proxied: SoftHsm, proxy: Proxy) -> None:
    """No PIN was looked at then."""
    with LastingSigner(proxied.uri("ec"), proxied.pin) as signer:
        serial = signer.token.serial
    note_refusal(serial)
    proxy.fail("C_Login", "0x100")
    # The token says so, and is not logged in: so no key is seen.
    with pytest.raises(TokenError):
        LastingSigner(proxied.uri("ec"), "entirely-wrong-and-not-looked-at")
    assert refusals(serial) == 1


def test_a_token_without_a_serial_number(softhsm: SoftHsm) -> None:
    """It keeps its slot's number, and is told by all else that it says of itself."""
    with LastingSigner(softhsm.uri("ec"), softhsm.pin) as signer:
        info = signer.token
    uri = Pkcs11Uri.parse(f"pkcs11:slot-id={info.slot_id};object=ec")
    found = pinned(uri, replace(info, serial=""))
    assert (found.slot_id, found.token, found.model) == (info.slot_id, info.label, info.model)
    assert pinned(uri, info).slot_id is None
    assert pinned(uri, info).serial == info.serial


def test_pins_after_a_second_refusal(proxied: SoftHsm) -> None:
    """Two notes from before: nothing is sent."""
    with LastingSigner(proxied.uri("ec"), proxied.pin) as signer:
        serial = signer.token.serial
    note_refusal(serial)
    note_refusal(serial)
    with pytest.raises(PinError, match="--force-final-try"):
        LastingSigner(proxied.uri("ec"), proxied.pin)
    with LastingSigner(proxied.uri("ec"), proxied.pin, final_try=True) as signer:
        assert refusals(serial) == 0
