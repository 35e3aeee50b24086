"""``token list`` shows without a login; ``token new-key`` makes a key and prints its URI."""

from __future__ import annotations

from pathlib import Path

import pytest

from running import dsc_for_today
from tokens.softhsm import PIN
from vaxpass_sign.keys import open_signer
from vaxpass_sign.keys.uri import Pkcs11Uri
from vaxpass_sign.x509 import pem

WRONG = "wrong-pin-0815"


@pytest.fixture(autouse=True)
def _pins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOD_PIN", PIN)
    monkeypatch.setenv("BAD_PIN", WRONG)


# --- list ----------------------------------------------------------------------------------


def test_list_shows_tokens_and_public_keys(vaxpass, softhsm) -> None:
    """Each token has its label, slot, serial number and state, and each key its label and id."""
    done = vaxpass("token", "list", "--module", softhsm.module)
    lines = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert lines[0] == str(softhsm.module)
    assert lines[1].startswith("  token 'vaxpass test' in slot ")
    assert lines[3] == "    state       login required, PIN set"
    assert "    public key  'ec', EC P-256, id a1" in lines
    assert "    public key  'rsa', RSA 2048, id a2" in lines
    assert lines[-1].endswith("a token that is not initialised")


def test_list_logs_in_nowhere(program, softhsm) -> None:
    """A process that lists tokens sees no private key, because it has sent no PIN."""
    done = program("token", "list", "--module", softhsm.module)
    assert "public key" in done.out
    assert "private key" not in done.out


def test_list_finds_modules_by_itself(program, softhsm) -> None:
    """Without --module those that are installed are shown, SoftHSM among them."""
    done = program("token", "list")
    assert "'vaxpass test'" in done.out
    assert "softhsm" in done.out.splitlines()[0] or done.out.count(".so") > 1


def test_list_goes_on_after_a_bad_module(vaxpass, softhsm, tmp_path: Path) -> None:
    """A module that can't be loaded is one line on stderr and exit 2; the others are shown."""
    done = vaxpass("token", "list", "--module", tmp_path / "none.so", "--module", softhsm.module)
    assert done.code == 2
    assert "does not exist" in done.message
    assert "'vaxpass test'" in done.out


# --- new-key -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "options", "kind"),
    [("new ec", (), "P-256"), ("new rsa", ("--rsa", 2048), "RSA 2048")],
    ids=["EC", "RSA"],
)
def test_new_key_prints_the_uri_of_a_key_that_signs(
    vaxpass, desk, softhsm, tmp_path: Path, label: str, options: tuple, kind: str
) -> None:
    """stdout is the URI alone, for KEY=$(…); stderr tells a person what was read back."""
    new_key = ("token", "new-key", "--pin-env", "GOOD_PIN", *options)
    done = vaxpass(*new_key, softhsm.uri(label))
    uri = done.out.strip()
    assert done.code == 0
    assert f"made the {kind} key '{label}'" in done.message
    assert "CKA_NEVER_EXTRACTABLE=true" in done.message
    assert Pkcs11Uri.parse(uri).object == label
    assert Pkcs11Uri.parse(uri).serial
    with open_signer(uri, pin=PIN) as signer:
        dsc = dsc_for_today(label, public_key=signer.public_key)
    (tmp_path / "dsc.pem").write_bytes(pem(dsc.der))
    issue = ("issue", "--pin-env", "GOOD_PIN", "--dsc", tmp_path / "dsc.pem", desk.record)
    assert vaxpass(*issue, "--key", uri).code == 0


def test_new_key_asks_for_the_pin(terminal, softhsm) -> None:
    """Without --pin-env and pin-source the PIN is asked for, and not shown."""
    shown = terminal(
        *("token", "new-key", softhsm.uri("asked for")),
        answers=[(b"PIN of the token: ", PIN.encode() + b"\n")],
    )
    assert (shown.code, shown.answered) == (0, 1)


BAD_NEW_KEYS: dict[str, tuple[str, tuple[object, ...], str]] = {
    "wrong PIN": ("object=x", ("--pin-env", "BAD_PIN"), "refused"),
    "label in use": ("object=ec", (), "that label or id already"),
    "no label": ("", (), "object=LABEL"),
    "no token": ("token=none;object=x", (), "no token in"),
    "RSA 1024": ("object=x", ("--rsa", 1024), "2048 or 3072"),
    "a PIN in the URI": (f"object=x?pin-value={WRONG}", (), "'pin-value' is refused"),
}


@pytest.mark.parametrize(("names", "options", "words"), BAD_NEW_KEYS.values(), ids=BAD_NEW_KEYS)
def test_a_new_key_that_can_not_be(vaxpass, softhsm, names: str, options, words: str) -> None:
    """One line says what was found, exit 2, and there is no new key."""
    tokens = ("token", "list", "--module", softhsm.module)
    before = vaxpass(*tokens).out.count("public key")
    token = "" if "token=" in names else "token=vaxpass%20test;"
    query = "&" if "?" in names else "?"
    uri = f"pkcs11:{token}{names}".rstrip(";") + f"{query}module-path={softhsm.module}"
    done = vaxpass("token", "new-key", "--pin-env", "GOOD_PIN", *options, uri)
    assert (done.code, done.out) == (2, "")
    assert words in done.message
    assert WRONG not in done.err
    assert vaxpass(*tokens).out.count("public key") == before


def test_a_new_key_needs_a_uri(vaxpass, tmp_path: Path) -> None:
    """A key file's path is no URI, and no file is made."""
    done = vaxpass("token", "new-key", tmp_path / "key.pem")
    assert (done.code, done.out) == (2, "")
    assert "starts with 'pkcs11:'" in done.message
    assert list(tmp_path.iterdir()) == []
