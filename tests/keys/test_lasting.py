"""A key whose token is lost is opened again, in bounded time, and no PIN is sent to a wrong place."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from faults.losses import LOST
from proxy.proxy import Proxy
from tokens.softhsm import SoftHsm, make_softhsm
from vaxpass_sign.errors import PinError, TokenError
from vaxpass_sign.hcert.signature import verify_signature
from vaxpass_sign.keys.lasting import LastingSigner

MESSAGES = [b"message %d" % number for number in range(40)]

LOSSES = (
    *LOST,
    "expire",
    "logout",
    "remove:0.3",
)


def assert_signed(hsm: SoftHsm, messages: list[bytes], signatures: list[bytes]) -> None:
    key = hsm.keys["ec"].public_key()
    assert len(signatures) == len(messages)
    assert len(set(signatures)) == len(messages)
    for message, signature in zip(messages, signatures, strict=True):
        assert verify_signature(key, message, signature)


@pytest.mark.parametrize("sessions", [1, 4])
@pytest.mark.parametrize("function", ["C_SignInit", "C_Sign"])
@pytest.mark.parametrize("loss", LOSSES)
def test_lost_and_found_again(
    proxied: SoftHsm, proxy: Proxy, loss: str, function: str, sessions: int
) -> None:
    """Whatever the token says when it is lost: the batch is signed, and so is the next."""
    with LastingSigner(proxied.uri("ec"), proxied.pin, sessions=sessions) as signer:
        logins = proxy.counts()["C_Login"]
        proxy.fail(function, loss, at=7)
        assert_signed(proxied, MESSAGES, signer.sign(MESSAGES))
        assert proxy.counts()["C_Login"] - logins <= 1
        assert_signed(proxied, MESSAGES[:3], signer.sign(MESSAGES[:3]))


@pytest.mark.parametrize("loss", ["CKR_DEVICE_ERROR", "remove:0.2"])
def test_lost_again_and_again(proxied: SoftHsm, proxy: Proxy, loss: str) -> None:
    """Each loss has its own time, as long as signatures are made in between."""
    with LastingSigner(proxied.uri("ec"), proxied.pin) as signer:
        for _ in range(8):
            proxy.fail("C_Sign", loss, at=5)
            assert_signed(proxied, MESSAGES, signer.sign(MESSAGES))


def test_it_comes_back_late(proxied: SoftHsm, proxy: Proxy) -> None:
    """It is waited for, and not longer than was said."""
    with LastingSigner(proxied.uri("ec"), proxied.pin, outage_s=5) as signer:
        proxy.fail("C_Sign", "remove:1.5", at=3)
        began = time.monotonic()
        assert_signed(proxied, MESSAGES, signer.sign(MESSAGES))
        assert time.monotonic() - began > 1.4


def test_it_does_not_come_back(proxied: SoftHsm, proxy: Proxy) -> None:
    """The error says what was lost and for how long; every later call says the same at once."""
    with LastingSigner(proxied.uri("ec"), proxied.pin, outage_s=0.8) as signer:
        proxy.fail("C_Sign", "remove", at=3)
        with pytest.raises(TokenError, match=r"made no signature for 0\.8 s") as caught:
            signer.sign(MESSAGES)
        assert "'vaxpass test'" in str(caught.value)
        proxy.plug_in()
        began = time.monotonic()
        with pytest.raises(TokenError, match="made no signature for"):
            signer.sign(MESSAGES)
        assert time.monotonic() - began < 0.5


def test_a_key_that_never_signs_again_is_given_up(proxied: SoftHsm, proxy: Proxy) -> None:
    """Opening works and signing does not: a bounded number of openings."""
    with LastingSigner(proxied.uri("ec"), proxied.pin, outage_s=2) as signer:
        before = proxy.counts()["C_OpenSession"]
        proxy.fail("C_Sign", "CKR_GENERAL_ERROR", times=None)
        with pytest.raises(TokenError, match="made no signature for 2 s"):
            signer.sign(MESSAGES)
        assert proxy.counts()["C_OpenSession"] - before <= 8


def test_a_pin_is_asked_for_once(proxied: SoftHsm, proxy: Proxy) -> None:
    """A person is not asked again when the token is opened again."""
    asked = []

    def ask() -> str:
        asked.append(1)
        return proxied.pin

    with LastingSigner(proxied.uri("ec"), ask) as signer:
        proxy.fail("C_Sign", "remove:0.1", at=3)
        assert_signed(proxied, MESSAGES, signer.sign(MESSAGES))
    assert len(asked) == 1


def test_the_pin_file_is_read_again(proxied: SoftHsm, proxy: Proxy, tmp_path: Path) -> None:
    """A URI's pin-source serves the second opening as well."""
    pin = tmp_path / "pin"
    pin.touch(mode=0o600)
    pin.write_text(proxied.pin)
    with LastingSigner(f"{proxied.uri('ec')}&pin-source={pin}") as signer:
        proxy.fail("C_Sign", "remove:0.1", at=3)
        assert_signed(proxied, MESSAGES, signer.sign(MESSAGES))


STALLED = """
import sys
from vaxpass_sign.errors import TokenError, TokenStalledError
from vaxpass_sign.keys.lasting import LastingSigner

uri, pin = sys.argv[1:]
try:
    signer = LastingSigner(uri, lambda: pin, patience_s=0.5)
    print("opened")
    signer.sign([b"a"] * 40)
except TokenStalledError as error:
    print(error)
    try:
        signer.sign([b"a"])
    except (NameError, TokenError) as error:
        print(error)
"""


@pytest.mark.parametrize(
    "function", ["C_Initialize", "C_GetSlotList", "C_OpenSession", "C_Login", "C_FindObjects"]
)
def test_opening_hangs(proxied: SoftHsm, proxy: Proxy, function: str) -> None:
    """Some modules hang when they are only listed. The process ends all the same."""
    proxy.fail(function, "hang")
    done = in_a_process(STALLED, proxied.uri("ec"), proxied.pin)
    assert "has not returned for 0.5 s" in done[0]


def test_a_call_that_hangs(proxied: SoftHsm, proxy: Proxy) -> None:
    """It is given up after the time that was said, and no call is made any more."""
    proxy.fail("C_Sign", "hang", at=5)
    opened, *said = in_a_process(STALLED, proxied.uri("ec"), proxied.pin)
    assert opened == "opened"
    assert len(said) == 2
    assert all("signing on token 'vaxpass test'" in line for line in said)
    assert all("has not returned for 0.5 s" in line for line in said)
    assert proxy.counts()["C_Sign"] == 5


def in_a_process(code: str, *arguments: str) -> list[str]:
    """What a process of its own prints: a module that hangs is of no use to the process any more."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_slow_is_not_hanging(proxied: SoftHsm, proxy: Proxy) -> None:
    """A batch that takes longer than the patience, signature by signature."""
    proxy.set(sign_ms=60)
    with LastingSigner(proxied.uri("ec"), proxied.pin, patience_s=0.5) as signer:
        assert_signed(proxied, MESSAGES[:20], signer.sign(MESSAGES[:20]))


@pytest.mark.parametrize("sessions", [1, 3])
def test_threads_lose_it_together(proxied: SoftHsm, proxy: Proxy, sessions: int) -> None:
    """One thread opens it again for all of them."""
    done: list[list[bytes]] = []
    with LastingSigner(proxied.uri("ec"), proxied.pin, sessions=sessions) as signer:
        for at in (11, 60, 130):
            proxy.fail("C_Sign", "remove:0.2", at=at)
        threads = [
            threading.Thread(target=lambda: done.append(signer.sign(MESSAGES))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert len(done) == 4
    for signatures in done:
        assert_signed(proxied, MESSAGES, signatures)


@pytest.fixture
def own(tmp_path: Path, softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    """A SoftHSM of this test's own: what is said of its PIN is remembered by no other test."""
    hsm = make_softhsm(tmp_path / "own", softhsm.module)
    monkeypatch.setenv("SOFTHSM2_CONF", str(hsm.conf))
    return hsm


@pytest.mark.parametrize("refusal", ["CKR_PIN_LOCKED", "CKR_PIN_EXPIRED", "CKR_PIN_INCORRECT"])
def test_a_pin_that_is_refused_after_a_loss_is_not_sent_again(
    own: SoftHsm, proxy: Proxy, refusal: str
) -> None:
    """Somebody has changed the PIN, or another token has the same serial number."""
    hsm = replace(own, module=proxy.path)
    with LastingSigner(hsm.uri("ec"), hsm.pin) as signer:
        proxy.fail("C_Sign", "logout", at=3)
        refused = proxy.fail("C_Login", refusal)
        with pytest.raises(PinError):
            signer.sign(MESSAGES)
        assert refused.hits == 1
        with pytest.raises(PinError):
            signer.sign(MESSAGES)
        assert refused.hits == 1


def test_no_pin_after_it_was_pulled_out(own: SoftHsm, proxy: Proxy) -> None:
    """Who plugs a token in again is not known: the run ends, and says how to go on."""
    own.conf.write_text(own.conf.read_text().replace("removable = false", "removable = true"))
    hsm = replace(own, module=proxy.path)
    with LastingSigner(hsm.uri("ec"), hsm.pin) as signer:
        assert "removable" in signer.token.flags
        logins = proxy.counts()["C_Login"]
        proxy.fail("C_Sign", "remove:0.3", at=3)
        with pytest.raises(TokenError, match="can be pulled out, so its PIN is not sent again"):
            signer.sign(MESSAGES)
        assert proxy.counts()["C_Login"] == logins


def test_another_key_of_that_name(own: SoftHsm, proxy: Proxy) -> None:
    """The token came back with another key: nothing is signed with it."""
    hsm = replace(own, module=proxy.path)
    key = ec.generate_private_key(ec.SECP256R1())
    hsm.import_key(key, "mine", "b7")
    with LastingSigner(hsm.uri("mine"), hsm.pin) as signer:
        signer._public_key = hsm.keys["ec"].public_key()
        proxy.fail("C_Sign", "expire", at=3)
        with pytest.raises(TokenError, match="came back with another key"):
            signer.sign(MESSAGES)


def test_another_token_gets_no_pin(own: SoftHsm, proxy: Proxy) -> None:
    """A token of the same label and another serial number is not the one that was lost."""
    hsm = replace(own, module=proxy.path)
    with LastingSigner(hsm.uri("ec"), hsm.pin, outage_s=1) as signer:
        logins = proxy.counts()["C_Login"]
        signer._uri = replace(signer._uri, serial="0000000000000000")
        proxy.fail("C_Sign", "expire", at=3)
        with pytest.raises(TokenError, match=r"no token in .p11proxy\.so. matches"):
            signer.sign(MESSAGES)
        assert proxy.counts()["C_Login"] == logins


def test_after_closing(proxied: SoftHsm) -> None:
    signer = LastingSigner(proxied.uri("ec"), proxied.pin)
    signer.close()
    signer.close()
    with pytest.raises(TokenError, match="is closed"):
        signer.sign(MESSAGES)
