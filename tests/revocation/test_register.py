"""The register: nothing is lost, doubled or changed, and nothing else passes for one."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vaxpass_sign.check.revocation import HashType, Scope
from vaxpass_sign.errors import InputError, TrustError, VaxpassError
from vaxpass_sign.revocation import register as register_module
from vaxpass_sign.revocation.register import Entry, Register

NOW = 1_768_478_400
DAY = 86_400
KID = bytes(range(8))


def digest(number: int) -> bytes:
    return sha256(number.to_bytes(8, "big")).digest()[:16]


def entries(
    count: int,
    *,
    start: int = 0,
    hash_type: HashType = HashType.UCI,
    kid: bytes | None = None,
    days: int = 30,
) -> list[Entry]:
    return [Entry(hash_type, kid, digest(n), NOW + days * DAY) for n in range(start, start + count)]


@pytest.fixture
def register(tmp_path: Path):
    with Register.create(tmp_path / "register", "VN", now_s=NOW) as made:
        yield made


def held(register: Register, now_s: int = NOW) -> dict[Scope, list[bytes]]:
    found: dict[Scope, list[bytes]] = {}
    for scope, some in register.unexpired(now_s):
        found.setdefault(scope, []).extend(some)
    return found


def facts(added) -> tuple[int, ...]:
    return added.new, added.known, added.prolonged, added.expired


# --- adding ----------------------------------------------------------------------------------


def test_what_is_added_is_there_and_twice_is_once(register: Register, tmp_path: Path) -> None:
    """Mode 0600, no word of a reason in it but the one given; it survives being closed."""
    path = tmp_path / "register"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert facts(register.add(entries(3), reason="wrong-person", now_s=NOW)) == (3, 0, 0, 0)
    assert facts(register.add(entries(3), reason="other", now_s=NOW + 5)) == (0, 3, 0, 0)
    register.close()
    with Register.open(path) as again:
        assert again.country == "VN"
        assert held(again) == {Scope(HashType.UCI, "VN"): sorted(map(digest, range(3)))}
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT revoked_at, reason FROM entries").fetchall()
    assert rows == [(NOW, "wrong-person")] * 3
    assert [p.name for p in tmp_path.iterdir()] == ["register"]


def test_scopes_are_apart(register: Register) -> None:
    register.add(
        [
            *entries(2),
            *entries(2, kid=KID),
            *entries(2, hash_type=HashType.SIGNATURE),
            *entries(1, hash_type=HashType.COUNTRYCODEUCI),
        ],
        now_s=NOW,
    )
    assert {scope: len(some) for scope, some in held(register).items()} == {
        Scope(HashType.UCI, "VN"): 2,
        Scope(HashType.UCI, "VN", KID): 2,
        Scope(HashType.COUNTRYCODEUCI, "VN"): 1,
        Scope(HashType.SIGNATURE, "VN"): 2,
    }


def test_expired_entries_are_left_out(register: Register) -> None:
    added = register.add([*entries(2, days=0), *entries(2, start=2, days=1)], now_s=NOW)
    assert facts(added) == (2, 0, 0, 2)
    assert len(held(register)[Scope(HashType.UCI, "VN")]) == 2
    assert held(register, NOW + DAY) == {}
    assert register.make_batches(now_s=NOW + DAY) == 0
    assert register.make_batches(now_s=NOW + DAY - 1) == 1
    assert list(register.batches(NOW + DAY)) == []


def test_a_later_expiry_prolongs(register: Register) -> None:
    """Before it is in a batch, the entry itself; after that by another one in another batch."""
    register.add(entries(1, days=10), now_s=NOW)
    assert facts(register.add(entries(1, days=20), now_s=NOW)) == (0, 0, 1, 0)
    assert facts(register.add(entries(1, days=15), now_s=NOW)) == (0, 1, 0, 0)
    register.make_batches(now_s=NOW)
    [first] = register.batches(NOW)
    assert first.expires_s == NOW + 20 * DAY
    content = register.content(first)
    assert facts(register.add(entries(1, days=30), now_s=NOW)) == (0, 0, 1, 0)
    assert facts(register.add(entries(1, days=20), now_s=NOW)) == (0, 1, 0, 0)
    register.make_batches(now_s=NOW)
    before, second = register.batches(NOW)
    assert (before, register.content(before)) == (first, content)
    assert (second.expires_s, register.content(second).entries) == (NOW + 30 * DAY, content.entries)
    assert held(register) == {Scope(HashType.UCI, "VN"): [digest(0)]}
    assert held(register, NOW + 25 * DAY) == {Scope(HashType.UCI, "VN"): [digest(0)]}


@pytest.mark.parametrize(
    "bad",
    [
        Entry(HashType.UCI, None, bytes(15), NOW + 1),
        Entry(HashType.UCI, b"", bytes(16), NOW + 1),
        Entry(HashType.UCI, bytes(9), bytes(16), NOW + 1),
        Entry(HashType.UCI, None, bytes(16), 1 << 50),
        Entry(HashType.UCI, None, bytes(16), -1),
    ],
)
def test_all_or_none(register: Register, bad: Entry) -> None:
    with pytest.raises(InputError):
        register.add([*entries(3), bad], now_s=NOW)
    assert held(register) == {}

    def broken():
        yield from entries(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        register.add(broken(), now_s=NOW)
    assert held(register) == {}
    assert facts(register.add(entries(3), now_s=NOW)) == (3, 0, 0, 0)


@pytest.mark.parametrize(
    "reason", ["", "Wrong", "a b", "a-", "-a", "0123456789", "a" * 33, "ạ", "a\n"]
)
def test_a_reason_is_a_word(register: Register, reason: str) -> None:
    with pytest.raises(InputError, match="reason") as caught:
        register.add(entries(1), reason=reason, now_s=NOW)
    assert len(reason) < 2 or reason not in str(caught.value)


def test_it_is_bounded(register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register_module, "MAX_REGISTER_ENTRIES", 5)
    register.add(entries(3), now_s=NOW)
    with pytest.raises(InputError, match="over 5"):
        register.add(entries(3, start=3), now_s=NOW)
    assert len(held(register)[Scope(HashType.UCI, "VN")]) == 3
    register.add(entries(2, start=3), now_s=NOW)


def test_two_take_turns(tmp_path: Path) -> None:
    """Both entered at once, from two threads with a register each."""
    path = tmp_path / "register"
    Register.create(path, "VN", now_s=NOW).close()

    def work(start: int) -> None:
        with Register.open(path) as register:
            for n in range(start, start + 20):
                register.add(entries(2, start=2 * n), now_s=NOW)

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 15)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Register.open(path) as register:
        assert len(held(register)[Scope(HashType.UCI, "VN")]) == 70


# --- batches ---------------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(HashType),
            st.sampled_from([None, KID]),
            st.integers(0, 40),
            st.integers(-1, 4),
        ),
        max_size=60,
    ),
    st.lists(st.integers(0, 60), max_size=3),
)
def test_nothing_is_lost_or_doubled(tmp_path_factory, rows, cuts) -> None:
    """Whatever is added between which exports: each is in a batch that lasts as long as it."""
    path = tmp_path_factory.mktemp("register") / "register"
    wanted: dict[tuple, int] = {}
    with pytest.MonkeyPatch.context() as patch, Register.create(path, "VN", now_s=NOW) as register:
        patch.setattr(register_module, "MAX_BATCH_ENTRIES", 7)
        for number, (hash_type, kid, n, days) in enumerate(rows):
            register.add([Entry(hash_type, kid, digest(n), NOW + days * DAY)], now_s=NOW)
            if days > 0:
                key = (Scope(hash_type, "VN", kid), digest(n))
                wanted[key] = max(wanted.get(key, 0), NOW + days * DAY)
            if number in cuts:
                register.make_batches(now_s=NOW)
        register.make_batches(now_s=NOW)
        assert register.make_batches(now_s=NOW) == 0
        until: dict[tuple, list[int]] = {}
        for numbered in register.batches(NOW):
            batch = register.content(numbered)
            assert 1 <= len(batch.entries) <= 7
            assert list(batch.entries) == sorted(set(batch.entries))
            for entry in batch.entries:
                until.setdefault((batch.scope, entry), []).append(numbered.expires_s)
        assert until.keys() == wanted.keys()
        assert all(max(until[key]) >= wanted[key] for key in wanted)
        if not cuts:
            assert all(len(times) == 1 for times in until.values())
        found = held(register)
        assert {(scope, e) for scope, some in found.items() for e in some} == wanted.keys()
        assert all(some == sorted(set(some)) for some in found.values())


def test_those_that_expire_together_are_together(register: Register) -> None:
    """A batch lasts as long as its last entry, so it has few that have expired before."""
    register.add([e for n in range(2500) for e in entries(1, start=n, days=1 + n % 25)], now_s=NOW)
    assert register.make_batches(now_s=NOW) == 3
    found = list(register.batches(NOW))
    assert [(b.number, b.entries, (b.expires_s - NOW) // DAY) for b in found] == [
        (1, 1000, 10),
        (2, 1000, 20),
        (3, 500, 25),
    ]
    assert len({b.name for b in found}) == 3
    assert found[0].name == f"batch-000001-{found[0].sha256.hex()[:16]}.cms"
    assert sha256(register.content(found[0]).to_json()).digest() == found[0].sha256


# --- files that are none ---------------------------------------------------------------------


def test_it_is_made_once(register: Register, tmp_path: Path) -> None:
    path = tmp_path / "register"
    with pytest.raises(InputError, match="there already"):
        Register.create(path, "VN", now_s=NOW)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="there already"):
        Register.create(tmp_path / "dangling", "VN", now_s=NOW)
    for country in ("", "vn", "V", "Việt"):
        with pytest.raises(InputError, match="country"):
            Register.create(tmp_path / "other", country, now_s=NOW)
    with pytest.raises(InputError):
        Register.create(tmp_path / "no" / "folder", "VN", now_s=NOW)
    assert not (tmp_path / "other").exists()


def sql(*statements: str):
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path)) as database:
            for statement in statements:
                database.execute(statement)
            database.commit()

    return change


def fill(data: bytes):
    return lambda path: path.write_bytes(data)


def at(place: int, value: bytes):
    def change(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[place : place + len(value)] = value
        path.write_bytes(data)

    return change


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


SCHEMA = "PRAGMA writable_schema = ON"

HOSTILE = {
    "missing": (Path.unlink, InputError),
    "pipe": (pipe, InputError),
    "folder": (folder, InputError),
    "empty": (fill(b""), TrustError),
    "text": (fill(b"HC1:6BF\n" * 50), TrustError),
    "other program's": (sql("PRAGMA application_id = 7"), TrustError),
    "newer": (sql("PRAGMA user_version = 2"), TrustError),
    "cut": (cut, TrustError),
    "no header": (at(0, bytes(16)), TrustError),
    "page size": (at(16, b"\1\0"), TrustError),
    "page": (at(5 * 4096, b"\xff" * 200), TrustError),
    "trigger": (
        sql(
            "CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM entries; END",
        ),
        TrustError,
    ),
    "view": (
        sql(
            "DROP TABLE register",
            "CREATE VIEW register AS SELECT 'VN' AS country, 1 AS created_at",
        ),
        TrustError,
    ),
    "another table": (sql("CREATE TABLE evil (x)"), TrustError),
    "no index": (sql("DROP INDEX by_batch"), TrustError),
    "schema that is none": (
        sql(SCHEMA, "UPDATE sqlite_schema SET sql = 'CREATE TABLE entries (a\n b' WHERE rowid = 2"),
        TrustError,
    ),
    "another root": (
        sql(SCHEMA, "UPDATE sqlite_schema SET rootpage = 2 WHERE name = 'entries'"),
        TrustError,
    ),
    "no country": (sql("DELETE FROM register"), TrustError),
    "two countries": (sql("INSERT INTO register VALUES ('LA', 1)"), TrustError),
    "a country of another form": (sql("UPDATE register SET country = 'vn'"), TrustError),
    "a hash of another length": (
        sql("UPDATE entries SET hash = x'00' WHERE number = 7"),
        TrustError,
    ),
    "another hash": (
        sql("UPDATE entries SET hash = zeroblob(16) WHERE number = 7"),
        TrustError,
    ),
    "a kid of another length": (sql("UPDATE entries SET kid = x'01' WHERE number = 7"), TrustError),
    "a type of nobody": (sql("UPDATE entries SET hash_type = 4 WHERE number = 7"), TrustError),
    "an entry lost": (sql("DELETE FROM entries WHERE number = 7"), TrustError),
    "an entry more": (sql("UPDATE entries SET batch = 1 WHERE number = 1100"), TrustError),
    "a batch's digest": (sql("UPDATE batches SET sha256 = x'00'"), TrustError),
    "a batch's time": (sql(f"UPDATE batches SET expires_at = {1 << 60}"), TrustError),
    "a batch's type": (sql("UPDATE batches SET hash_type = -1"), TrustError),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_register(tmp_path: Path, name: str) -> None:
    """An error of one line at once, whichever way it is read; never another content as if sound."""
    change, kind = HOSTILE[name]
    path = tmp_path / "register"
    with Register.create(path, "VN", now_s=NOW) as register:
        register.add(entries(1000), now_s=NOW)
        register.make_batches(now_s=NOW)
        register.add(entries(500, start=1000), now_s=NOW)
    change(path)
    began = time.monotonic()
    with pytest.raises(kind) as caught, Register.open(path) as register:
        for numbered in register.batches(NOW):
            register.content(numbered)
        register.make_batches(now_s=NOW)
        for _ in register.unexpired(NOW):
            pass
    assert time.monotonic() - began < 5
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_pages_that_are_used_twice(tmp_path: Path) -> None:
    """A small file can't claim a large content: pages of pages of the same page."""
    path = tmp_path / "register"
    with Register.create(path, "VN", now_s=NOW) as register:
        register.add(entries(2000), now_s=NOW)
    with closing(sqlite3.connect(path)) as database:
        [(root,)] = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'entries'")
    data = bytearray(path.read_bytes())
    page = memoryview(data)[4096 * (root - 1) : 4096 * root]
    assert page[0] == 5  # an interior page: two bytes for each child, where its pointer stands
    count = int.from_bytes(page[3:5], "big")
    assert count > 3
    places = [int.from_bytes(page[12 + 2 * n : 14 + 2 * n], "big") for n in range(count)]
    for place in places[1:]:
        page[place : place + 4] = page[places[0] : places[0] + 4]
    page.release()
    path.write_bytes(data)
    with pytest.raises(TrustError, match="damaged pages"):
        Register.open(path)


@pytest.mark.parametrize("seed", range(40))
def test_bytes_that_were_changed(tmp_path: Path, seed: int) -> None:
    """One of our errors, or what was there: no other exception, no hang."""
    import random

    rng = random.Random(seed)
    path = tmp_path / "register"
    with Register.create(path, "VN", now_s=NOW) as register:
        register.add(entries(300), now_s=NOW)
        register.make_batches(now_s=NOW)
    data = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(data)
    said = ""
    try:
        with Register.open(path) as register:
            for numbered in register.batches(NOW):
                register.content(numbered)
            register.add(entries(10, start=300), now_s=NOW)
            register.make_batches(now_s=NOW)
            for _ in register.unexpired(NOW):
                pass
    except VaxpassError as error:
        said = str(error)
    assert "\n" not in said


def test_one_that_is_held(register: Register, tmp_path: Path, monkeypatch) -> None:
    """Whoever waits too long is told so."""
    from vaxpass_sign.revocation import register_file

    monkeypatch.setattr(register_file, "_WAIT_S", 0.1)
    with closing(sqlite3.connect(tmp_path / "register", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with (
            Register.open(tmp_path / "register") as second,
            pytest.raises(InputError, match="BUSY"),
        ):
            second.add(entries(1), now_s=NOW)
        other.execute("ROLLBACK")
