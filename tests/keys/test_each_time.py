"""A key that wants its PIN for each signature (CKA_ALWAYS_AUTHENTICATE): signed with one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pkcs11.constants import Attribute, MechanismFlag
from pkcs11.mechanisms import KeyType

from campaigns import Desk, bodies
from proxy.proxy import Proxy
from running import RECORD, dsc_for_today, run_program
from tokens.softhsm import SoftHsm, make_softhsm
from vaxpass_sign import TrustStore, verify
from vaxpass_sign.errors import InputError, PinError, TokenError
from vaxpass_sign.hcert.signature import verify_signature
from vaxpass_sign.keys import open_signer
from vaxpass_sign.keys.cryptoki import Functions
from vaxpass_sign.keys.lasting import LastingSigner
from vaxpass_sign.keys.objects import public_key_of
from vaxpass_sign.keys.session import TokenSession, open_session
from vaxpass_sign.keys.signer import PublicKey
from vaxpass_sign.keys.token_signer import Pkcs11Signer
from vaxpass_sign.keys.tries import refusals
from vaxpass_sign.keys.uri import Pkcs11Uri
from vaxpass_sign.x509 import pem

MESSAGES = [b"message %d" % number for number in range(5)]
P256_PARAMS = bytes.fromhex("06082a8648ce3d030107")


@dataclass
class Key:
    """The key, seen through the proxy, and its public half."""

    hsm: SoftHsm
    public: PublicKey

    @property
    def uri(self) -> str:
        return self.hsm.uri("each time")

    @property
    def pin(self) -> str:
        return self.hsm.pin


@pytest.fixture
def key(
    tmp_path: Path, softhsm: SoftHsm, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Key]:
    """On a token of this test's own, which counts what is sent to it from now on."""
    hsm = make_softhsm(tmp_path / "own", softhsm.module)
    monkeypatch.setenv("SOFTHSM2_CONF", str(hsm.conf))
    with open_session(Pkcs11Uri.parse(hsm.uri()), hsm.pin, writable=True) as session:
        public, _ = session.session.generate_keypair(
            KeyType.EC,
            id=b"\xee",
            label="each time",
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            store=True,
            public_template={Attribute.EC_PARAMS: P256_PARAMS},
            private_template={Attribute.ALWAYS_AUTHENTICATE: True},
        )
        known = public_key_of(public)
    assert known is not None
    yield Key(replace(hsm, module=proxy.path), known)
    counts = proxy.counts()
    assert counts["C_OpenSession"] == counts["C_CloseSession"], "a session is left open"


def assert_signed(key: Key, signatures: list[bytes]) -> None:
    assert len(set(signatures)) == len(MESSAGES)
    for message, signature in zip(MESSAGES, signatures, strict=True):
        assert verify_signature(key.public, message, signature)


def test_the_pin_is_presented_for_each_signature(key: Key, proxy: Proxy) -> None:
    """One login, and one for each message; whoever knows the PIN is asked once."""
    asked = []

    def ask() -> str:
        asked.append(1)
        return key.pin

    with open_signer(key.uri, ask) as signer:
        assert proxy.counts()["C_Login"] == 1
        assert_signed(key, signer.sign(MESSAGES))
        assert proxy.counts()["C_Login"] == 1 + len(MESSAGES)
        assert_signed(key, signer.sign(MESSAGES))
    assert asked == [1]
    assert proxy.counts()["C_Login"] == 1 + 2 * len(MESSAGES)


@pytest.mark.parametrize("kind", [LastingSigner, Pkcs11Signer])
def test_the_pin_of_a_pin_source(key: Key, tmp_path: Path, kind: type) -> None:
    """The file that the URI names serves each signature too."""
    path = tmp_path / "pin"
    path.touch(0o600)
    path.write_text(key.pin)
    with kind(f"{key.uri}&pin-source=file:{path}") as signer:
        assert_signed(key, signer.sign(MESSAGES))


def test_without_a_pin_of_its_own(key: Key, proxy: Proxy) -> None:
    """Another signer's login does not do for such a key: it is refused when it is opened."""
    with open_signer(key.hsm.uri("ec"), key.pin):
        logins = proxy.counts()["C_Login"]
        with pytest.raises(PinError, match=r"wants its PIN for each signature.*--pin-env"):
            open_signer(key.uri)
        assert proxy.counts()["C_Login"] == logins


def test_a_pin_pad_asks_each_time(key: Key, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a token with a pad nothing is sent from here, for any signature."""
    sent: list[bytes | None] = []
    real = Functions.authenticate

    def pad(self: Functions, session: int, pin: bytes | None) -> int:
        sent.append(pin)
        return real(self, session, key.pin.encode())

    monkeypatch.setattr(Functions, "authenticate", pad)
    monkeypatch.setattr(TokenSession, "pin_pad", property(lambda _: True))
    with open_signer(key.uri, key.pin) as signer:
        assert_signed(key, signer.sign(MESSAGES))
    assert sent == [None] * len(MESSAGES)


@pytest.mark.parametrize("kind", [LastingSigner, Pkcs11Signer])
@pytest.mark.parametrize("refusal", ["CKR_PIN_INCORRECT", "CKR_PIN_LOCKED"])
def test_a_pin_that_is_refused_in_between(key: Key, proxy: Proxy, kind: type, refusal: str) -> None:
    """At the second signature: the batch fails, no PIN is sent again, no session stays open."""
    with kind(key.uri, key.pin) as signer:
        refused = proxy.fail("C_Login", refusal, at=2)
        before = proxy.counts()["C_Login"]
        with pytest.raises(PinError):
            signer.sign(MESSAGES)
        assert refused.hits == 1
        assert proxy.counts()["C_Login"] - before == 2
        counts = proxy.counts()
        assert counts["C_OpenSession"] == counts["C_CloseSession"]
        for _ in range(3):
            with pytest.raises(TokenError):
                signer.sign(MESSAGES)
        assert proxy.counts()["C_Login"] - before == 2
        assert refusals(signer_serial(key)) == (refusal == "CKR_PIN_INCORRECT")


def signer_serial(key: Key) -> str:
    with open_session(Pkcs11Uri.parse(key.hsm.uri())) as session:
        return session.token.serial.decode().strip("\0 ")


def test_after_a_refusal_the_same_pin_is_never_sent(key: Key, proxy: Proxy) -> None:
    """Nor by another signer of this process."""
    with open_signer(key.uri, key.pin) as signer:
        proxy.fail("C_Login", "CKR_PIN_INCORRECT", at=2)
        with pytest.raises(PinError):
            signer.sign(MESSAGES)
    logins = proxy.counts()["C_Login"]
    with pytest.raises(PinError, match="is not sent again"):
        open_signer(key.uri, key.pin)
    assert proxy.counts()["C_Login"] == logins


def test_a_token_that_is_lost_in_between(key: Key, proxy: Proxy) -> None:
    """It is opened again, and each message gets one signature."""
    with open_signer(key.uri, key.pin) as signer:
        for fault in ("C_Login", "C_SignInit", "C_Sign"):
            lost = proxy.fail(fault, "remove:0.2", at=3)
            assert_signed(key, signer.sign(MESSAGES))
            assert lost.hits == 1


def test_several_sessions_are_refused(key: Key) -> None:
    """A PIN is for one operation of one session: with several it would be a race."""
    with pytest.raises(InputError, match=r"CKA_ALWAYS_AUTHENTICATE.*use one session"):
        open_signer(key.uri, key.pin, sessions=2)


# --- the commands ----------------------------------------------------------------------------


def test_issue_signs_with_it(key: Key, tmp_path: Path) -> None:
    """One credential at a counter, as with any key."""
    dsc = dsc_for_today("each", public_key=key.public)
    (tmp_path / "dsc.pem").write_bytes(pem(dsc.der))
    (tmp_path / "record.json").write_text(json.dumps(RECORD))
    done = run_program(
        *("issue", "--key", key.uri, "--dsc", tmp_path / "dsc.pem", "--pin-env", "THE_PIN"),
        tmp_path / "record.json",
        env={"THE_PIN": key.pin},
    )
    assert (done.code, done.err) == (0, "")
    assert verify(done.out.strip(), TrustStore([dsc]))


def test_a_campaign_refuses_it(key: Key, proxy: Proxy, tmp_path: Path) -> None:
    """Before the first signature, with the reason and the way out."""
    desk = Desk(tmp_path / "desk", token=key.hsm)
    (desk.folder / "dsc.pem").write_bytes(pem(dsc_for_today("each", public_key=key.public).der))
    desk.write_settings(uri=key.uri)
    desk.clean(20)
    with pytest.raises(TokenError, match=r"CKA_ALWAYS_AUTHENTICATE.*new-key.*vaxpass-sign issue"):
        desk.sign()
    assert proxy.counts()["C_Sign"] == 0
    assert bodies(desk, "start") == []
    assert desk.signed() == []
