"""``verify``: exit codes, and what a person and a program are told."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import base45
import cbor2
import pytest
from PIL import Image

from issuing import private_key, sign_csca, signer_of
from running import C_LOCALE, PROGRAM, Desk
from vaxpass_sign import inspect
from vaxpass_sign.check.revocation import HashType, Scope, write_store
from vaxpass_sign.check.revocation.hashes import hashes_of
from vaxpass_sign.hcert import cose
from vaxpass_sign.qr import qr_png
from vaxpass_sign.x509 import Certificate, pem

# Sequences that clear the screen, set the window's title, forge a line, and turn the direction.
HOSTILE = "Ng\x1b[2J\x1b]0;pwned\x07uyễn\r\nVALID\x9b31m\u202eTrần\u2066\u200b\x7f"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def text_of(message: bytes) -> str:
    return "HC1:" + base45.b45encode(zlib.compress(message)).decode()


def signed(claims: object, dsc: Certificate) -> str:
    """A text whose signature is the DSC's, over whatever is asked for."""
    signer = signer_of(private_key("dsc"))
    header = cbor2.dumps({1: int(signer.alg), 4: dsc.kid})
    payload = claims if isinstance(claims, bytes) else cbor2.dumps(claims)
    (signature,) = signer.sign([cose.sig_structure(header, payload)])
    return text_of(b"\xd2" + cbor2.dumps([header, {}, payload, signature]))


def hostile(desk: Desk) -> str:
    """A credential of our own DSC with names that want to steer a terminal."""
    claims = dict(inspect(desk.text).claims)
    dcc = claims[-260][1]
    names = {**dcc["nam"], "fn": HOSTILE, "gn": HOSTILE}
    return signed({**claims, -260: {1: {**dcc, "nam": names}}}, desk.dsc)


def picture(*texts: str) -> bytes:
    """A PNG with a QR symbol for each text, side by side."""
    symbols = [Image.open(io.BytesIO(qr_png(text))).convert("L") for text in texts]
    page = Image.new("L", (sum(s.width for s in symbols) or 300, 800), 255)
    left = 0
    for symbol in symbols:
        page.paste(symbol, (left, 0))
        left += symbol.width
    out = io.BytesIO()
    page.save(out, format="PNG")
    return out.getvalue()


# --- payloads that are not valid: exit 1 ---------------------------------------------------

DEEP = b"\x81" * 20_000 + b"\x01"
BAD_PAYLOADS: dict[str, tuple[Callable[[Desk], str], str]] = {
    "not HC1": (lambda desk: "HC2:" + desk.text[4:], "not_hc1"),
    "any text": (lambda desk: "a boarding pass", "not_hc1"),
    # Groups of three characters: one left over is no base45.
    "truncated base45": (lambda desk: desk.text[: 4 + 3 * 100 + 1], "base45"),
    "cut in half": (lambda desk: desk.text[: 4 + 3 * 60], "inflate"),
    "a bomb": (lambda desk: text_of(bytes(2_000_000)), "inflated_too_large"),
    "100,000 levels": (lambda desk: text_of(b"\x81" * 100_000), "inflated_too_large"),
    "20,000 levels inside": (lambda desk: signed(DEEP, desk.dsc), "cbor_too_deep"),
    "a shared reference": (
        lambda desk: signed(b"\xa1\x01\xd8\x1c\x81\xd8\x1d\x00", desk.dsc),
        "cbor_tag",
    ),
    "a changed signature": (
        lambda desk: text_of(forged_message(desk.text)),
        "signature",
    ),
    "no EU DCC": (lambda desk: signed({4: 4e9, 1: "VN"}, desk.dsc), "no_eu_dcc"),
}


def forged_message(text: str) -> bytes:
    message = bytearray(zlib.decompress(base45.b45decode(text[4:])))
    message[-1] ^= 1
    return bytes(message)


@pytest.mark.parametrize(("make", "reason"), BAD_PAYLOADS.values(), ids=BAD_PAYLOADS)
def test_a_bad_payload_is_not_valid(vaxpass, desk, make, reason: str) -> None:
    """What was read and is not valid gives exit 1, its reason on stdout, and nothing on stderr."""
    done = vaxpass("verify", "--trust", desk.trust, stdin=make(desk).encode())
    assert done.code == 1
    assert done.err == ""
    assert done.out.startswith("NOT VALID  standard input, line 1\n  because ")
    assert f"[{reason}]" in done.out


@pytest.mark.parametrize(("make", "reason"), BAD_PAYLOADS.values(), ids=BAD_PAYLOADS)
def test_json_of_a_bad_payload(vaxpass, desk, make, reason: str) -> None:
    """--json gives one object with the reason, and the same exit code."""
    done = vaxpass("verify", "--json", "--trust", desk.trust, stdin=make(desk).encode())
    [found] = done.objects
    assert (done.code, found["valid"], found["reason"]) == (1, False, reason)
    assert done.err == ""


def test_what_an_invalid_credential_says_is_marked(vaxpass, desk) -> None:
    """Expired: why comes first, and what it says stands below a warning."""
    done = vaxpass("verify", "--trust", desk.trust, "--at", "2040-01-01T00:00:00Z", desk.payload)
    lines = done.out.splitlines()
    assert done.code == 1
    assert "expired" in lines[1]
    warned = lines.index("  Do not believe what it says:")
    assert "Thí Dụ" in lines[warned + 1]


# --- inputs that can't be decided: exit 2 --------------------------------------------------

BAD_INPUTS: dict[str, tuple[str, Callable[[Desk], bytes] | None, str]] = {
    "no QR": ("blank.png", lambda desk: picture(), "no QR code was found"),
    "a damaged PNG": ("cut.png", lambda desk: picture(desk.text)[:300], "damaged"),
    "another picture": ("old.gif", lambda desk: b"GIF89a\1\0\1\0\0\0\0;", "PNG nor JPEG"),
    "a damaged PDF": ("cut.pdf", lambda desk: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "damaged"),
    "empty": ("empty.txt", lambda desk: b"", "found nothing"),
    "blank lines": ("blank.txt", lambda desk: b"\n \r\n\n", "found no payload"),
    "missing": ("nowhere.txt", None, "No such file"),
    "an empty folder": (".", None, "found no file"),
}


@pytest.mark.parametrize(("name", "make", "words"), BAD_INPUTS.values(), ids=BAD_INPUTS)
def test_what_can_not_be_read_is_not_decided(
    vaxpass, desk, tmp_path: Path, name: str, make, words: str
) -> None:
    """An input without a payload gives exit 2 and one line that names it; nothing on stdout."""
    path = tmp_path / name
    if make:
        path.write_bytes(make(desk))
    done = vaxpass("verify", "--trust", desk.trust, path)
    assert done.code == 2
    assert done.out == ""
    assert words in done.message
    assert str(path) in done.message


def test_json_of_an_undecided_input(vaxpass, desk, tmp_path: Path) -> None:
    """A program gets an object for what could not be read too: valid is null."""
    done = vaxpass("verify", "--json", "--trust", desk.trust, tmp_path / "none.png", desk.payload)
    undecided, valid = done.objects
    assert done.code == 2
    assert undecided["valid"] is None
    assert undecided["error"] == done.message
    assert undecided["input"].endswith("none.png")
    assert valid["valid"] is True


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ("valid", 0),
        ("valid valid", 0),
        ("valid missing", 2),
        ("missing valid", 2),
        ("bad missing", 1),
        ("missing bad", 1),
        ("valid bad valid", 1),
        ("missing", 2),
    ],
)
def test_exit_code_of_mixed_inputs(vaxpass, desk, tmp_path: Path, inputs: str, code: int) -> None:
    """Any that is not valid: 1; else any that could not be decided: 2; else 0."""
    bad = tmp_path / "bad.txt"
    bad.write_text(desk.text[:-1])
    paths = {"valid": desk.payload, "bad": bad, "missing": tmp_path / "missing.txt"}
    done = vaxpass("verify", "--trust", desk.trust, *map(paths.__getitem__, inputs.split()))
    assert done.code == code


# --- trust ---------------------------------------------------------------------------------


def test_without_trust_nothing_is_decided(vaxpass, desk, tmp_path: Path, monkeypatch) -> None:
    """No --trust and an empty trust store: exit 2, and where DSCs are looked for."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    done = vaxpass("verify", desk.payload)
    assert (done.code, done.out) == (2, "")
    assert str(tmp_path / "vaxpass-sign" / "trust") in done.message
    assert "--trust" in done.message


def test_the_users_trust_store_is_used(vaxpass, desk, tmp_path: Path, monkeypatch) -> None:
    """Without --trust the DSCs in the user's data folder count."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    store = tmp_path / "vaxpass-sign" / "trust"
    store.mkdir(parents=True)
    (store / "dsc.pem").write_bytes(desk.dsc_file.read_bytes())
    assert vaxpass("verify", desk.payload).code == 0


BAD_TRUST: dict[str, tuple[Callable[[Desk, Path], list[object]], str]] = {
    "an empty folder": (lambda desk, folder: ["--trust", folder], "found no .pem"),
    "garbage": (lambda desk, folder: ["--trust", garbage(folder)], "neither PEM nor DER"),
    "a folder with garbage": (
        lambda desk, folder: ["--trust", garbage(folder).parent],
        "neither PEM nor DER",
    ),
    "missing": (lambda desk, folder: ["--trust", folder / "none"], "No such file"),
    "another CSCA": (
        lambda desk, folder: ["--trust", desk.trust, "--anchor", other_csca(folder)],
        "none issued by",
    ),
    "a garbage CSCA": (
        lambda desk, folder: ["--trust", desk.trust, "--anchor", garbage(folder)],
        "--anchor: ",
    ),
}


def garbage(folder: Path) -> Path:
    path = folder / "dsc.pem"
    path.write_bytes(b"\x00garbage\xff")
    return path


def other_csca(folder: Path) -> Path:
    path = folder / "other.pem"
    path.write_bytes(pem(sign_csca("other csca").der))
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("options", "words"), BAD_TRUST.values(), ids=BAD_TRUST)
def test_bad_trust_decides_nothing(vaxpass, desk, tmp_path: Path, options, words: str) -> None:
    """Trust that can't be used gives exit 2 and one line, before anything is read."""
    done = vaxpass("verify", *options(desk, tmp_path), desk.payload)
    assert (done.code, done.out) == (2, "")
    assert words in done.message


def test_with_an_anchor_the_csca_was_checked(vaxpass, desk) -> None:
    """--anchor takes the CSCA from the list of what was not checked, which is one line."""
    without = vaxpass("verify", "--trust", desk.trust, desk.payload).out
    anchored = vaxpass("verify", "--trust", desk.trust, "--anchor", desk.csca, desk.payload).out
    [line] = [line for line in without.splitlines() if "not checked" in line]
    assert "CSCA" in line
    [line] = [line for line in anchored.splitlines() if "not checked" in line]
    assert "CSCA" not in line


@pytest.mark.parametrize(
    "at", ["2026-11-22T10:00:00", "2026-11-22", "yesterday", "2026-11-22T10:00:00+99:00"]
)
def test_at_needs_an_offset(vaxpass, desk, at: str) -> None:
    """A moment that could be several ones, or none, is refused."""
    done = vaxpass("verify", "--trust", desk.trust, "--at", at, desk.payload)
    assert (done.code, done.out) == (2, "")
    assert "offset" in done.message


def test_at_is_the_moment_that_counts(vaxpass, desk) -> None:
    """--at judges for that moment: a week before issue it was not yet valid."""
    early = (inspect(desk.text).issued_at - timedelta(days=7)).isoformat()
    done = vaxpass("verify", "--json", "--trust", desk.trust, "--at", early, desk.payload)
    assert done.objects[0]["reason"] == "not_yet_valid"


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        ([], {"LANG": "C.UTF-8"}, "It has expired."),
        ([], {"LANG": "vi_VN.UTF-8"}, "Chứng nhận đã hết hạn."),
        ([], {"LANG": "vi_VN.UTF-8", "LC_ALL": "en_US.UTF-8"}, "It has expired."),
        ([], {"LANG": "fr_FR.UTF-8"}, "It has expired."),
        (["--lang", "vi"], {"LANG": "C.UTF-8"}, "Chứng nhận đã hết hạn."),
        (["--lang", "en"], {"LANG": "vi_VN.UTF-8"}, "It has expired."),
    ],
)
def test_advice_in_ones_language(vaxpass, desk, monkeypatch, arguments, variables, said) -> None:
    """As asked for, else as the environment says, else English; for a person and for a program."""
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    late = "2031-01-01T00:00:00Z"
    asked = ["verify", "--trust", desk.trust, "--at", late, *arguments]
    done = vaxpass(*asked, stdin=desk.text.encode())
    assert re.search(rf"^  advice +{said}", done.out, re.MULTILINE)
    [found] = vaxpass(*asked, "--json", stdin=desk.text.encode()).objects
    assert found["advice"].startswith(said)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [("--lang", "de", "one of en, vi"), ("--policy", "lax", "one of strict, eu, who, vietnam")],
)
def test_what_is_not_there(vaxpass, desk, option: str, value: str, expected: str) -> None:
    """Another language or policy is an error that lists what there is; nothing is verified."""
    done = vaxpass("verify", "--trust", desk.trust, option, value, stdin=desk.text.encode())
    assert (done.code, done.out) == (2, "")
    assert expected in done.err
    assert len(done.err.splitlines()) == 1


def test_revoked_by_a_store(vaxpass, desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, a folder, or the user's own folder of them: not valid, exit 1; without any, valid."""
    hcert, end = inspect(desk.text), datetime.now(UTC) + timedelta(days=1)
    scope = Scope(HashType.SIGNATURE, "VN", hcert.kid)
    path = tmp_path / "vn.vxrev"
    write_store(path, [(scope, hashes_of(hcert, HashType.SIGNATURE))], expires_at=end)

    def said(*options: object) -> tuple[str, int, str]:
        done = vaxpass(
            *("verify", "--json", "--trust", desk.trust, *options), stdin=desk.text.encode()
        )
        return done.objects[0]["reason"], done.code, done.err

    assert said() == ("valid", 0, "")
    assert said("--revocation", path) == ("revoked", 1, "")
    assert said("--revocation", tmp_path) == ("revoked", 1, "")
    own = tmp_path / "data" / "vaxpass-sign" / "revocation"
    own.mkdir(parents=True)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert said() == ("valid", 0, "")
    path.rename(own / "vn.vxrev")
    assert said() == ("revoked", 1, "")
    late = f"{end + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    reason, code, err = said("--at", late)
    assert (reason, code) == ("revoked", 1)
    assert err.startswith(f"vaxpass-sign: {own / 'vn.vxrev'} expired at ")
    assert len(err.splitlines()) == 1


def test_the_users_folder_is_a_file(vaxpass, desk, tmp_path: Path, monkeypatch) -> None:
    """Or can't be read, say: not passed over as if nothing was there."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    own = tmp_path / "vaxpass-sign" / "revocation"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"")
    done = vaxpass("verify", "--trust", desk.trust, stdin=desk.text.encode())
    assert (done.code, done.out) == (2, "")
    assert f"{own}: found something else, expected a file of revocation entries" in done.err
    # An operator has put the store itself in its place.
    end = datetime.now(UTC) + timedelta(days=7)
    hcert = inspect(desk.text)
    scope = Scope(HashType.SIGNATURE, "VN", hcert.kid)
    write_store(own, [(scope, hashes_of(hcert, HashType.SIGNATURE))], expires_at=end)
    done = vaxpass("verify", "--json", "--trust", desk.trust, stdin=desk.text.encode())
    assert done.objects[0]["reason"] == "revoked"


def test_a_revocation_file_that_is_none(vaxpass, desk) -> None:
    """Nothing is verified without what was asked for."""
    done = vaxpass(
        *("verify", "--trust", desk.trust, "--revocation", desk.payload), stdin=desk.text.encode()
    )
    assert (done.code, done.out) == (2, "")
    assert "expected a file of revocation entries" in done.err
    assert len(done.err.splitlines()) == 1


def test_a_policy_by_name(vaxpass, desk) -> None:
    """strict believes no list without anchors; the same credential is valid for others."""
    verdicts = {}
    for policy in ("strict", "eu", "who", "vietnam"):
        done = vaxpass(
            *("verify", "--json", "--trust", desk.trust, "--policy", policy),
            stdin=desk.text.encode(),
        )
        [found] = done.objects
        assert found["policy"] == policy
        verdicts[policy] = found["reason"], done.code
    valid = ("valid", 0)
    assert verdicts == {"strict": ("dsc_untrusted", 1), "eu": valid, "who": valid, "vietnam": valid}


# --- what is read, and what is said --------------------------------------------------------


def test_a_person_reads_verdict_then_whose_it_is_then_why(vaxpass, desk) -> None:
    """The first line is the verdict; then the holder, what it says, and who signed."""
    done = vaxpass("verify", "--trust", desk.trust, desk.payload)
    lines = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert lines[0] == f"VALID  {desk.payload}, line 1"
    assert [line.split("  ")[1] for line in lines[1:]] == [
        *("name", "born", "vaccinated", "against", "vaccine", "made by"),
        *("UVCI", "issuer", "valid", "signed by", "not checked", "advice"),
    ]
    assert lines[1].endswith("Nguyễn Thị Thí Dụ (NGUYEN<<THI<THI<DU)")
    assert lines[3].endswith("2021-11-20 in Viet Nam, dose 2 of 2")
    assert "Comirnaty" in lines[5]


def test_json_is_one_object_a_payload_in_order(vaxpass, desk, tmp_path: Path) -> None:
    """Objects come in the order of the inputs, each with its place."""
    three = tmp_path / "three.txt"
    three.write_text(f"\ufeff{desk.text}\n\nHC1:NO\r\n  {desk.text}\n", encoding="utf-8")
    done = vaxpass("verify", "--json", "--trust", desk.trust, three, desk.text)
    places = [(o["input"], o["line"], o["valid"]) for o in done.objects]
    assert places == [
        *((str(three), 1, True), (str(three), 3, False), (str(three), 4, True)),
        ("argument 2", None, True),
    ]
    assert done.err == ""


def test_json_of_a_valid_credential(vaxpass, desk) -> None:
    """The object has the payload, the DSC and what was not checked, with times of RFC 3339."""
    [found] = vaxpass("verify", "--json", "--trust", desk.trust, desk.payload).objects
    assert found["reason"] == "valid"
    assert found["hcert"]["payload"]["nam"]["fn"] == "Nguyễn"
    assert found["hcert"]["issued_at"].endswith("Z")
    assert found["dsc"]["kid"] == desk.dsc.kid.hex() == found["hcert"]["kid"]
    assert found["not_checked"] == ["holder", "revocation", "rules", "csca"]


@pytest.mark.parametrize("arguments", [[], ["-"]], ids=["nothing given", "-"])
def test_standard_input_is_read(vaxpass, desk, arguments: list[str]) -> None:
    """``-`` and no input at all mean standard input."""
    done = vaxpass("verify", "--trust", desk.trust, *arguments, stdin=desk.text.encode())
    assert (done.code, done.err) == (0, "")


def test_a_picture_is_read_from_file_and_standard_input(vaxpass, desk, tmp_path: Path) -> None:
    """A PNG counts as one payload, wherever it comes from."""
    path = tmp_path / "slip.png"
    path.write_bytes(picture(desk.text))
    assert vaxpass("verify", "--trust", desk.trust, path).code == 0
    assert vaxpass("verify", "--trust", desk.trust, stdin=path.read_bytes()).code == 0


def test_several_inputs_are_counted(vaxpass, desk, tmp_path: Path) -> None:
    """After more than one, stderr says how many there were of each."""
    done = vaxpass("verify", "--trust", desk.trust, desk.payload, "HC1:NO", desk.payload)
    assert done.message == "2 valid, 1 not valid, 0 could not be read"


def test_a_line_without_end_is_one_payload(vaxpass, desk) -> None:
    """A line of a million characters is refused as one, and the next line is read."""
    lines = b"HC1:" + b"A" * 1_000_000 + b"\n" + desk.text.encode()
    done = vaxpass("verify", "--json", "--trust", desk.trust, stdin=lines)
    assert [(o["line"], o["reason"]) for o in done.objects] == [(1, "too_long"), (2, "valid")]


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["for a person", "as JSON"])
@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_nothing_raw_reaches_a_terminal(
    vaxpass, desk, command: str, options: list[str], monkeypatch, tmp_path: Path
) -> None:
    """Escape sequences and direction marks of a name are replaced, or escaped in JSON."""
    text = hostile(desk)
    trust = ["--trust", desk.trust] if command == "verify" else []
    path = tmp_path / "a\x1b[31m\u202eb.txt"
    path.write_text(text)
    done = vaxpass(command, *trust, *options, path, tmp_path / "\x1b[2Jnone.txt")
    assert done.code == 2
    assert all(line.isprintable() for line in (done.out + done.err).split("\n"))
    if options:
        payload = json.dumps(done.objects[0], ensure_ascii=False)
        assert json.dumps(HOSTILE, ensure_ascii=False) in payload


def test_a_hostile_name_at_a_terminal(terminal, desk, tmp_path: Path) -> None:
    """At a terminal the only escape sequences are our own colours."""
    path = tmp_path / "hostile.txt"
    path.write_text(hostile(desk))
    shown = terminal("verify", "--trust", desk.trust, path.name)
    assert shown.code == 0
    assert "\x1b[32m" in shown.text
    lines = COLOUR.sub("", shown.text).replace("\r\n", "\n").split("\n")
    assert all(line.isprintable() and len(line) <= 80 for line in lines)


# --- as a process --------------------------------------------------------------------------


def test_at_a_terminal_it_says_what_it_waits_for(terminal, desk) -> None:
    """Without an input it asks for payloads and answers each line at once, until Ctrl-D."""
    shown = terminal(
        *("verify", "--trust", desk.trust),
        answers=[
            (b"waiting for payloads", desk.text.encode() + b"\n"),
            (b"not checked", b"HC1:NO\n"),
            (b"NOT VALID", b"\x04"),
        ],
    )
    assert shown.code == 1
    assert shown.answered == 3


def test_no_colour_where_it_is_not_wanted(terminal, desk) -> None:
    """NO_COLOR takes the colours away at a terminal too."""
    shown = terminal("verify", "--trust", desk.trust, desk.payload, env={"NO_COLOR": "1"})
    assert shown.text.startswith("VALID")
    assert "\x1b" not in shown.text


def test_names_are_utf8_whatever_the_locale(program, desk) -> None:
    """With LANG=C a Vietnamese name comes out whole, in UTF-8."""
    done = program("verify", "--trust", desk.trust, desk.payload, env=C_LOCALE)
    assert done.code == 0
    assert "Nguyễn Thị Thí Dụ" in done.out


def test_a_reader_who_has_enough_is_no_fault(desk, tmp_path: Path) -> None:
    """When stdout is closed in the middle, nothing is said about it."""
    many = tmp_path / "many.txt"
    many.write_text(f"{desk.text}\n" * 4000)
    with subprocess.Popen(
        [*PROGRAM, "verify", "--trust", desk.trust, many],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout.readline().startswith(b"VALID")
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(timeout=30) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has /dev/full")
def test_output_that_can_not_be_written(desk) -> None:
    """A full disk under stdout is one line and exit 2."""
    command = [*PROGRAM, "verify", "--trust", desk.trust, desk.payload]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "No space left" in done.stderr


NOT_FOR_VERIFY = (
    *("rich", "pkcs11", "asn1crypto", "ctypes", "numpy", "pyarrow", "duckdb", "PIL", "zxingcpp"),
    "pypdfium2",
    *("vaxpass_sign.issuer", "vaxpass_sign.keys", "vaxpass_sign.prepare", "vaxpass_sign.campaign"),
    *("vaxpass_sign.x509.building", "vaxpass_sign.x509.draft", "vaxpass_sign.hcert.columns"),
    *("vaxpass_sign.record.model", "vaxpass_sign.record.names", "vaxpass_sign.sample"),
    *("vaxpass_sign.cli.issue", "vaxpass_sign.cli.token", "vaxpass_sign.cli.demo"),
    "getpass",
)


def test_verifying_one_imports_nothing_that_it_does_not_need(desk) -> None:
    """Verifying one payload, cold, leaves alone what signing, tables and pictures need."""
    code = (
        "import sys, atexit\n"
        f"names = {NOT_FOR_VERIFY!r}\n"
        "atexit.register(lambda: print([n for n in names if n in sys.modules], file=sys.stderr))\n"
        "from vaxpass_sign.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "verify", "--trust", str(desk.trust), str(desk.payload)],
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert done.returncode == 0
    assert done.stdout.startswith("VALID")
    assert done.stderr == "[]\n"
