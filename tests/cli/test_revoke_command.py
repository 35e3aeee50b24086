"""``revoke``: from a credential to its refusal, and what each command refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import base45
import cbor2
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import campaigns
from issuing import private_key, signer_of
from running import RECORD, TODAY, dsc_for_today
from tokens.softhsm import SoftHsm
from vaxpass_sign import inspect
from vaxpass_sign.check.revocation import HashType, RevocationStore, Scope, write_store
from vaxpass_sign.check.revocation.hashes import hash_country_uci, hash_signature, hash_uci
from vaxpass_sign.hcert import codec
from vaxpass_sign.issuer import Issuer
from vaxpass_sign.prepare.doses import record_from_mapping
from vaxpass_sign.record.uvci import random_uvci
from vaxpass_sign.revocation.register import Register
from vaxpass_sign.x509 import pem

N_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
SOON = (TODAY + timedelta(days=30)).isoformat()


@dataclass
class Office:
    """A folder with a register's place, a key for batches and its certificate, and credentials."""

    folder: Path
    text: str
    """A credential of Vietnam; the file ``payload`` holds it."""
    other: str
    foreign: str

    def __post_init__(self) -> None:
        self.register = self.folder / "register"
        self.out = self.folder / "out"
        self.store = self.folder / "store"
        self.key = self.folder / "upload.key"
        self.cert = self.folder / "upload.pem"
        self.payload = self.folder / "payload.txt"
        private = private_key("upload")
        self.key.write_bytes(
            private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        self.key.chmod(0o600)
        self.cert.write_bytes(pem(dsc_for_today("upload").der))
        self.payload.write_text(self.text + "\n")

    def rows(self) -> list[tuple[Scope, bytes]]:
        with Register.open(self.register) as register:
            return [
                (scope, entry)
                for scope, some in register.unexpired(int(time.time()))
                for entry in some
            ]


def issue(country: str = "VN", uvci: str | None = None, **changes) -> str:
    issuer = Issuer(signer_of(private_key("dsc")), dsc_for_today(), country, "Bộ Y tế", **changes)
    return issuer.issue(record_from_mapping(RECORD), uvci)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path, issue(), issue(), issue("LA"))


@pytest.fixture
def revoked(office: Office, vaxpass) -> Office:
    """With the credential in the register and in a store."""
    assert vaxpass("revoke", "add", office.register, office.payload, "--country", "VN").code == 0
    assert export(vaxpass, office).code == 0
    return office


def export(vaxpass, office: Office, *options: object, **more):
    flags = ("--key", office.key, "--cert", office.cert)
    return vaxpass("revoke", "export", office.register, office.out, *flags, *options, **more)


def ci_of(text: str) -> str:
    return inspect(text).payload["v"][0]["ci"]


def check(vaxpass, *arguments: object, stdin: str = ""):
    return vaxpass("revoke", "check", *arguments, stdin=stdin.encode())


# --- the whole way ---------------------------------------------------------------------------


def test_from_a_credential_to_its_refusal(revoked: Office, vaxpass) -> None:
    """add, export, import, check: revoked, its renewal too, its twin (r, n-s) too; another isn't."""
    office = revoked
    done = vaxpass("revoke", "import", office.store, office.out, "--anchor", office.cert)
    assert done.code == 0
    assert done.out.startswith("2 entries of 2 batches (VN 2) in ")
    sign1 = inspect(office.text).sign1
    s = N_P256 - int.from_bytes(sign1.signature[32:], "big")
    twin = codec.encode(
        sign1.protected, sign1.payload, sign1.signature[:32] + s.to_bytes(32, "big")
    )
    second = Issuer(signer_of(private_key("second")), dsc_for_today("second"), "VN", "Bộ Y tế")
    renewed = second.issue(record_from_mapping(RECORD), ci_of(office.text))
    for store in (office.store, office.out / "revoked.vxrev"):
        for text, code in (
            (office.text, 1),
            (twin, 1),
            (renewed, 1),
            (office.other, 0),
            (office.foreign, 0),
        ):
            done = check(vaxpass, "--revocation", store, stdin=text)
            assert done.code == code, done.out
    done = check(vaxpass, "--revocation", office.store, stdin=f"{office.other}\n{office.text}\n")
    assert done.code == 1
    assert [line.split("  ")[0] for line in done.out.splitlines()[::2]] == [
        "NOT REVOKED",
        "REVOKED",
    ]
    assert done.err == (
        "vaxpass-sign: 2 looked up: 1 revoked, 0 not known; nothing but revocation was checked\n"
    )


def test_json(revoked: Office, vaxpass) -> None:
    store = revoked.out / "revoked.vxrev"
    done = check(
        vaxpass, "--json", "--revocation", store, stdin=f"{revoked.text}\n{revoked.other}\nHC1:x\n"
    )
    assert done.code == 1
    found = done.objects
    assert [line["revoked"] for line in found] == [True, False, None]
    assert [line["line"] for line in found] == [1, 2, 3]
    assert found[0] == {
        "input": "standard input",
        "line": 1,
        "revoked": True,
        "why": "a store has its UCI",
        "checked": "revocation alone",
    }
    assert done.err == ""


# --- add -------------------------------------------------------------------------------------


def test_what_is_entered(office: Office, vaxpass) -> None:
    """By default UCI and r for any kid; again nothing; and no word of the person."""
    done = vaxpass("revoke", "add", office.register, office.payload, "--country", "VN")
    assert done.code == 0
    assert (
        done.out == "1 revoked in the register of VN: 2 new entries, 0 prolonged, 0 there before\n"
    )
    assert "made the register" in done.err
    again = vaxpass("revoke", "add", office.register, "-", stdin=office.text.encode())
    assert (
        again.out == "1 revoked in the register of VN: 0 new entries, 0 prolonged, 2 there before\n"
    )
    signature, ci = inspect(office.text).sign1.signature, ci_of(office.text)
    assert office.rows() == [
        (Scope(HashType.UCI, "VN"), hash_uci(ci)),
        (Scope(HashType.SIGNATURE, "VN"), hash_signature(signature)),
    ]
    data = office.register.read_bytes()
    for word in (ci, "Thí Dụ", "THI<DU", "1987-04-12", "HC1:"):
        assert word.encode() not in data


@pytest.mark.parametrize(
    ("options", "types", "kid"),
    [
        (["--by", "uci"], {HashType.UCI}, None),
        (["--by", "SIGNATURE", "--by", "signature"], {HashType.SIGNATURE}, None),
        (
            ["--by", "uci", "--by", "countrycodeuci", "--by", "signature", "--this-kid"],
            set(HashType),
            dsc_for_today().kid,
        ),
    ],
)
def test_by_what_and_for_whom(office: Office, vaxpass, options, types, kid) -> None:
    office.payload.write_text(issue())
    kid = kid and inspect(office.payload.read_text()).kid
    done = vaxpass("revoke", "add", office.register, office.payload, "--country", "VN", *options)
    assert done.code == 0
    assert {scope for scope, _ in office.rows()} == {Scope(t, "VN", kid) for t in types}


def test_uvcis(office: Office, vaxpass) -> None:
    """One by one or from a file; their types; the credential is revoked by it."""
    uvci, more = ci_of(office.text), [random_uvci("VN") for _ in range(5)]
    listed = office.folder / "uvcis.txt"
    listed.write_text("\ufeff" + "\n".join(more) + "\n\n", encoding="utf-8")
    done = vaxpass(
        *("revoke", "add", office.register, "--country", "VN", "--uvci", uvci),
        *("--uvci-file", listed, "--expires", SOON, "--by", "uci", "--by", "countrycodeuci"),
    )
    assert done.code == 0, done.err
    assert done.out.startswith("6 revoked in the register of VN: 12 new entries")
    assert set(office.rows()) == {
        (Scope(kind, "VN"), hashed)
        for ci in [uvci, *more]
        for kind, hashed in (
            (HashType.UCI, hash_uci(ci)),
            (HashType.COUNTRYCODEUCI, hash_country_uci("VN", ci)),
        )
    }
    piped = vaxpass(
        *("revoke", "add", office.register, "--uvci-file", "-", "--expires", SOON),
        stdin="\n".join(more).encode(),
    )
    assert "0 new entries, 0 prolonged, 5 there before" in piped.out
    assert export(vaxpass, office).code == 0
    store = office.out / "revoked.vxrev"
    assert check(vaxpass, "--revocation", store, stdin=office.text).code == 1


def test_a_later_expiry_prolongs(office: Office, vaxpass) -> None:
    """A renewal that is not at hand expires later than the credential that is."""
    vaxpass("revoke", "add", office.register, office.payload, "--country", "VN")
    late = (TODAY + timedelta(days=2000)).isoformat()
    done = vaxpass("revoke", "add", office.register, office.payload, "--expires", late)
    assert "0 new entries, 2 prolonged, 0 there before" in done.out
    early = vaxpass("revoke", "add", office.register, office.payload, "--expires", SOON)
    assert "0 new entries, 0 prolonged, 2 there before" in early.out


def test_what_has_expired(office: Office, vaxpass) -> None:
    past = (TODAY - timedelta(days=1)).isoformat()
    uvci = ci_of(office.text)
    done = vaxpass(
        "revoke", "add", office.register, "--country", "VN", "--uvci", uvci, "--expires", past
    )
    assert (done.code, office.rows()) == (0, [])
    assert "1 entries were left out" in done.err


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["-"], "{text}\n{foreign}\n", "line 2: found another country's credential"),
        (["-"], "{text}\nHC1:6BF\n", "line 2: "),
        (["-"], "", "found nothing"),
        (["missing.txt"], "", "missing.txt can't be read"),
        (["-", "--country", "LA"], "{text}", "is the register of VN"),
        (["-", "--by", "kid"], "{text}", "expected uci, countrycodeuci or signature"),
        (["-", "--reason", "Nguyễn"], "{text}", "small letters"),
        (["-", "--expires", "2030-01-01"], "{text}", "--expires: found '2030-01-01'"),
        (["-", "--expires", "soon"], "{text}", "--expires"),
        (["--uvci", "{ci}"], "", "give --expires"),
        (["--uvci", "{ci}", "--expires", SOON, "--by", "signature"], "", "--uvci 1: UVCI: SIGN"),
        (["--uvci", "{ci}", "--uvci", "{ci}X", "--expires", SOON], "", "--uvci 2: UVCI"),
        (["--uvci", "URN:UVCI:01:LA:X", "--expires", SOON], "", "another country's"),
        (["--uvci", "a b", "--expires", SOON], "", "blanks inside"),
        (["--uvci-file", "-", "--expires", SOON], "{ci}\n{ci}0\n", "standard input, line 2"),
        (["--uvci-file", "-", "--expires", SOON], "x" * 1000, "line 1: found 400 bytes or more"),
        (["--uvci-file", "-", "--expires", SOON], f"{' ' * 390}{{ci}}", "line 1: found 400 bytes"),
        (["--uvci-file", "no.txt", "--expires", SOON], "", "no.txt can't be read"),
        (["--uvci-file", "/dev/zero", "--expires", SOON], "", "not a regular file"),
    ],
)
def test_what_is_refused(office: Office, vaxpass, arguments, stdin, said) -> None:
    """Nothing is entered then; one line, which repeats no UVCI."""
    Register.create(office.register, "VN", now_s=int(time.time())).close()
    facts = {"text": office.text, "foreign": office.foreign, "ci": ci_of(office.text)}
    given = [argument.format(**facts) for argument in arguments]
    done = vaxpass("revoke", "add", office.register, *given, stdin=stdin.format(**facts).encode())
    assert done.code == 2
    assert said in done.message
    assert ci_of(office.text) not in done.message
    assert office.rows() == []


def test_a_register_must_be_made_on_purpose(office: Office, vaxpass) -> None:
    done = vaxpass("revoke", "add", office.register, office.payload)
    assert done.code == 2
    assert "--country" in done.message
    assert not office.register.exists()
    office.register.write_text("no register")
    for command in ("add", "export"):
        flags = ("--key", office.key, "--cert", office.cert) if command == "export" else ()
        place = office.out if command == "export" else office.payload
        done = vaxpass("revoke", command, office.register, place, *flags)
        assert done.code == 2
        assert "found something else, expected a register" in done.message


def test_a_kid_that_its_holder_may_write(office: Office, vaxpass) -> None:
    sign1 = inspect(office.text).sign1
    message = cbor2.CBORTag(18, [cbor2.dumps({1: -7}), {4: sign1.kid}, sign1.payload, bytes(64)])
    text = b"HC1:" + base45.b45encode(zlib.compress(cbor2.dumps(message)))
    done = vaxpass(
        "revoke", "add", office.register, "-", "--country", "VN", "--this-kid", stdin=text
    )
    assert done.code == 2
    assert "kid that the signature does not cover" in done.err
    assert vaxpass("revoke", "add", office.register, "-", stdin=text).code == 0


# --- export ----------------------------------------------------------------------------------


def test_export_says_what_it_did(office: Office, vaxpass) -> None:
    vaxpass("revoke", "add", office.register, office.payload, "--country", "VN")
    done = export(vaxpass, office)
    assert done.out == (
        f"2 batches signed, 0 there before; 2 entries in {office.out}/revoked.vxrev\n"
    )
    next(office.out.glob("batch-000001*")).unlink()
    assert export(vaxpass, office).out.startswith("1 batches signed, 1 there before")
    done = export(vaxpass, office, "--expires", SOON)
    assert done.out.startswith("0 batches signed")
    with RevocationStore.open(office.out / "revoked.vxrev") as store:
        assert store.expires_at == TODAY + timedelta(days=30)
    assert export(vaxpass, office, "--expires", "2020-01-01T00:00:00Z").code == 2


def test_a_token_signs_with_its_pin(
    revoked: Office, softhsm: SoftHsm, vaxpass, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = dsc_for_today("t-upload", public_key=softhsm.keys["ec"].public_key())
    revoked.cert.write_bytes(pem(certificate.der))
    for path in revoked.out.iterdir():
        path.unlink()
    monkeypatch.setenv("UPLOAD_PIN", softhsm.pin)
    flags = ("--key", softhsm.uri("ec"), "--cert", revoked.cert, "--pin-env", "UPLOAD_PIN")
    done = vaxpass("revoke", "export", revoked.register, revoked.out, *flags)
    assert done.out.startswith("2 batches signed, "), done.err
    done = vaxpass("revoke", "import", revoked.store, revoked.out, "--anchor", revoked.cert)
    assert done.code == 0
    # With nothing to sign no PIN is asked for.
    monkeypatch.delenv("UPLOAD_PIN")
    assert vaxpass("revoke", "export", revoked.register, revoked.out, *flags).code == 0


def test_killed_and_gone_on_with(office: Office, vaxpass) -> None:
    """kill -9 to the program itself, at random; then the same command gives the complete set."""
    listed = office.folder / "uvcis.txt"
    listed.write_text("\n".join(random_uvci("VN") for _ in range(4000)))
    vaxpass(
        *("revoke", "add", office.register, "--country", "VN"),
        *("--uvci-file", listed, "--expires", SOON),
    )
    command = [
        *(sys.executable, "-m", "vaxpass_sign", "revoke", "export", office.register, office.out),
        *("--key", office.key, "--cert", office.cert),
    ]
    for pause in (0.4, 0.6, 0.8):
        victim = subprocess.Popen(
            command, env=dict(os.environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(pause)
        victim.send_signal(signal.SIGKILL)
        victim.wait(timeout=60)
    before = {path: path.read_bytes() for path in office.out.glob("batch-*")}
    assert export(vaxpass, office).code == 0
    assert all(path.read_bytes() == data for path, data in before.items())
    assert len(list(office.out.iterdir())) == 5
    done = vaxpass("revoke", "import", office.store, office.out, "--anchor", office.cert)
    assert done.out.startswith("4,000 entries of 4 batches (VN 4)")


# --- import ----------------------------------------------------------------------------------


def test_import_refuses(revoked: Office, vaxpass) -> None:
    """Another certificate, no certificate, a batch that was changed: each named, the store stays."""
    office = revoked
    flags = ("--anchor", office.cert)
    assert vaxpass("revoke", "import", office.store, office.out, *flags).code == 0
    before = office.store.read_bytes()
    other = office.folder / "other.pem"
    other.write_bytes(pem(dsc_for_today("other").der))
    done = vaxpass("revoke", "import", office.store, office.out, "--anchor", other)
    assert done.code == 2
    assert "batch-000001" in done.message
    assert "not pinned" in done.message
    # A bundle is as good as its certificates.
    other.write_bytes(other.read_bytes() + office.cert.read_bytes())
    assert vaxpass("revoke", "import", office.store, office.out, "--anchor", other).code == 0
    before = office.store.read_bytes()
    for path in (office.payload, office.folder / "missing", office.folder):
        done = vaxpass("revoke", "import", office.store, office.out, "--anchor", path)
        assert done.code == 2
        assert done.message.startswith("--anchor: ")
    past = "2020-01-01T00:00:00Z"
    done = vaxpass("revoke", "import", office.store, office.out, *flags, "--expires", past)
    assert done.code == 2
    assert done.message.startswith("--expires: found a time that is past")
    batch = next(office.out.glob("batch-000002*"))
    batch.write_bytes(batch.read_bytes()[:-1] + b"\0")
    done = vaxpass("revoke", "import", office.store, office.out, *flags)
    assert done.code == 2
    assert batch.name in done.message
    assert office.store.read_bytes() == before


# --- check -----------------------------------------------------------------------------------


def test_what_can_not_be_decided(revoked: Office, vaxpass) -> None:
    """No file, no readable payload, a stale store: 2. What a stale store revokes stays revoked."""
    office = revoked
    store = office.out / "revoked.vxrev"
    done = check(vaxpass, stdin=office.text)
    assert done.code == 2
    assert "give --revocation FILE" in done.message
    assert check(vaxpass, "--revocation", store, stdin="HC1:6BF").code == 2
    assert check(vaxpass, "--revocation", store, office.folder / "missing.txt").code == 2
    assert check(vaxpass, "--revocation", store, stdin=f"HC1:6BF\n{office.text}").code == 1
    stale = office.folder / "stale"
    with RevocationStore.open(store) as opened, Register.open(office.register) as register:
        assert opened.entries == 2
        write_store(
            stale,
            register.unexpired(int(time.time())),
            expires_at=TODAY - timedelta(days=1),
            created_at=TODAY - timedelta(days=8),
        )
    done = check(vaxpass, "--revocation", stale, stdin=office.other)
    assert done.code == 2
    assert "NOT KNOWN" in done.out
    assert "what it lacks may be revoked since; get a new one" in done.err
    assert check(vaxpass, "--revocation", stale, stdin=office.text).code == 1
    both = check(vaxpass, "--revocation", stale, "--revocation", store, stdin=office.other)
    assert both.code == 2
    for bad in (office.payload, office.folder, office.folder / "missing"):
        done = check(vaxpass, "--revocation", store, "--revocation", bad, stdin=office.text)
        assert done.code == 2
        assert str(bad) in done.message
    assert office.text not in done.err


# --- a stolen key ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> campaigns.Desk:
    desk = campaigns.Desk(tmp_path_factory.mktemp("signed") / "desk")
    desk.clean(40)
    desk.sign()
    return desk


def test_a_stolen_key(signed: campaigns.Desk, vaxpass, tmp_path: Path) -> None:
    """The list keeps what was honestly signed; a thief's, whatever its date, is refused."""
    kid, out = signed.dsc.kid.hex(), tmp_path / "allowed"
    head = signed.rows()[-1].hash.hex()
    done = vaxpass("revoke", "key", kid, signed.root, out, "--head", head)
    assert done.code == 0, done.err
    assert done.out == f"40 credentials signed under {kid} are on the allow-list {out}\n"
    assert "leave the DSC in the trust lists" in done.err
    honest = [row["hc1"] for row in signed.signed()]
    done = check(vaxpass, "--revocation", out, stdin="\n".join(honest))
    assert done.code == 0
    assert done.out.count("NOT REVOKED") == 40
    key = signer_of(private_key("dsc"))
    for clock in (time.time, lambda: time.time() - 86_400 * 30):
        thief = Issuer(key, signed.dsc, "VN", "Bộ Y tế", clock=clock)
        forged = thief.issue(record_from_mapping(RECORD))
        assert inspect(forged).kid.hex() == kid
        done = check(vaxpass, "--revocation", out, stdin=forged)
        assert done.code == 1
        assert "not on that key's allow-list" in done.out
    other = Issuer(signer_of(private_key("second")), dsc_for_today("second"), "VN", "Bộ Y tế")
    # It says nothing of other kids.
    text = other.issue(record_from_mapping(RECORD))
    assert check(vaxpass, "--revocation", out, stdin=text).code == 2


def test_two_campaigns_of_one_key(signed: campaigns.Desk, vaxpass, tmp_path: Path) -> None:
    """One list of all: what one campaign leaves out would be refused."""
    second = campaigns.Desk(tmp_path / "desk")
    (second.folder / "dsc.pem").write_bytes(pem(signed.dsc.der))
    second.clean(30)
    second.sign()
    kid, out = signed.dsc.kid.hex(), tmp_path / "allowed"
    done = vaxpass("revoke", "key", kid, signed.root, second.root, out)
    assert done.out.startswith("70 credentials")
    texts = [row["hc1"] for desk in (signed, second) for row in desk.signed()]
    assert check(vaxpass, "--revocation", out, stdin="\n".join(texts)).code == 0
    heads = [desk.rows()[-1].hash.hex() for desk in (signed, second)]
    flags = [option for head in heads for option in ("--head", head)]
    assert vaxpass("revoke", "key", kid, signed.root, second.root, out, *flags).code == 0
    done = vaxpass("revoke", "key", kid, second.root, signed.root, out, *flags)
    assert done.code == 2
    assert "noted" in done.message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kid": "00" * 8}, "nothing signed under kid"),
        ({"kid": "xyz"}, "16 hexadecimal digits"),
        ({"kid": "00 11 22 33 44 5"}, "16 hexadecimal digits"),
        ({"campaign": "nowhere"}, "is missing"),
        ({"options": ["--head", "00" * 32]}, "noted"),
        ({"options": ["--head", "00", "--head", "00"]}, "found 2, expected one"),
        ({"options": ["--expires", "2020-01-01T00:00:00Z"]}, "of no use since 2020-01-01"),
        ({"options": ["--expires", "2030"]}, "--expires"),
    ],
)
def test_no_list_is_made(signed: campaigns.Desk, vaxpass, tmp_path: Path, change, said) -> None:
    kid = change.get("kid", signed.dsc.kid.hex())
    root = tmp_path / change["campaign"] if "campaign" in change else signed.root
    out = tmp_path / "allowed"
    done = vaxpass("revoke", "key", kid, root, out, *change.get("options", []))
    assert done.code == 2
    assert said in done.message
    assert not out.exists()


def test_the_commands_bring_in_no_keys_and_no_tables() -> None:
    """Before they are needed: check runs at a counter, anew for each credential."""
    code = (
        "import sys\n"
        "from vaxpass_sign.cli import revoke\n"
        "from vaxpass_sign.check.revocation import importing\n"
        "heavy = ('pyarrow', 'duckdb', 'numpy', 'pkcs11', 'asn1crypto')\n"
        "assert not [m for m in heavy if m in sys.modules]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
