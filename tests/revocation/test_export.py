"""What is published of a register, whole after any crash: nothing doubled, nothing signed anew."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from issuing import NOW, private_key, sign_dsc, signer_of
from revocation.export_victim import STEPS
from signed_lists import leaf
from tokens.softhsm import SoftHsm
from vaxpass_sign.check.revocation import HashType, RevocationStore, Scope
from vaxpass_sign.check.revocation.batch import read_signed_batch
from vaxpass_sign.errors import CertificateError, InputError, TrustError
from vaxpass_sign.keys import open_signer
from vaxpass_sign.revocation.export import STORE_NAME, export_batches
from vaxpass_sign.revocation.register import Entry, Register
from vaxpass_sign.x509 import pem

NOW_S = int(NOW.timestamp())
DAY = 86_400
KID = bytes(range(8))
VICTIM = str(Path(__file__).with_name("export_victim.py"))
CERTIFICATE = sign_dsc("upload")


@contextmanager
def opening():
    """The key that signs batches, and no more than once in a run."""
    yield signer_of(private_key("upload"))


@contextmanager
def never():
    pytest.fail("there is nothing to sign, so that no PIN must be asked for")
    yield


def fill(register: Register, count: int = 3300) -> set[tuple[Scope, bytes]]:
    """So many entries in three scopes, which make five batches of 3300."""
    rng, made = random.Random(count), []
    for n in range(count):
        kid, hash_type = ((None, HashType.UCI), (KID, HashType.UCI), (None, HashType.SIGNATURE))[
            n % 3
        ]
        made.append(Entry(hash_type, kid, rng.randbytes(16), NOW_S + DAY * (1 + n % 40)))
    register.add(made, now_s=NOW_S)
    return {(Scope(e.hash_type, "VN", e.kid), e.hash) for e in made}


@pytest.fixture
def register(tmp_path: Path):
    with Register.create(tmp_path / "register", "VN", now_s=NOW_S) as made:
        yield made


def published(folder: Path) -> list[tuple[Scope, bytes]]:
    """Every entry of every batch in a folder, each verified, by its name's order."""
    found = []
    for path in sorted(folder.glob("batch-*")):
        batch = read_signed_batch(path.read_bytes(), [CERTIFICATE], at=NOW)
        assert len(batch.entries) <= 1000
        found += [(batch.scope, entry) for entry in batch.entries]
    return found


def stored(folder: Path) -> int:
    with RevocationStore.open(folder / STORE_NAME) as store:
        store.check_order()
        return store.entries


def test_what_is_published(register: Register, tmp_path: Path) -> None:
    """Batches, a store, and nothing else; again: nothing; after more was added: that alone."""
    out, wanted = tmp_path / "out", fill(register)
    done = export_batches(register, out, CERTIFICATE, opening, now=NOW)
    assert (done.made, done.signed, done.there, done.entries) == (6, 6, 0, 3300)
    assert Counter(published(out)) == Counter(wanted)
    assert len(list(out.iterdir())) == 7
    with RevocationStore.open(out / STORE_NAME) as store:
        assert (store.created_at, store.expires_at) == (NOW, NOW + timedelta(days=7))
        assert all(store.holds(scope, entry) for scope, entry in wanted)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    again = export_batches(register, out, CERTIFICATE, never, now=NOW)
    assert (again.made, again.signed, again.there, again.entries) == (0, 0, 6, 3300)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    more = Entry(HashType.UCI, None, bytes(16), NOW_S + DAY)
    register.add([more], now_s=NOW_S)
    third = export_batches(register, out, CERTIFICATE, opening, now=NOW)
    assert (third.made, third.signed, third.there, third.entries) == (1, 1, 6, 3301)
    assert Counter(published(out)) == Counter([*wanted, (Scope(HashType.UCI, "VN"), bytes(16))])
    assert all((out / name).read_bytes() == data for name, data in before.items() if name[0] == "b")


def test_another_folder_gets_the_same_batches(register: Register, tmp_path: Path) -> None:
    fill(register)
    for name in ("a", "b"):
        export_batches(register, tmp_path / name, CERTIFICATE, opening, now=NOW)
    names = [sorted(p.name for p in (tmp_path / name).iterdir()) for name in ("a", "b")]
    assert names[0] == names[1]
    assert published(tmp_path / "a") == published(tmp_path / "b")


def test_what_has_expired_is_left_out(register: Register, tmp_path: Path) -> None:
    """Batches by their own time, the store entry by entry."""
    fill(register)
    export_batches(register, tmp_path / "early", CERTIFICATE, opening, now=NOW)
    later = NOW + timedelta(days=38)
    done = export_batches(register, tmp_path / "late", CERTIFICATE, opening, now=later)
    names = {p.name for p in (tmp_path / "late").glob("batch-*")}
    assert names < {p.name for p in (tmp_path / "early").glob("batch-*")}
    assert done.signed == len(names)
    assert done.entries == sum(1 for n in range(3300) if 1 + n % 40 > 38)
    for path in (tmp_path / "late").glob("batch-*"):
        assert read_signed_batch(path.read_bytes(), [CERTIFICATE], at=later).expires_at > later


def test_an_empty_register(register: Register, tmp_path: Path) -> None:
    done = export_batches(register, tmp_path / "out", CERTIFICATE, never, now=NOW)
    assert (done.made, done.signed, done.entries) == (0, 0, 0)
    assert stored(tmp_path / "out") == 0


@pytest.mark.parametrize(
    ("certificate", "moment", "error"),
    [
        (leaf("upload", "LA"), NOW, CertificateError),
        (CERTIFICATE, NOW + timedelta(days=900), CertificateError),
        (CERTIFICATE, NOW - timedelta(days=60), CertificateError),
        (sign_dsc("another"), NOW, CertificateError),
        (sign_dsc("rsa-upload"), NOW, CertificateError),
    ],
    ids=["country", "expired", "not yet", "another key's", "another kind of key's"],
)
def test_a_certificate_that_does_not_fit(
    register: Register, tmp_path: Path, certificate, moment, error
) -> None:
    """Nothing is written, and the right one goes on from there."""
    wanted = fill(register)
    with pytest.raises(error):
        export_batches(register, tmp_path / "out", certificate, opening, now=moment)
    assert not list((tmp_path / "out").glob("*"))
    export_batches(register, tmp_path / "out", CERTIFICATE, opening, now=NOW)
    assert Counter(published(tmp_path / "out")) == Counter(wanted)


def test_a_folder_has_one_writer(register: Register, tmp_path: Path) -> None:
    fill(register, 3)

    @contextmanager
    def nested():
        with (
            Register.open(tmp_path / "register") as second,
            pytest.raises(InputError, match="in use"),
        ):
            export_batches(second, tmp_path / "out", CERTIFICATE, never, now=NOW)
        with opening() as signer:
            yield signer

    assert export_batches(register, tmp_path / "out", CERTIFICATE, nested, now=NOW).signed == 3


def test_places_that_can_not_be_written(register: Register, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError):
        export_batches(register, tmp_path / "file", CERTIFICATE, never, now=NOW)
    with pytest.raises(InputError, match="past"):
        export_batches(register, tmp_path / "out", CERTIFICATE, never, now=NOW, expires_at=NOW)


def test_a_register_that_was_changed_signs_nothing(register: Register, tmp_path: Path) -> None:
    """A batch that was committed is published as it was, or not at all."""
    fill(register, 300)
    register.make_batches(now_s=NOW_S)
    with sqlite3.connect(tmp_path / "register") as database:
        database.execute("UPDATE entries SET hash = zeroblob(16) WHERE number = 1")
    database.close()
    with pytest.raises(TrustError, match="another content in batch 1"):
        export_batches(register, tmp_path / "out", CERTIFICATE, opening, now=NOW)
    assert not list((tmp_path / "out").glob("*"))


def test_an_index_that_lacks_an_entry(register: Register, tmp_path: Path) -> None:
    """It would never be published: nothing is, and it is said."""
    fill(register, 30)
    register.close()
    path = tmp_path / "register"

    def run(*statements: tuple[str, tuple]) -> None:
        database = sqlite3.connect(path)
        for statement, values in statements:
            database.execute(statement, values)
        database.commit()
        database.close()

    database = sqlite3.connect(path)
    [row] = database.execute("SELECT * FROM sqlite_schema WHERE name = 'by_batch'").fetchall()
    database.close()
    writable = ("PRAGMA writable_schema = ON", ())
    run(writable, ("DELETE FROM sqlite_schema WHERE name = 'by_batch'", ()))
    added = "(hash_type, kid, hash, expires_at, revoked_at) VALUES (1, x'', ?, ?, ?)"
    run((f"INSERT INTO entries {added}", (bytes(16), NOW_S + DAY, NOW_S)))
    run(writable, ("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", row))
    with Register.open(path) as again, pytest.raises(TrustError, match="an index that is"):
        export_batches(again, tmp_path / "out", CERTIFICATE, never, now=NOW)
    assert not list((tmp_path / "out").iterdir())


# --- crashes ---------------------------------------------------------------------------------


def key_files(folder: Path) -> tuple[Path, Path]:
    key, certificate = folder / "key.pem", folder / "cert.pem"
    private = private_key("upload")
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.chmod(0o600)
    certificate.write_bytes(pem(CERTIFICATE.der))
    return key, certificate


def start(folder: Path, step: str, nth: int = 1) -> subprocess.Popen[bytes]:
    key, certificate = key_files(folder)
    arguments = (folder / "register", folder / "out", key, certificate, NOW_S, step, nth)
    return subprocess.Popen(
        [sys.executable, VICTIM, *map(str, arguments)], stderr=subprocess.DEVNULL
    )


def go_on(folder: Path, wanted: set[tuple[Scope, bytes]]) -> None:
    """After a crash: what is there is whole and stays; the same call gives the complete set."""
    out = folder / "out"
    before = {path: path.read_bytes() for path in out.glob("batch-*")}
    published(out)
    if (out / STORE_NAME).exists():
        assert stored(out) == len(wanted)
    with Register.open(folder / "register") as register:
        done = export_batches(register, out, CERTIFICATE, opening, now=NOW)
    assert done.there == len(before)
    assert all(path.read_bytes() == data for path, data in before.items())
    assert Counter(published(out)) == Counter(wanted)
    assert stored(out) == len(wanted)
    assert len(list(out.iterdir())) == 7  # no litter either


@pytest.mark.parametrize("nth", [1, 4, 6])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step(register: Register, tmp_path: Path, step: str, nth: int) -> None:
    wanted = fill(register)
    register.close()
    victim = start(tmp_path, step, nth)
    assert victim.wait(timeout=60) == -signal.SIGKILL
    go_on(tmp_path, wanted)


def test_killed_again_and_again(register: Register, tmp_path: Path) -> None:
    """At random moments, each run going on from where the one before was killed."""
    wanted, rng, ended = fill(register), random.Random(7), 0
    register.close()
    for _ in range(8):
        victim = start(tmp_path, "none")
        time.sleep(rng.uniform(0.2, 0.9))
        victim.kill()
        ended += victim.wait(timeout=60) == -signal.SIGKILL
    assert ended
    go_on(tmp_path, wanted)


# --- many, and a token -----------------------------------------------------------------------


def test_a_hundred_thousand(register: Register, tmp_path: Path) -> None:
    """In bounded time, memory for one batch at a time: some seconds."""
    rng = random.Random(3)
    made = (
        Entry(HashType.UCI, None, rng.randbytes(16), NOW_S + DAY * (1 + n % 300))
        for n in range(100_000)
    )
    began = time.monotonic()
    assert register.add(made, now_s=NOW_S).new == 100_000
    done = export_batches(register, tmp_path / "out", CERTIFICATE, opening, now=NOW)
    assert time.monotonic() - began < 60
    assert (done.made, done.signed, done.entries) == (100, 100, 100_000)
    assert len(set(published(tmp_path / "out"))) == 100_000


def test_a_token_signs_it(register: Register, softhsm: SoftHsm, tmp_path: Path) -> None:
    """The PIN is asked for once, and not at all when there is nothing to sign."""
    certificate = sign_dsc("token-upload", public_key=softhsm.keys["ec"].public_key())
    wanted, asked = fill(register, 30), []

    def pin() -> str:
        asked.append(1)
        return softhsm.pin

    def token():
        return open_signer(softhsm.uri("ec"), pin=pin)

    assert export_batches(register, tmp_path / "out", certificate, token, now=NOW).signed == 3
    assert export_batches(register, tmp_path / "out", certificate, token, now=NOW).signed == 0
    assert len(asked) == 1
    batches = [
        read_signed_batch(path.read_bytes(), [certificate], at=NOW)
        for path in (tmp_path / "out").glob("batch-*")
    ]
    assert {(b.scope, e) for b in batches for e in b.entries} == wanted
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "out").iterdir())
