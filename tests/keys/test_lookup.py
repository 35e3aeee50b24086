"""Finding exactly one token and one key, and logging in exactly once: a table of failures."""

from __future__ import annotations

import threading
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pkcs11.constants import TokenFlag

from proxy.proxy import Proxy
from tokens.leaks import assert_shows_no
from tokens.softhsm import SoftHsm
from vaxpass_sign.errors import (
    InputError,
    ModuleError,
    PinError,
    TokenError,
    TokenLookupError,
    VaxpassError,
)
from vaxpass_sign.keys import open_signer
from vaxpass_sign.keys.cryptoki import Functions
from vaxpass_sign.keys.module import load_module
from vaxpass_sign.keys.objects import public_key_of
from vaxpass_sign.keys.session import _check_pin_can_be_sent
from vaxpass_sign.keys.token import read_tokens
from vaxpass_sign.keys.uri import Pkcs11Uri

WRONG = "wrong-pin-70077"


@pytest.fixture(scope="session")
def crowd(softhsm: SoftHsm) -> SoftHsm:
    """Tokens and keys that are easily confused, and keys that don't suit."""
    softhsm.add_token("pair")
    softhsm.add_token("pair")
    softhsm.add_token("crowd")
    twin = ec.generate_private_key(ec.SECP256R1())
    for label, ident in (("twin", "b1"), ("twin", "b2"), ("same", "c1"), ("same", "c1")):
        softhsm.import_key(twin, label, ident, token="crowd")
    softhsm.import_key(ec.generate_private_key(ec.SECP384R1()), "p384", "d1", token="crowd")
    softhsm.import_key(rsa.generate_private_key(65537, 1024), "rsa1024", "d2", token="crowd")
    return softhsm


def _attempts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    results: list[int] = []
    real = Functions.login

    def login(self: Functions, session: int, pin: bytes | None, *, so: bool = False) -> int:
        results.append(real(self, session, pin, so=so))
        return results[-1]

    monkeypatch.setattr(Functions, "login", login)
    return results


@pytest.mark.parametrize(
    ("path", "pin", "error", "words"),
    [
        pytest.param(
            "token=nix;object=ec",
            "right",
            TokenLookupError,
            ["no token", "'vaxpass test'", "token="],
            id="no such token",
        ),
        pytest.param(
            "token=vaxpass%20test;serial=00;object=ec",
            "right",
            TokenLookupError,
            ["no token", "serial"],
            id="another serial",
        ),
        pytest.param(
            "token=vaxpass%20test;slot-id=77;object=ec",
            "right",
            TokenLookupError,
            ["no token", "slot"],
            id="another slot",
        ),
        pytest.param(
            "object=ec",
            "right",
            TokenLookupError,
            ["tokens match", "add serial="],
            id="every token",
        ),
        pytest.param(
            "token=pair;object=ec",
            "right",
            TokenLookupError,
            ["2 tokens match", "add serial="],
            id="label twice",
        ),
        pytest.param(
            "library-manufacturer=Nobody;token=crowd",
            "right",
            TokenLookupError,
            ["library-manufacturer", "SoftHSM"],
            id="another library",
        ),
        pytest.param(
            "library-version=9.9;token=crowd",
            "right",
            TokenLookupError,
            ["library-version", "9.9"],
            id="another version",
        ),
        pytest.param(
            "token=vaxpass%20test;object=nix",
            "right",
            TokenLookupError,
            ["no private key", "'ec' (id a1)"],
            id="no such key",
        ),
        pytest.param(
            "token=vaxpass%20test;object=ec;id=%A2",
            "right",
            TokenLookupError,
            ["no private key"],
            id="label and id disagree",
        ),
        pytest.param(
            "token=crowd;object=twin",
            "right",
            TokenLookupError,
            ["2 private keys", "id b1", "id b2", "add id="],
            id="key label twice",
        ),
        pytest.param(
            "token=crowd;object=same",
            "right",
            TokenLookupError,
            ["2 private keys", "another label or id"],
            id="label and id twice",
        ),
        pytest.param("token=pair", "right", TokenLookupError, ["2 tokens"], id="no key named"),
        pytest.param(
            "token=crowd;object=p384",
            "right",
            TokenError,
            ["secp384r1", "P-256", "ES256"],
            id="P-384",
        ),
        pytest.param(
            "token=crowd;object=rsa1024", "right", TokenError, ["1024 bits", "PS256"], id="RSA 1024"
        ),
        pytest.param(
            "token=crowd;object=twin;type=cert",
            "right",
            InputError,
            ["type=cert", "type=private"],
            id="a certificate",
        ),
        pytest.param(
            "token=vaxpass%20test;object=ec",
            WRONG,
            PinError,
            ["refused", "'vaxpass test'", "serial", "sent once", "SO PIN"],
            id="wrong PIN",
        ),
        pytest.param(
            "token=vaxpass%20test;object=ec",
            WRONG * 20,
            PinError,
            ["refused", "sent once"],
            id="PIN too long",
        ),
        pytest.param(
            "token=vaxpass%20test;object=ec",
            "",
            PinError,
            ["empty", "nothing was sent"],
            id="empty PIN",
        ),
        pytest.param(
            "token=vaxpass%20test;object=ec",
            None,
            PinError,
            ["without its PIN", "--pin-env"],
            id="no PIN",
        ),
    ],
)
def test_refuses(
    crowd: SoftHsm, path: str, pin: str | None, error: type[VaxpassError], words: list[str]
) -> None:
    """Each failure is one line that names what was found and the next step, and shows no PIN."""
    sent = crowd.pin if pin == "right" else pin
    with pytest.raises(error) as caught:
        open_signer(f"pkcs11:{path}?module-path={crowd.module}", sent)
    message = str(caught.value)
    assert type(caught.value) is error
    assert "\n" not in message
    for word in words:
        assert word in message
    assert_shows_no(caught.value, crowd.pin)
    assert_shows_no(caught.value, WRONG)
    # Nothing stays open: the module can be given up and initialised anew.
    with load_module(crowd.module) as module:
        assert module._users == 1


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        pytest.param("/nowhere/lib.so", ModuleError, ["does not exist", "softhsm2"], id="missing"),
        pytest.param("/", ModuleError, ["is a directory"], id="directory"),
        pytest.param(__file__, ModuleError, ["not a shared library"], id="not ELF"),
        pytest.param("lib.so", InputError, ["must be absolute"], id="relative"),
    ],
)
def test_refuses_a_module(path: str, error: type[VaxpassError], words: list[str]) -> None:
    """A module that can't be used is one line, and the PIN is in none of it."""
    with pytest.raises(error) as caught:
        open_signer(f"pkcs11:token=a;object=b?module-path={quote(path)}", WRONG)
    for word in words:
        assert word in str(caught.value)
    assert_shows_no(caught.value, WRONG)


def test_a_wrong_pin_is_sent_once(softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    """One open sends a wrong PIN exactly once; the right PIN works straight afterwards."""
    attempts = _attempts(monkeypatch)
    with pytest.raises(PinError, match="refused"):
        open_signer(softhsm.uri("ec"), "another-wrong-pin")
    assert attempts == [0xA0]
    with load_module(softhsm.module) as module:
        token = next(t for t in read_tokens(module) if t.label == softhsm.token)
        assert token.flags & TokenFlag.USER_PIN_COUNT_LOW
    with open_signer(softhsm.uri("ec"), softhsm.pin) as signer:
        assert len(signer.sign([b"a"])[0]) == 64
    assert attempts == [0xA0, 0]


def test_threads_send_a_wrong_pin_once(softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many threads open the token with one wrong PIN, it is sent once, and never again."""
    attempts = _attempts(monkeypatch)
    refusals: list[str] = []

    def work() -> None:
        with pytest.raises(PinError) as caught:
            open_signer(softhsm.uri("ec"), "a-third-wrong-pin")
        refusals.append(str(caught.value))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    work()
    assert attempts == [0xA0]
    assert sum("is not sent again" in text for text in refusals) == 6
    open_signer(softhsm.uri("ec"), softhsm.pin).close()
    assert attempts == [0xA0, 0]


def test_no_pin_is_sent_before_the_token_is_certain(
    crowd: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While several tokens match, or none, no PIN is asked for and none is sent."""
    attempts = _attempts(monkeypatch)
    for label in ("pair", "nix"):
        with pytest.raises(TokenLookupError):
            open_signer(crowd.uri("ec", token=label), lambda: pytest.fail("asked for the PIN"))
    assert attempts == []


READY = TokenFlag.TOKEN_INITIALIZED | TokenFlag.USER_PIN_INITIALIZED


LOCKED = READY | TokenFlag.USER_PIN_LOCKED
FINAL = READY | TokenFlag.USER_PIN_FINAL_TRY
LOW = READY | TokenFlag.USER_PIN_COUNT_LOW


@pytest.mark.parametrize(
    ("flags", "refused", "forced", "words"),
    [
        pytest.param(TokenFlag.TOKEN_INITIALIZED, 0, False, "no user PIN yet", id="no user PIN"),
        pytest.param(
            TokenFlag.TOKEN_INITIALIZED, 0, True, "no user PIN yet", id="no user PIN, forced"
        ),
        pytest.param(LOCKED, 0, False, "is locked; nothing was sent", id="locked"),
        pytest.param(LOCKED, 0, True, "is locked; nothing was sent", id="locked, forced"),
        pytest.param(LOCKED | FINAL, 3, True, "is locked; nothing was sent", id="all, forced"),
        pytest.param(FINAL, 0, False, "one try left.*--force-final-try", id="final try"),
        pytest.param(READY, 2, False, "2 PINs in a row.*--force-final-try", id="two noted"),
        pytest.param(LOW, 7, False, "7 PINs in a row.*--force-final-try", id="seven noted"),
    ],
)
def test_no_pin_is_sent_when_it_could_do_harm(
    flags: TokenFlag, refused: int, forced: bool, words: str
) -> None:
    """A locked token, or one that a wrong PIN would lock, is not sent any PIN."""
    with pytest.raises(PinError, match=words):
        _check_pin_can_be_sent(flags, "token 'x'", refused, forced)


@pytest.mark.parametrize(
    ("flags", "refused", "forced"),
    [
        pytest.param(READY, 0, False, id="nothing known"),
        pytest.param(LOW, 1, False, id="one wrong"),
        pytest.param(READY, 2, True, id="two noted, forced"),
        pytest.param(FINAL, 2, True, id="final try, forced"),
    ],
)
def test_a_pin_is_sent_when_it_does_no_harm_or_is_forced(
    flags: TokenFlag, refused: int, forced: bool
) -> None:
    """After one wrong PIN another may be tried; the last one only by somebody who says so."""
    _check_pin_can_be_sent(flags, "token 'x'", refused, forced)


def test_a_token_without_read_only_sessions(proxied: SoftHsm, proxy: Proxy) -> None:
    """One that answers CKR_FUNCTION_FAILED to them is asked for a read-write one, once."""
    proxy.fail("C_OpenSession", "CKR_FUNCTION_FAILED")
    with open_signer(proxied.uri("ec"), proxied.pin) as signer:
        assert len(signer.sign([b"a"])[0]) == 64
    assert proxy.counts()["C_OpenSession"] == 2
    proxy.fail("C_OpenSession", "CKR_FUNCTION_FAILED", times=None)
    with pytest.raises(TokenError, match=r"opening a session.*FunctionFailed"):
        open_signer(proxied.uri("ec"), proxied.pin)
    assert proxy.counts()["C_OpenSession"] == 4


def test_serial_and_id_choose_among_twins(crowd: SoftHsm) -> None:
    """What the error advises works: the id chooses the key, the serial the token."""
    with open_signer(
        f"pkcs11:token=crowd;object=twin;id=%B2?module-path={crowd.module}", crowd.pin
    ) as signer:
        assert len(signer.sign([b"a"])[0]) == 64
    with load_module(crowd.module) as module:
        serial = next(t.serial.decode() for t in read_tokens(module) if t.label == "pair")
    with pytest.raises(TokenLookupError, match="no private key on token 'pair'"):
        open_signer(crowd.uri("ec", token="pair", serial=serial), crowd.pin)


def test_every_token_attribute_matches_itself(softhsm: SoftHsm) -> None:
    """A URI with all that the token and its module say of themselves finds the token."""
    with load_module(softhsm.module) as module:
        token = next(t for t in read_tokens(module) if t.label == softhsm.token)
        uri = Pkcs11Uri(
            token=token.label,
            serial=token.serial.decode(),
            manufacturer=token.manufacturer_id,
            model=token.model,
            slot_id=token.slot.slot_id,
            slot_description=token.slot.slot_description,
            slot_manufacturer=token.slot.manufacturer_id,
            library_manufacturer=module.lib.manufacturer_id,
            library_description=module.lib.library_description,
            library_version=".".join(map(str, module.lib.library_version)),
            object="ec",
            type="private",
            id=b"\xa1",
            module_path=str(softhsm.module),
        )
    with open_signer(str(uri), softhsm.pin) as signer:
        assert len(signer.sign([b"a"])[0]) == 64


@pytest.mark.parametrize("wrapped", [True, False], ids=["DER OCTET STRING", "raw point"])
def test_an_ec_point_is_read_in_both_forms(wrapped: bool) -> None:
    """CKA_EC_POINT is read as the standard's OCTET STRING, and raw as some modules give it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from pkcs11.constants import Attribute, ObjectClass
    from pkcs11.mechanisms import KeyType

    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    item = {
        Attribute.CLASS: ObjectClass.PUBLIC_KEY,
        Attribute.KEY_TYPE: KeyType.EC,
        Attribute.EC_PARAMS: bytes.fromhex("06082a8648ce3d030107"),
        Attribute.EC_POINT: (b"\x04\x41" if wrapped else b"") + point,
    }
    assert public_key_of(item) == key  # type: ignore[arg-type]
    item[Attribute.EC_POINT] = point[:-1] + bytes([point[-1] ^ 1])
    assert public_key_of(item) is None  # type: ignore[arg-type]
