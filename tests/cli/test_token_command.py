"""``token list`` shows without a login; ``token new-key`` makes a key when two people say so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pkcs11.constants import Attribute, CertificateType, ObjectClass
from pkcs11.mechanisms import KeyType

from running import dsc_for_today
from tokens.softhsm import PIN
from vaxpass_sign.cli.two_people import check_different
from vaxpass_sign.errors import InputError
from vaxpass_sign.keys import listing, open_signer
from vaxpass_sign.keys.session import open_session
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
    [at] = [n for n, line in enumerate(lines) if line.startswith("  token 'vaxpass test' in slot ")]
    assert lines[at + 2] == "    state       login required, PIN set"
    assert lines[at + 3] == "    can sign    ES256 (CKM_ECDSA), PS256 (CKM_RSA_PKCS_PSS)"
    assert "    public key  'ec', EC P-256, id a1" in lines
    assert "    public key  'rsa', RSA 2048, id a2" in lines
    assert lines[-1].endswith("a token that is not initialised")


def test_a_listed_uri_can_be_copied(vaxpass, softhsm) -> None:
    """Below each key stands a URI that opens exactly this key."""
    lines = vaxpass("token", "list", "--module", softhsm.module).out.splitlines()
    for label in ("ec", "rsa"):
        [at] = [
            n for n, line in enumerate(lines) if line.startswith(f"    public key  {label!r}, ")
        ]
        uri = lines[at + 1].strip()
        parsed = Pkcs11Uri.parse(uri)
        assert (parsed.token, parsed.object) == (softhsm.token, label)
        assert parsed.module_path == str(softhsm.module)
        assert parsed.serial
        with open_signer(uri, PIN) as signer:
            assert signer.public_key == softhsm.keys[label].public_key()


ODD = "odd\x1b[2J\u202e\n"


@pytest.fixture(scope="module")
def odd(softhsm):
    """A token whose objects say what nobody should say."""
    softhsm.add_token("odd objects")
    uri = Pkcs11Uri.parse(softhsm.uri(token="odd objects"))
    with open_session(uri, softhsm.pin, writable=True) as opened:
        public = {
            Attribute.CLASS: ObjectClass.PUBLIC_KEY,
            Attribute.KEY_TYPE: KeyType.RSA,
            Attribute.TOKEN: True,
            Attribute.PRIVATE: False,
            Attribute.MODULUS: b"\xff" * 64,
            Attribute.PUBLIC_EXPONENT: b"\1\0\1",
        }
        certificate = {
            Attribute.CLASS: ObjectClass.CERTIFICATE,
            Attribute.CERTIFICATE_TYPE: CertificateType.X_509,
            Attribute.TOKEN: True,
            Attribute.PRIVATE: False,
            Attribute.SUBJECT: b"\x30\x00",
        }
        for template in (
            public | {Attribute.LABEL: ODD, Attribute.ID: b"\x01"},
            public | {Attribute.LABEL: "long " * 2000, Attribute.ID: b"\x02" * 4000},
            public | {Attribute.LABEL: "", Attribute.ID: b""},
            certificate | {Attribute.LABEL: "junk", Attribute.VALUE: b"junk"},
            certificate | {Attribute.LABEL: "huge", Attribute.VALUE: b"\x30\x82" + bytes(70_000)},
        ):
            opened.session.create_object(template)
    return softhsm


def test_odd_objects_are_shown_on_short_plain_lines(vaxpass, odd) -> None:
    """Steering characters are escaped, long values cut, and what can't be read is said to be so."""
    done = vaxpass("token", "list", "--module", odd.module)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert all(line.isprintable() for line in lines)
    assert r"    public key  'odd\x1b[2J\u202e\n', RSA 512, id 01" in lines
    assert "    public key  '', RSA 512, id none" in lines
    assert "    certificate 'junk', unknown, id none, that can't be read" in lines
    assert "    certificate 'huge', unknown, id none, that can't be read" in lines
    [long] = [line for line in lines if "'long long" in line]
    assert len(long) < 200
    uris = [line.strip() for line in lines if line.strip().startswith("pkcs11:")]
    assert any("object=odd%1B%5B2J" in uri for uri in uris)
    assert not any("object=long" in uri for uri in uris)  # longer than a URI may be


def test_nothing_to_sign_with(vaxpass, softhsm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token without any of the four mechanisms is shown as of no use here."""
    monkeypatch.setattr(listing, "signing_mechanism", lambda *_: None)
    done = vaxpass("token", "list", "--module", softhsm.module)
    assert "    can sign    nothing: no HCERT can be signed here" in done.out.splitlines()


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


def test_list_goes_on_after_a_bad_token(vaxpass, proxied, proxy) -> None:
    """A slot whose token can't be read is one line on stderr and exit 2; the others are shown."""
    whole = vaxpass("token", "list", "--module", proxied.module)
    assert (whole.code, whole.err) == (0, "")
    tokens = whole.out.count("  token '")
    proxy.fail("C_GetTokenInfo", "CKR_DEVICE_ERROR")
    done = vaxpass("token", "list", "--module", proxied.module)
    assert done.code == 2
    assert done.message.startswith("reading the token on slot ")
    assert "DeviceError" in done.message
    assert done.out.count("  token '") == tokens - 1
    assert done.out.splitlines()[-1].endswith("a token that is not initialised")


@pytest.mark.parametrize("function", ["C_OpenSession", "C_FindObjectsInit", "C_FindObjects"])
def test_list_shows_a_token_whose_keys_can_not_be_read(program, proxied, proxy, function) -> None:
    """What a token said before it failed is shown, with a line on stderr and exit 2."""
    proxy.fail(function, "CKR_GENERAL_ERROR")
    done = program("token", "list", "--module", proxied.module)
    assert done.code == 2
    assert re.match(
        r"(listing keys|opening a session) on token '.*' \(serial .*\) failed \(GeneralError\)",
        done.message,
    )
    assert "'vaxpass test'" in done.out
    assert "can sign    ES256" in done.out


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
    new_key = ("token", "new-key", "--yes", "--pin-env", "GOOD_PIN", *options)
    done = vaxpass(*new_key, softhsm.uri(label))
    uri = done.out.strip()
    assert done.code == 0
    assert f"made the {kind} key '{label}'" in done.message
    assert "CKA_NEVER_EXTRACTABLE=true" in done.message
    assert done.message.endswith("confirmed by nobody (--yes)")
    assert Pkcs11Uri.parse(uri).object == label
    assert Pkcs11Uri.parse(uri).serial
    with open_signer(uri, pin=PIN) as signer:
        dsc = dsc_for_today(label, public_key=signer.public_key)
    (tmp_path / "dsc.pem").write_bytes(pem(dsc.der))
    issue = ("issue", "--pin-env", "GOOD_PIN", "--dsc", tmp_path / "dsc.pem", desk.record)
    assert vaxpass(*issue, "--key", uri).code == 0


def public_keys(vaxpass, softhsm) -> int:
    return vaxpass("token", "list", "--module", softhsm.module).out.count("public key  ")


PIN_ASKED = (b"PIN of the token: ", PIN.encode() + b"\n")


def test_new_key_asks_for_the_pin_and_two_people(terminal, softhsm) -> None:
    """At a terminal it shows what will be made, asks two people, and names them at the end."""
    shown = terminal(
        *("token", "new-key", softhsm.uri("asked for")),
        answers=[
            PIN_ASKED,
            (b"first person: ", b" N.V.A \n"),
            (b"second person: ", "Bình\n".encode()),
        ],
    )
    assert (shown.code, shown.answered) == (0, 3)
    text = shown.text.replace("\r\n", "\n")
    before, after = text.split("vaxpass-sign: first person: ")
    assert "to make   a P-256 key pair 'asked for'" in before
    assert re.search(r"on token  'vaxpass test', serial \w+, SoftHSM project SoftHSM v2\n", before)
    assert "pkcs11:token=" in after
    assert after.rstrip().endswith("confirmed by N.V.A and Bình")


def test_the_uri_is_alone_on_stdout(terminal, softhsm, tmp_path: Path) -> None:
    """KEY=$(vaxpass-sign token new-key …) at a terminal: questions to stderr, the URI to stdout."""
    shown = terminal(
        *("token", "new-key", softhsm.uri("captured")),
        answers=[PIN_ASKED, (b"first person: ", b"An\n"), (b"second person: ", b"Binh\n")],
        stdout=tmp_path / "uri",
    )
    assert (shown.code, shown.answered) == (0, 3)
    uri = (tmp_path / "uri").read_text()
    assert uri == f"{Pkcs11Uri.parse(uri.rstrip())}\n"


NOT_TWO_PEOPLE: dict[str, tuple[list[tuple[bytes, bytes]], int, str]] = {
    "one person": (
        [(b"first person: ", b"An B\n"), (b"second person: ", b"  aN b\n")],
        2,
        "the same name was typed twice",
    ),
    "nobody": (
        [(b"first person: ", b" \n"), (b"second person: ", b"An\n")],
        2,
        "found an empty name",
    ),
    "the first says no": ([(b"first person: ", b"\x03")], 130, "stopped"),
    "the second says no": (
        [(b"first person: ", b"An\n"), (b"second person: ", b"\x03")],
        130,
        "stopped",
    ),
    "the second leaves": (
        [(b"first person: ", b"An\n"), (b"second person: ", b"\x04")],
        2,
        "found no answer",
    ),
}


@pytest.mark.parametrize(("answers", "code", "words"), NOT_TWO_PEOPLE.values(), ids=NOT_TWO_PEOPLE)
def test_no_key_without_two_people(
    vaxpass, terminal, softhsm, answers: list[tuple[bytes, bytes]], code: int, words: str
) -> None:
    """One person, an empty name or Ctrl-C at either question: a line, and no key."""
    before = public_keys(vaxpass, softhsm)
    new_key = ("token", "new-key", softhsm.uri("unconfirmed"))
    shown = terminal(*new_key, answers=[PIN_ASKED, *answers])
    assert (shown.code, shown.answered) == (code, 1 + len(answers))
    assert words in shown.text.splitlines()[-1]
    assert "aN b" not in shown.text.splitlines()[-1]
    assert public_keys(vaxpass, softhsm) == before


def test_no_terminal_and_no_yes(vaxpass, softhsm) -> None:
    """Without a terminal and without --yes: a refusal before the PIN is sent, and no key."""
    before = public_keys(vaxpass, softhsm)
    # A wrong PIN would say so.
    new_key = ("token", "new-key", "--pin-env", "BAD_PIN", softhsm.uri("unattended"))
    done = vaxpass(*new_key, stdin=b"An\nBinh\n")
    assert (done.code, done.out) == (2, "")
    assert done.message.startswith("nothing was made: two people must confirm")
    assert "--yes" in done.message
    assert public_keys(vaxpass, softhsm) == before


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        pytest.param("An", "an", "typed twice", id="case"),
        pytest.param("T. An", "T.An", "typed twice", id="blanks"),
        pytest.param("Bi\u0300nh", "b\u00ccnh", "typed twice", id="Unicode forms"),
        pytest.param("ＡＮ", "an", "typed twice", id="wide letters"),
        pytest.param("An\u200b", "an", "typed twice", id="a space that can't be seen"),
        pytest.param("", "An", "empty", id="empty"),
        pytest.param("An", " \u200b", "empty", id="nothing to be seen"),
        pytest.param("An", "B" * 65, "more than 64", id="long"),
    ],
)
def test_not_two_names(first: str, second: str, words: str) -> None:
    """Names that are one person's, nobody's or endless are refused and not repeated."""
    with pytest.raises(InputError, match=words) as caught:
        check_different(first, second)
    assert "An" not in str(caught.value)


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
    before = public_keys(vaxpass, softhsm)
    token = "" if "token=" in names else "token=vaxpass%20test;"
    query = "&" if "?" in names else "?"
    uri = f"pkcs11:{token}{names}".rstrip(";") + f"{query}module-path={softhsm.module}"
    done = vaxpass("token", "new-key", "--yes", "--pin-env", "GOOD_PIN", *options, uri)
    assert (done.code, done.out) == (2, "")
    assert words in done.message
    assert WRONG not in done.err
    assert public_keys(vaxpass, softhsm) == before


def test_a_new_key_needs_a_uri(vaxpass, tmp_path: Path) -> None:
    """A key file's path is no URI, and no file is made."""
    done = vaxpass("token", "new-key", "--yes", tmp_path / "key.pem")
    assert (done.code, done.out) == (2, "")
    assert "starts with 'pkcs11:'" in done.message
    assert list(tmp_path.iterdir()) == []
