"""``issue``: one record in, one payload out, by a key on a token or in a file."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from issuing import private_key
from running import C_LOCALE, RECORD, TODAY, dsc_for_today
from tokens.softhsm import PIN
from vaxpass_sign import inspect
from vaxpass_sign.qr import read_qr
from vaxpass_sign.x509 import pem

WRONG = "wrong-pin-0815"


@pytest.fixture
def pins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token's PIN and a wrong one in the environment."""
    monkeypatch.setenv("GOOD_PIN", PIN)
    monkeypatch.setenv("BAD_PIN", WRONG)
    monkeypatch.setenv("NO_PIN", "")


def written(path: Path, value: object) -> Path:
    """A record's file."""
    data = value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False).encode()
    path.write_bytes(data)
    return path


# --- what goes well ------------------------------------------------------------------------


def test_a_key_on_a_token_signs_what_verify_believes(vaxpass, desk, softhsm, pins) -> None:
    """The payload alone is on stdout, nothing on stderr, and verify finds it valid."""
    done = vaxpass(
        *("issue", "--key", softhsm.uri("ec"), "--dsc", desk.token_dsc),
        *("--pin-env", "GOOD_PIN", desk.record),
    )
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("HC1:")
    assert done.out.count("\n") == 1
    verdict = vaxpass(
        *("verify", "--trust", desk.trust, "--anchor", desk.csca), stdin=done.out.encode()
    )
    assert verdict.code == 0


def test_country_and_name_are_the_dscs(vaxpass, desk) -> None:
    """Who issues is what the DSC's subject says; a record may name its own issuer and country."""
    issue = ("issue", "--key", desk.key, "--dsc", desk.dsc_file, "-")
    plain = vaxpass(*issue, stdin=json.dumps(RECORD).encode())
    hcert = inspect(plain.out.strip())
    assert (hcert.issuer, hcert.payload["v"][0]["is"]) == ("VN", "Test ministry")
    own = RECORD | {"issuer": "Trạm y tế A", "country": "LA"}
    entry = inspect(vaxpass(*issue, stdin=json.dumps(own).encode()).out.strip()).payload["v"][0]
    assert (entry["is"], entry["co"]) == ("Trạm y tế A", "LA")


def test_validity_days_are_the_credentials(vaxpass, desk) -> None:
    """--validity-days is the time from issue to expiry."""
    issue = ("issue", "--key", desk.key, "--dsc", desk.dsc_file, "--validity-days", 30)
    hcert = inspect(vaxpass(*issue, desk.record).out.strip())
    assert hcert.expires_at - hcert.issued_at == timedelta(days=30)


@pytest.mark.parametrize("name", ["card.png", "card.SVG"])
def test_the_picture_holds_the_payload(vaxpass, desk, tmp_path: Path, name: str) -> None:
    """--qr writes a picture beside the payload on stdout, and stderr says so."""
    picture = tmp_path / name
    done = vaxpass("issue", "--key", desk.key, "--dsc", desk.dsc_file, "--qr", picture, desk.record)
    assert done.message == f"wrote {picture}"
    assert picture.stat().st_mode & 0o777 == 0o600
    if name.endswith("png"):
        assert read_qr(picture) == done.out.strip()


# --- PINs ----------------------------------------------------------------------------------


def test_a_pin_is_asked_for_at_the_terminal(terminal, desk, softhsm) -> None:
    """Without --pin-env and pin-source the PIN is asked for once and not shown."""
    shown = terminal(
        *("issue", "--key", softhsm.uri("ec"), "--dsc", desk.token_dsc, desk.record),
        answers=[(b"PIN of the token: ", PIN.encode() + b"\n")],
    )
    assert shown.code == 0
    assert shown.answered
    assert "HC1:" in shown.text


def test_a_record_may_come_by_a_pipe_while_the_pin_is_typed(terminal, desk, softhsm) -> None:
    """The prompt is the terminal's, so standard input is free for the record."""
    shown = terminal(
        *("issue", "--key", softhsm.uri("ec"), "--dsc", desk.token_dsc, "-"),
        answers=[(b"PIN of the token: ", PIN.encode() + b"\n")],
        stdin=desk.record,
    )
    assert shown.code == 0
    assert "HC1:" in shown.text


def test_no_pin_is_asked_for_where_none_is_needed(terminal, desk) -> None:
    """A key file without a password is used without a question."""
    shown = terminal("issue", "--key", desk.key, "--dsc", desk.dsc_file, desk.record)
    assert shown.code == 0
    assert shown.text.startswith("HC1:")


def test_a_key_files_password_is_asked_for(terminal, desk, tmp_path: Path) -> None:
    """An encrypted PEM file wants its password, by the same prompt."""
    encryption = BestAvailableEncryption(PIN.encode())
    key = tmp_path / "encrypted.pem"
    key.write_bytes(private_key("dsc").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    key.chmod(0o600)
    shown = terminal(
        *("issue", "--key", key, "--dsc", desk.dsc_file, desk.record),
        answers=[(b"Password of the key file: ", PIN.encode() + b"\n")],
    )
    assert shown.code == 0


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [(b"\x03", 130, "stopped"), (b"\x04", 2, "no PIN was given"), (b"\n", 2, "PIN is empty")],
    ids=["Ctrl-C", "Ctrl-D", "Enter"],
)
def test_a_prompt_can_be_left(terminal, desk, softhsm, answer, code: int, words: str) -> None:
    """Ctrl-C stops with 130; an empty answer sends nothing to the token."""
    shown = terminal(
        *("issue", "--key", softhsm.uri("ec"), "--dsc", desk.token_dsc, desk.record),
        answers=[(b"PIN of the token: ", answer)],
    )
    assert shown.code == code
    assert words in shown.text.splitlines()[-1]


def test_a_pin_source_is_read(vaxpass, desk, softhsm, tmp_path: Path) -> None:
    """The URI's pin-source needs no prompt."""
    (tmp_path / "pin").write_text(PIN)
    (tmp_path / "pin").chmod(0o600)
    key = f"{softhsm.uri('ec')}&pin-source=file:{tmp_path}/pin"
    done = vaxpass("issue", "--key", key, "--dsc", desk.token_dsc, desk.record)
    assert (done.code, done.err) == (0, "")


def test_without_a_terminal_nobody_is_asked(program, desk, softhsm) -> None:
    """With no terminal at all a missing PIN is an error that says where to put it."""
    done = program("issue", "--key", softhsm.uri("ec"), "--dsc", desk.token_dsc, desk.record)
    assert (done.code, done.out) == (2, "")
    assert "--pin-env" in done.message


def test_a_wrong_pin_is_sent_once(vaxpass, desk, softhsm, pins) -> None:
    """A wrong PIN: exit 2, how to unlock, and the right one works at once afterwards."""
    issue = ("issue", "--key", softhsm.uri("ec"), "--dsc", desk.token_dsc, desk.record)
    tokens = ("token", "list", "--module", softhsm.module)
    done = vaxpass(*issue, "--pin-env", "BAD_PIN")
    assert (done.code, done.out) == (2, "")
    assert WRONG not in done.err
    assert "sent once" in done.message
    assert "init-pin" in done.message
    assert "wrong PIN before" in vaxpass(*tokens).out
    assert vaxpass(*issue, "--pin-env", "GOOD_PIN").code == 0
    assert "wrong PIN before" not in vaxpass(*tokens).out


# --- bad input: exit 2, nothing signed -----------------------------------------------------

FIVE_FAULTS = {
    "full_name": "",
    "birth_date": "99/99/1987",
    "vaccine_name": "Elixir",
    "dose_number": 0,
    "vaccination_date": "20.11.2021",
}
BAD_RECORDS: dict[str, tuple[object, list[str]]] = {
    "not JSON": (b'{"full_name": "Th\xc3\xad D\xe1\xbb\xa5",', ["no JSON at line 1"]),
    "not UTF-8": (b'{"full_name": "Nguy\xff"}', ["not UTF-8"]),
    "empty": (b"", ["no JSON"]),
    "a list": ([RECORD], ["no object"]),
    "a name twice": (b'{"birth_date": "1987-04-12", "birth_date": "1988"}', ["stands twice"]),
    "a number without end": (b'{"dose_number": ' + b"9" * 9000 + b"}", ["no JSON"]),
    "nested without end": (b"[" * 90_000, ["no JSON"]),
    "too long": (b" " * 100_001, ["more than 100000 bytes"]),
    "an unknown field": (RECORD | {"birthdate": "1987-04-12"}, ["'birthdate'", "no record has"]),
    "a missing column": ({"full_name": "Thí Dụ"}, ["birth_date, dose_number", "vaccine_name"]),
    "five faults": (
        FIVE_FAULTS,
        ["surname", "birth_date", "vaccine_name", "dose_number", "vaccination_date"],
    ),
    "the future": (RECORD | {"vaccination_date": "2098-01-01"}, ["vaccination_date", "future"]),
}


@pytest.mark.parametrize(("record", "words"), BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_a_bad_record_is_not_signed(vaxpass, desk, tmp_path: Path, record, words) -> None:
    """A record that can't be one gives one line that names every fault, and no value of it."""
    path = written(tmp_path / "record.json", record)
    done = vaxpass("issue", "--key", desk.key, "--dsc", desk.dsc_file, path)
    assert (done.code, done.out) == (2, "")
    assert [word for word in words if word not in done.message] == []


def keys_and_dscs(desk: Any, softhsm: Any, folder: Path) -> dict[str, list[object]]:
    """Options that can't work together, by name."""

    def dsc(name: str, **changes: object) -> Path:
        path = folder / f"{name}.pem"
        path.write_bytes(pem(dsc_for_today("dsc", **changes).der))
        return path

    day = timedelta(days=1)
    module = softhsm.module
    token = ["--dsc", desk.token_dsc, "--pin-env", "GOOD_PIN"]
    uri = "pkcs11:token=vaxpass%20test;object=ec"
    text_file = written(folder / "no-module.so", b"no library")
    return {
        "no such token": ["--key", f"pkcs11:token=none;object=ec?module-path={module}", *token],
        "several keys": ["--key", f"pkcs11:token=vaxpass%20test?module-path={module}", *token],
        "no such key": ["--key", softhsm.uri("none"), *token],
        "no such module": ["--key", f"{uri}?module-path=/nowhere/lib.so", *token],
        "no library": ["--key", f"{uri}?module-path={text_file}", *token],
        "no PKCS#11 module": ["--key", f"{uri}?module-path={LIBC}", *token],
        "a PIN in the URI": ["--key", f"{uri}?pin-value={WRONG}", *token],
        "no URI": ["--key", "pkcs11:token", *token],
        "no PIN variable": ["--key", softhsm.uri("ec"), *token[:2], "--pin-env", "NO_PIN"],
        "another key's DSC": ["--key", desk.key, "--dsc", desk.token_dsc],
        "an RSA key": ["--key", softhsm.uri("rsa"), *token],
        "an expired DSC": ["--key", desk.key, "--dsc", dsc("old", not_after=TODAY - day)],
        "a short DSC": ["--key", desk.key, "--dsc", dsc("short", not_after=TODAY + 90 * day)],
        "a CSCA": ["--key", desk.key, "--dsc", desk.csca],
        "no such DSC": ["--key", desk.key, "--dsc", folder / "none.pem"],
        "no DSC": ["--key", desk.key, "--dsc", desk.record],
        "no such key file": ["--key", folder / "none.pem", "--dsc", desk.dsc_file],
        "no key file": ["--key", desk.dsc_file, "--dsc", desk.dsc_file],
    }


LIBC = next(iter(sorted(Path("/usr/lib").glob("*/libc.so.6"))), Path("/lib64/libc.so.6"))
BAD_KEYS = {
    "no such token": "'vaxpass test'",
    "several keys": "'ec'",
    "no such key": "'rsa'",
    "no such module": "does not exist",
    "no library": "not a shared library",
    "no PKCS#11 module": "not a PKCS#11 module",
    "a PIN in the URI": "'pin-value' is refused",
    "no URI": "name=value",
    "no PIN variable": "NO_PIN",
    "another key's DSC": "is not the certificate of this key",
    "an RSA key": "is not the certificate of this key",
    "an expired DSC": "use the DSC that is valid now",
    "a short DSC": "newer DSC",
    "a CSCA": "is no DSC",
    "no such DSC": "No such file",
    "no DSC": "neither PEM nor DER",
    "no such key file": "No such file",
    "no key file": "expected a PRIVATE KEY",
}


@pytest.mark.parametrize(("name", "words"), BAD_KEYS.items(), ids=BAD_KEYS)
def test_keys_and_dscs_that_can_not_sign(
    vaxpass, desk, softhsm, pins, tmp_path: Path, name: str, words: str
) -> None:
    """One line says what was found, and nothing is printed that could be taken for a payload."""
    done = vaxpass("issue", *keys_and_dscs(desk, softhsm, tmp_path)[name], desk.record)
    assert (done.code, done.out) == (2, "")
    assert words in done.message
    assert WRONG not in done.err


@pytest.mark.parametrize(
    ("name", "words"),
    [("none/card.png", "is no folder"), ("card.jpg", ".png or .svg"), ("card", "no suffix")],
)
def test_a_picture_that_can_not_be_is_refused_before_signing(
    vaxpass, desk, softhsm, tmp_path: Path, name: str, words: str
) -> None:
    """A bad --qr is found before the key is opened: its PIN is not even asked for."""
    options = ("--key", softhsm.uri("ec"), "--dsc", desk.token_dsc, "--pin-env", "UNSET_PIN")
    done = vaxpass("issue", *options, "--qr", tmp_path / name, desk.record)
    assert (done.code, done.out) == (2, "")
    assert words in done.message


def test_a_picture_that_fails_loses_no_payload(vaxpass, desk, tmp_path: Path) -> None:
    """If the picture can't be written after all, the payload is on stdout all the same."""
    taken = tmp_path / "folder.png"
    taken.mkdir()
    done = vaxpass("issue", "--key", desk.key, "--dsc", desk.dsc_file, "--qr", taken, desk.record)
    assert done.code == 2
    assert "can't be written" in done.message
    assert done.out.startswith("HC1:")


def test_names_in_any_locale(program, desk) -> None:
    """With LANG=C a record with Vietnamese names is read and signed."""
    done = program("issue", "--key", desk.key, "--dsc", desk.dsc_file, desk.record, env=C_LOCALE)
    assert inspect(done.out.strip()).payload["nam"]["gn"] == "Thị Thí Dụ"
