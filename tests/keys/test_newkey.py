"""New tokens and new keys on a real SoftHSM, attribute by attribute."""

from __future__ import annotations

import pytest
from pkcs11.constants import Attribute, ObjectClass
from pkcs11.exceptions import PKCS11Error
from pkcs11.mechanisms import KeyType, Mechanism

from tokens.leaks import assert_shows_no
from tokens.softhsm import SoftHsm
from vaxpass_sign.errors import (
    InputError,
    PinError,
    TokenError,
    TokenLookupError,
    VaxpassError,
)
from vaxpass_sign.keys import newkey, open_signer
from vaxpass_sign.keys.listing import list_tokens
from vaxpass_sign.keys.module import load_module
from vaxpass_sign.keys.newkey import new_key
from vaxpass_sign.keys.newtoken import init_token
from vaxpass_sign.keys.objects import attribute, objects
from vaxpass_sign.keys.session import open_session
from vaxpass_sign.keys.uri import Pkcs11Uri

PRIVATE = {
    Attribute.CLASS: ObjectClass.PRIVATE_KEY,
    Attribute.TOKEN: True,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.ALWAYS_SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.NEVER_EXTRACTABLE: True,
    Attribute.LOCAL: True,
    Attribute.MODIFIABLE: False,
    Attribute.COPYABLE: False,
    Attribute.SIGN: True,
    Attribute.SIGN_RECOVER: False,
    Attribute.DERIVE: False,
    Attribute.DECRYPT: False,
    Attribute.UNWRAP: False,
    Attribute.ALWAYS_AUTHENTICATE: False,
}
PUBLIC = {
    Attribute.CLASS: ObjectClass.PUBLIC_KEY,
    Attribute.TOKEN: True,
    Attribute.PRIVATE: False,
    Attribute.MODIFIABLE: False,
    Attribute.VERIFY: True,
    Attribute.ENCRYPT: False,
    Attribute.WRAP: False,
    Attribute.LOCAL: True,
}
MADE = {
    "ec": (KeyType.EC, Mechanism.EC_KEY_PAIR_GEN),
    "rsa": (KeyType.RSA, Mechanism.RSA_PKCS_KEY_PAIR_GEN),
}


def count_keys(hsm: SoftHsm, token: str) -> int:
    uri = Pkcs11Uri.parse(hsm.uri(token=token))
    with open_session(uri, hsm.pin) as session:
        kinds = (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)
        return sum(len(objects(session, kind)) for kind in kinds)


@pytest.fixture(scope="module")
def fresh(softhsm: SoftHsm) -> str:
    """A token of its own for new keys."""
    softhsm.add_token("new keys")
    return "new keys"


@pytest.mark.parametrize(("kind", "bits"), [("ec", 2048), ("rsa", 2048), ("rsa", 3072)])
def test_a_new_key_has_the_safe_template(
    softhsm: SoftHsm, fresh: str, kind: str, bits: int
) -> None:
    """Every attribute of the pair is as it must be, and the URI that comes back signs."""
    label = f"khóa {kind} {bits}"
    uri = Pkcs11Uri.parse(softhsm.uri(label, token=fresh))
    made = new_key(uri, softhsm.pin, kind, bits)  # type: ignore[arg-type]
    assert made.label == label
    assert len(bytes.fromhex(made.id_hex)) == 16
    assert "CKA_NEVER_EXTRACTABLE=true" in made.checked
    with open_session(uri, softhsm.pin, writable=True) as session:
        for number, expected in (
            (ObjectClass.PRIVATE_KEY, PRIVATE),
            (ObjectClass.PUBLIC_KEY, PUBLIC),
        ):
            (item,) = objects(session, number, id=bytes.fromhex(made.id_hex))
            found = {name: attribute(item, name) for name in expected}
            assert found == expected
            assert attribute(item, Attribute.LABEL) == label
            key_type, mechanism = MADE[kind]
            assert attribute(item, Attribute.KEY_TYPE) == key_type
            assert attribute(item, Attribute.KEY_GEN_MECHANISM) == mechanism
        (private,) = objects(session, ObjectClass.PRIVATE_KEY, label=label)
        for name in (Attribute.VALUE, Attribute.PRIVATE_EXPONENT):
            assert attribute(private, name) is None
        for change in (
            {Attribute.EXTRACTABLE: True},
            {Attribute.SENSITIVE: False},
            {Attribute.LABEL: "x"},
        ):
            for name, value in change.items():
                with pytest.raises(PKCS11Error):
                    private[name] = value
        with pytest.raises(PKCS11Error):
            private.copy({Attribute.LABEL: "copy"})
    with open_signer(str(made.uri), softhsm.pin) as signer:
        assert signer.public_key == made.public_key
        assert len(signer.sign([b"a"])) == 1
        if kind == "rsa":
            assert made.public_key.key_size == bits


def test_the_uris_id_becomes_the_keys(softhsm: SoftHsm, fresh: str) -> None:
    """A URI with an id gives the key that CKA_ID."""
    made = new_key(Pkcs11Uri.parse(softhsm.uri("with id", token=fresh, id="\x07z")), softhsm.pin)
    assert made.id_hex == "077a"
    assert made.uri.id == b"\x07z"


@pytest.mark.parametrize(
    ("path", "kind", "bits", "pin", "error", "words"),
    [
        pytest.param(
            "token=new%20keys", "ec", 0, "right", InputError, "object=LABEL", id="no label"
        ),
        pytest.param(
            "token=new%20keys;object=a;type=cert",
            "ec",
            0,
            "right",
            InputError,
            "type=cert",
            id="type",
        ),
        pytest.param(
            "token=new%20keys;object=a", "dsa", 0, "right", InputError, "'dsa'", id="kind"
        ),
        pytest.param(
            "token=new%20keys;object=a", "rsa", 4096, "right", InputError, "4096", id="bits"
        ),
        pytest.param(
            "token=new%20keys;object=a", "ec", 0, None, PinError, "--pin-env", id="no PIN"
        ),
        pytest.param(
            "token=new%20keys;object=a", "ec", 0, "wrong-55555", PinError, "refused", id="wrong PIN"
        ),
        pytest.param(
            "token=vaxpass%20test;object=ec",
            "ec",
            0,
            "right",
            TokenLookupError,
            "already: 'ec' (id a1)",
            id="label taken",
        ),
        pytest.param(
            "token=vaxpass%20test;object=x;id=%A2",
            "ec",
            0,
            "right",
            TokenLookupError,
            "already: 'rsa' (id a2)",
            id="id taken",
        ),
        pytest.param(
            "token=nix;object=a", "ec", 0, "right", TokenLookupError, "no token", id="no token"
        ),
    ],
)
def test_refuses(
    *,
    softhsm: SoftHsm,
    fresh: str,
    path: str,
    kind: str,
    bits: int,
    pin: str | None,
    error: type[VaxpassError],
    words: str,
) -> None:
    """What can't become a new key is one line, makes nothing and shows no PIN."""
    before = count_keys(softhsm, fresh)
    uri = Pkcs11Uri.parse(f"pkcs11:{path}?module-path={softhsm.module}")
    with pytest.raises(error) as caught:
        new_key(uri, softhsm.pin if pin == "right" else pin, kind, bits)  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert_shows_no(caught.value, softhsm.pin)
    assert_shows_no(caught.value, "wrong-55555")
    assert count_keys(softhsm, fresh) == before


def test_a_pair_that_is_not_as_asked_for_is_destroyed(
    softhsm: SoftHsm, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the token reports another attribute than asked for, both halves are destroyed."""
    before = count_keys(softhsm, fresh)
    monkeypatch.setitem(newkey._PROVEN, Attribute.ALWAYS_AUTHENTICATE, True)
    with pytest.raises(
        TokenError, match=r"CKA_ALWAYS_AUTHENTICATE=false, expected true.*destroyed"
    ):
        new_key(Pkcs11Uri.parse(softhsm.uri("doomed", token=fresh)), softhsm.pin)
    assert count_keys(softhsm, fresh) == before


def test_init_token_makes_a_token_that_can_sign(softhsm: SoftHsm) -> None:
    """A fresh token gets its label and PINs, then a key, and signs."""
    with load_module(softhsm.module) as module:
        (free,) = [t for t in list_tokens(module) if "initialised" not in t.flags]
        assert free.keys == ()
        made = init_token(
            module, free.slot_id, "Bộ Y tế", so_pin=softhsm.so_pin, user_pin=lambda: softhsm.pin
        )
        assert (made.label, "PIN set" in made.flags) == ("Bộ Y tế", True)
        uri = Pkcs11Uri(token="Bộ Y tế", object="dsc", module_path=str(softhsm.module))
        key = new_key(uri, softhsm.pin)
        with open_signer(str(key.uri), softhsm.pin) as signer:
            assert len(signer.sign([b"a"])[0]) == 64
        with pytest.raises(TokenError, match="initialised already"):
            init_token(module, made.slot_id, "again", so_pin=softhsm.so_pin, user_pin=softhsm.pin)


@pytest.mark.parametrize(
    ("label", "so_pin", "user_pin", "error", "words"),
    [
        pytest.param("", "so-66012", "us-66012", InputError, "1 to 32 bytes", id="no label"),
        pytest.param("é" * 17, "so-66012", "us-66012", InputError, "found 34", id="long label"),
        pytest.param("a", "66012" * 60, "us-66012", PinError, "SO PIN", id="SO PIN too long"),
        pytest.param("a", "", "us-66012", PinError, "empty", id="no SO PIN"),
        pytest.param(
            "poor", "so-66012", "66012" * 60, PinError, "user PIN", id="user PIN too long"
        ),
    ],
)
def test_init_token_refuses(
    *,
    softhsm: SoftHsm,
    label: str,
    so_pin: str,
    user_pin: str,
    error: type[VaxpassError],
    words: str,
) -> None:
    """A label or PIN that no token takes is one line without the PIN."""
    with load_module(softhsm.module) as module:
        slot = next(t.slot_id for t in list_tokens(module) if "initialised" not in t.flags)
        with pytest.raises(error, match=words) as caught:
            init_token(module, slot, label, so_pin=so_pin, user_pin=user_pin)
    assert_shows_no(caught.value, "66012")


def test_init_token_wants_a_slot(softhsm: SoftHsm) -> None:
    """A slot that isn't there is an error that lists those that are."""
    with (
        load_module(softhsm.module) as module,
        pytest.raises(TokenLookupError, match="slots with a token"),
    ):
        init_token(module, 10**9 + 7, "a", so_pin=softhsm.so_pin, user_pin=softhsm.pin)


def test_a_token_without_a_user_pin_is_named_as_such(softhsm: SoftHsm) -> None:
    """A token whose user PIN was never set says so, and no PIN is sent."""
    with load_module(softhsm.module) as module:
        slot = next(t.slot_id for t in list_tokens(module) if "initialised" not in t.flags)
        with pytest.raises(PinError):
            init_token(module, slot, "no PIN yet", so_pin=softhsm.so_pin, user_pin="")
    with pytest.raises(PinError, match="no user PIN yet"):
        open_signer(softhsm.uri("a", token="no PIN yet"), softhsm.pin)


def test_list_tokens_without_a_login(softhsm: SoftHsm) -> None:
    """Tokens are listed with their public objects; nothing private is seen and nobody logs in."""
    with load_module(softhsm.module) as module:
        tokens = {token.label: token for token in list_tokens(module)}
    main = tokens[softhsm.token]
    assert main.manufacturer == "SoftHSM project"
    assert {"initialised", "login required", "PIN set"} <= set(main.flags)
    assert {(k.kind, k.label, k.id_hex, k.algorithm) for k in main.keys} >= {
        ("public key", "ec", "a1", "EC P-256"),
        ("public key", "rsa", "a2", "RSA 2048"),
    }
    assert "private key" not in {key.kind for token in tokens.values() for key in token.keys}
