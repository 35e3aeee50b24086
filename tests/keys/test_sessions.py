"""Several sessions of one key: every message signed once, in order, by whoever is free."""

from __future__ import annotations

import threading
import time

import pytest
from pkcs11.exceptions import PKCS11Error

from issuing import private_key, signer_of
from proxy.proxy import Proxy, most_at_once
from tokens.softhsm import SoftHsm
from vaxpass_sign.errors import InputError, PinError, TokenError
from vaxpass_sign.hcert.signature import verify_signature
from vaxpass_sign.keys import open_signer
from vaxpass_sign.keys.sessions import SessionsSigner
from vaxpass_sign.keys.token_signer import Pkcs11Signer


def messages(count: int) -> list[bytes]:
    return [b"message %d" % number for number in range(count)]


@pytest.mark.parametrize("key", ["ec", "rsa"])
def test_every_message_is_signed_in_order(softhsm: SoftHsm, key: str) -> None:
    """Signature n is message n's, however many sessions there are."""
    public = softhsm.keys[key].public_key()
    with open_signer(softhsm.uri(key), softhsm.pin, sessions=4) as signer:
        for count in (0, 1, 3, 50):
            batch = messages(count)
            signatures = signer.sign(batch)
            assert len(signatures) == count
            for message, signature in zip(batch, signatures, strict=True):
                assert verify_signature(public, message, signature)


def test_one_session_is_the_signer_itself(softhsm: SoftHsm) -> None:
    """Without more sessions there are no threads."""
    before = threading.active_count()
    with open_signer(softhsm.uri("ec"), softhsm.pin, sessions=1) as signer:
        assert not isinstance(signer, SessionsSigner)
        signer.sign(messages(2))
        assert threading.active_count() == before


def test_they_sign_side_by_side(proxied: SoftHsm, proxy: Proxy) -> None:
    """Four sessions keep four places of a slow token busy, with one login."""
    proxy.set(sign_ms=5, trace=True)
    with open_signer(proxied.uri("ec"), proxied.pin, sessions=4) as signer:
        signer.sign(messages(40))
    assert most_at_once(proxy.calls("C_Sign")) == 4
    assert proxy.counts()["C_Login"] == 1


def test_two_batches_at_once(proxied: SoftHsm, proxy: Proxy) -> None:
    """Two threads may sign at the same time; each gets its own signatures."""
    proxy.set(sign_ms=1)
    public = proxied.keys["ec"].public_key()
    batches = [[b"%d %d" % (name, n) for n in range(30)] for name in range(2)]
    found: dict[int, list[bytes]] = {}
    with open_signer(proxied.uri("ec"), proxied.pin, sessions=3) as signer:

        def sign(name: int) -> None:
            found[name] = signer.sign(batches[name])

        threads = [threading.Thread(target=sign, args=(name,)) for name in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for name, batch in enumerate(batches):
        for message, signature in zip(batch, found[name], strict=True):
            assert verify_signature(public, message, signature)


def test_a_failure_ends_the_batch(proxied: SoftHsm, proxy: Proxy) -> None:
    """One session's failure is the batch's, soon; afterwards the others still sign."""
    proxy.set(sign_ms=5)
    sessions = [Pkcs11Signer(proxied.uri("ec"), proxied.pin) for _ in range(4)]
    with SessionsSigner(sessions) as signer:
        proxy.fail("C_Sign", "CKR_DEVICE_ERROR", at=10)
        began = time.monotonic()
        with pytest.raises(TokenError, match="CKR_DEVICE_ERROR"):
            signer.sign(messages(4000))  # five seconds, if the others went on
        assert time.monotonic() - began < 4
        assert len(signer.sign(messages(20))) == 20


def test_a_wrong_pin_is_sent_once(proxied: SoftHsm, proxy: Proxy) -> None:
    """The first session's refusal is everybody's."""
    with pytest.raises(PinError):
        open_signer(proxied.uri("ec"), "sessions-no-such-pin", sessions=5)
    assert proxy.counts()["C_Login"] == 1


def test_sessions_that_are_not_to_be_had(proxied: SoftHsm, proxy: Proxy) -> None:
    """A token with too few sessions is an error, and those that were opened are closed again."""
    proxy.fail("C_OpenSession", "CKR_SESSION_COUNT", at=3)
    with pytest.raises((TokenError, PKCS11Error)):
        open_signer(proxied.uri("ec"), proxied.pin, sessions=5)
    counts = proxy.counts()
    assert counts["C_CloseSession"] == counts["C_OpenSession"] - 1


@pytest.mark.parametrize("sessions", [0, -1, 257])
def test_a_number_out_of_bounds(sessions: int) -> None:
    """1 to 256."""
    with pytest.raises(InputError, match="expected 1 to 256"):
        open_signer("key.pem", sessions=sessions)


def test_a_software_key_may_have_them_too() -> None:
    """Any signers of one key do; closing closes each of them."""
    signer = SessionsSigner([signer_of(private_key("dsc")) for _ in range(2)])
    public = private_key("dsc").public_key()
    assert signer.public_key == public
    [signature] = signer.sign([b"x"])
    assert verify_signature(public, b"x", signature)
    signer.close()
    signer.close()
