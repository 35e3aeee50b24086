"""The file of sorted entries: exact for all that it holds, and harmless whatever its bytes are."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vaxpass_sign.check.revocation import HashType, RevocationStore, Scope, building, write_store
from vaxpass_sign.check.revocation.store import key_of
from vaxpass_sign.check.revocation.table import HEADER, SECTION, Table, digest_of
from vaxpass_sign.errors import InputError, TrustError
from work import at_most_calls

MADE, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
SCOPE = Scope(HashType.UCI, "VN")
OTHER = Scope(HashType.SIGNATURE, "VN", bytes(range(8)))

# Hashes as they are, and ones that crowd: under one prefix, at its ends, and of few bytes, so that
# an entry's bytes stand across two others.
ENTRY = st.one_of(
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=2, max_size=2).map(lambda tail: b"\x7f" * 14 + tail),
    st.sampled_from([bytes(16), b"\xff" * 16, b"\0\0\0\0" + b"\xff" * 12, b"\x80" + bytes(15)]),
    st.lists(st.sampled_from([0, 1]), min_size=16, max_size=16).map(bytes),
)
in_a_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def build(path: Path, *entries: tuple[Scope, list[bytes]]) -> int:
    return write_store(path, entries, expires_at=END, created_at=MADE)


def resealed(data: bytes) -> bytes:
    """The bytes with the digest that fits them, as a hostile writer would leave them."""
    at = HEADER.size - 32
    return data[:at] + digest_of(data) + data[at + 32 :]


def opened(data: bytes) -> Table:
    table = Table(data, "the file", 1, 16)
    table.check_digest()
    return table


def good(count: int = 300) -> bytes:
    """The bytes of a store with two sections."""
    import tempfile

    entries = [struct.pack(">QQ", n * (2**64 // count), n) for n in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        build(path, (SCOPE, entries), (OTHER, entries[::2]))
        return path.read_bytes()


GOOD = good()


@in_a_folder
@given(held=st.lists(ENTRY, max_size=200), asked=st.lists(ENTRY, max_size=50))
def test_membership_is_exact(tmp_path: Path, held: list[bytes], asked: list[bytes]) -> None:
    """The same answer as a set's, for what is in it, its neighbours, and anything else."""
    path, expected = tmp_path / "store", set(held)
    assert build(path, (SCOPE, held)) == len(expected)
    near = [
        ((int.from_bytes(entry, "big") + step) % 2**128).to_bytes(16, "big")
        for entry in held
        for step in (-1, 1)
    ]
    with RevocationStore.open(path) as store:
        for entry in (*held, *near, *asked):
            assert store.holds(SCOPE, entry) == (entry in expected)
        store.check_order()


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7, 8, 9, 31, 32, 33, 64, 1000, 5000])
def test_the_borders_of_every_prefix(tmp_path: Path, count: int) -> None:
    """First and last entry under each prefix are found; what would stand beside them is not."""
    path, step = tmp_path / "store", 2**128 // max(count, 1)
    held = [
        min(n * step + d, 2**128 - 1).to_bytes(16, "big")
        for n in range(count)
        for d in (0, step - 1)
    ]
    expected = set(held)
    assert build(path, (SCOPE, held)) == len(expected)
    with RevocationStore.open(path) as store:
        assert all(store.holds(SCOPE, entry) for entry in held)
        for entry in expected:
            beside = (int.from_bytes(entry, "big") ^ 2).to_bytes(16, "big")
            assert store.holds(SCOPE, beside) == (beside in expected)


def test_the_same_bytes_across_two_entries_are_no_entry(tmp_path: Path) -> None:
    first, second = b"\x01" * 8 + b"\x02" * 8, b"\x02" * 8 + b"\x03" * 8
    path = tmp_path / "store"
    build(path, (SCOPE, [first, second]))
    assert (first + second)[8:24] in path.read_bytes()
    with RevocationStore.open(path) as store:
        assert not store.holds(SCOPE, b"\x02" * 16)
        assert store.holds(SCOPE, first)
        assert store.holds(SCOPE, second)


def test_an_entry_behind_the_same_bytes_across_two_others(tmp_path: Path) -> None:
    """The search goes on behind a place where the bytes stand across two entries."""
    entry, path = b"\x02" * 16, tmp_path / "store"
    build(path, (SCOPE, [b"\x01" * 8 + b"\x02" * 8, entry]))
    data = path.read_bytes()
    assert data.find(entry) == HEADER.size + 8
    with RevocationStore.open(path) as store:
        assert store.holds(SCOPE, entry)


def test_many_under_one_prefix_are_halved(tmp_path: Path) -> None:
    """Entries that somebody chose to begin alike are found, and as fast."""
    held = [bytes(8) + (3 * n).to_bytes(8, "big") for n in range(50_000)]
    path = tmp_path / "store"
    build(path, (SCOPE, held))
    with RevocationStore.open(path) as store, at_most_calls(100_000):
        for n in range(0, 50_000, 50):
            assert store.holds(SCOPE, held[n])
            assert not store.holds(SCOPE, bytes(8) + (3 * n + 1).to_bytes(8, "big"))


@in_a_folder
@given(
    st.lists(st.tuples(st.sampled_from([SCOPE, OTHER]), st.lists(ENTRY, max_size=60)), max_size=6)
)
def test_the_bytes_do_not_depend_on_numpy_nor_on_shares(
    tmp_path: Path, entries: list[tuple[Scope, list[bytes]]]
) -> None:
    """Without numpy, and in shares of the first byte, the very same file."""
    with pytest.MonkeyPatch.context() as patch:
        build(tmp_path / "a", *entries)
        patch.setattr(building, "_numpy", lambda: None)
        build(tmp_path / "b", *entries)
        patch.setattr(building, "_SHARE", 8)
        patch.setattr(building, "_AT_ONCE", 3)
        build(tmp_path / "c", *entries)
        patch.undo()
        patch.setattr(building, "_SHARE", 8)
        build(tmp_path / "d", *entries)
    assert len({(tmp_path / name).read_bytes() for name in "abcd"}) == 1


def test_lookups_need_no_numpy(tmp_path: Path) -> None:
    path = tmp_path / "store"
    build(path, (SCOPE, [bytes(16)]))
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "from vaxpass_sign.check.revocation import HashType, RevocationStore, Scope\n"
        f"with RevocationStore.open({str(path)!r}) as store:\n"
        "    assert store.holds(Scope(HashType.UCI, 'VN'), bytes(16))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- what can't be written -----------------------------------------------------------------


@pytest.mark.parametrize("entries", [[b"short"], [bytes(16), bytes(17)], [bytes(32)]])
def test_a_wrong_entry_leaves_the_old_file(tmp_path: Path, entries: list[bytes]) -> None:
    path = tmp_path / "store"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match="16 bytes"):
        build(path, (SCOPE, entries))
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["store"]


def test_an_iterator_that_raises_leaves_the_old_file(tmp_path: Path) -> None:
    def broken():
        yield bytes(16)
        raise TrustError("half")

    path = tmp_path / "store"
    path.write_bytes(b"old")
    with pytest.raises(TrustError, match="half"):
        build(path, (SCOPE, broken()))
    assert path.read_bytes() == b"old"


def test_times(tmp_path: Path) -> None:
    for made, end in ((END, MADE), (MADE, MADE), (MADE, END.replace(tzinfo=None))):
        with pytest.raises(InputError):
            write_store(tmp_path / "store", [], expires_at=end, created_at=made)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be written"):
        build(tmp_path / "none" / "store")


def test_the_file_is_the_owners(tmp_path: Path) -> None:
    build(tmp_path / "store", (SCOPE, [bytes(16)]))
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o600


# --- hostile files ---------------------------------------------------------------------------


def ask(data: bytes, *, seal: bool = True) -> bool:
    """Open the bytes and do all that can be done; whether it went through without a TrustError."""
    try:
        table = opened(resealed(data) if seal and len(data) >= HEADER.size else data)
        for section in table.sections.values():
            for entry in (bytes(16), b"\xff" * 16, b"\x80" * 16, data[96:112].ljust(16, b"x")):
                table.holds(section, entry)
        table.check_order()
    except TrustError as error:
        message = str(error)
    else:
        return True
    assert "\n" not in message
    return False


def test_the_good_one() -> None:
    assert ask(GOOD)
    assert ask(GOOD, seal=False)


def test_every_cut_and_growth_is_refused() -> None:
    """Also with a hash that fits; a part of the file is never believed to be all of it."""
    for length in range(len(GOOD)):
        assert not ask(GOOD[:length])
    for more in (b"\0", bytes(16), GOOD):
        assert not ask(GOOD + more)


def test_every_flipped_bit_is_seen_by_the_hash() -> None:
    for at in range(len(GOOD)):
        bad = bytearray(GOOD)
        bad[at] ^= 1 << at % 8
        assert not ask(bytes(bad), seal=False), at


def test_order_and_index_are_checked_beside_the_hash() -> None:
    """Bytes changed in entries or index, with a hash that fits: check_order tells."""
    end, refused = HEADER.unpack_from(GOOD)[10], 0
    for at in range(HEADER.size, end, 3):
        bad = bytearray(GOOD)
        bad[at] ^= 0x80
        try:
            table = opened(resealed(bytes(bad)))
        except TrustError:
            refused += 1
            continue
        try:
            table.check_order()
        except TrustError:
            refused += 1
            continue
        # A changed low byte leaves an entry in its place: it is another entry, and in order.
        for section in table.sections.values():
            assert sorted(set(table.entries(section))) == list(table.entries(section))
    assert refused > 200  # every byte of an index, and the high ones of entries


def test_unsorted_entries() -> None:
    """Two that changed places: the hash refuses them; with a hash that fits, check_order does."""
    a, b = HEADER.size, HEADER.size + 16 * 40
    bad = bytearray(GOOD)
    bad[a : a + 16], bad[b : b + 16] = GOOD[b : b + 16], GOOD[a : a + 16]
    with pytest.raises(TrustError, match="SHA-256"):
        opened(bytes(bad))
    table = opened(resealed(bytes(bad)))
    with pytest.raises(TrustError, match="ascend"):
        table.check_order()


HEADER_FIELDS = [
    ("version", 8, "<H", (0, 2, 65535)),
    ("kind", 10, "<H", (0, 2, 65535)),
    ("width", 12, "<H", (0, 1, 15, 32)),
    ("reserved", 14, "<H", (1,)),
    ("sections", 16, "<I", (0, 1, 3, 100_001, 2**32 - 1)),
    ("reserved too", 20, "<I", (1,)),
    ("entries", 24, "<Q", (0, 449, 451, 2**30 + 1, 2**64 - 1)),
    ("created", 32, "<q", (-1, 2**62)),
    ("expires", 40, "<q", (-(2**62), 253_402_300_800)),
    ("table", 48, "<Q", (0, 95, 97, len(GOOD), 2**64 - 1)),
    ("size", 56, "<Q", (0, len(GOOD) - 1, 2**64 - 1)),
]


@pytest.mark.parametrize(
    ("at", "form", "value"),
    [(at, form, value) for _, at, form, values in HEADER_FIELDS for value in values],
)
def test_every_field_of_the_header(at: int, form: str, value: int) -> None:
    """A header that claims something else is refused, also with a hash that fits."""
    bad = bytearray(GOOD)
    struct.pack_into(form, bad, at, value)
    assert not ask(bytes(bad))


SECTION_FIELDS = [
    ("bits", 1, "<B", (0, 7, 9, 24, 25, 255)),
    ("has kid", 2, "<H", (2, 65535)),
    ("kid of a section without one", 8, "<Q", (1, 2**63)),
    ("count", 16, "<Q", (0, 299, 301, 2**63, 2**64 - 1)),
    ("entries at", 24, "<Q", (0, 95, 97, 2**64 - 1)),
    ("index at", 32, "<Q", (0, 96, 2**64 - 1)),
]


@pytest.mark.parametrize(
    ("at", "form", "value"),
    [(at, form, value) for _, at, form, values in SECTION_FIELDS for value in values],
)
def test_every_field_of_a_section(at: int, form: str, value: int) -> None:
    bad = bytearray(GOOD)
    (table_at,) = struct.unpack_from("<Q", GOOD, 48)
    # `bits` of the good one is 6: (300 // 4).bit_length() - 1.
    assert SECTION.unpack_from(GOOD, table_at)[1] == 6
    struct.pack_into(form, bad, table_at + at, value)
    assert not ask(bytes(bad))


def test_the_same_section_twice() -> None:
    (table_at,) = struct.unpack_from("<Q", GOOD, 48)
    row = GOOD[table_at : table_at + SECTION.size]
    assert not ask(GOOD[:table_at] + row + row)
    other = GOOD[table_at + SECTION.size :]
    assert not ask(GOOD[:table_at] + other + row)
    # Two of one name, each in its right place: one of them would never be asked.
    same_name = row[:1] + other[1:2] + row[2:16] + other[16:]
    assert not ask(GOOD[:table_at] + row + same_name)


def test_the_ends_of_an_index_are_checked_at_once() -> None:
    """A first number that is not 0, or a last one that is not the count, would hide entries."""
    (table_at,) = struct.unpack_from("<Q", GOOD, 48)
    _, bits, _, _, _, count, _, index_at = SECTION.unpack_from(GOOD, table_at)
    for number, value in ((0, 1), (0, 2**32 - 1), (1 << bits, count - 1), (1 << bits, count + 1)):
        bad = bytearray(GOOD)
        struct.pack_into("<I", bad, index_at + 4 * number, value)
        with pytest.raises(TrustError, match="ends"):
            Table(resealed(bytes(bad)), "the file", 1, 16)


@pytest.mark.parametrize("value", [1, 300, 301, 2**32 - 1])
def test_every_number_of_the_index(value: int) -> None:
    """A look-up stays inside of the section, or says that the index is none."""
    (table_at,) = struct.unpack_from("<Q", GOOD, 48)
    _, bits, _, _, _, _, _, index_at = SECTION.unpack_from(GOOD, table_at)
    asked = [os.urandom(16) for _ in range(50)] + [bytes([n]) + bytes(15) for n in range(256)]
    refused = 0
    for number in range((1 << bits) + 1):
        bad = bytearray(GOOD)
        struct.pack_into("<I", bad, index_at + 4 * number, value)
        try:
            table = opened(resealed(bytes(bad)))
        except TrustError:
            continue
        section = table.sections[key_of(SCOPE)]
        for entry in asked:
            try:
                table.holds(section, entry)
            except TrustError as error:
                refused += "index" in str(error)
    assert refused or value <= 300


@pytest.mark.parametrize("more", [1, 20, 1000])
def test_a_number_beyond_the_entries(more: int) -> None:
    """Both look-ups that read it say so, however near it is to a right one."""
    (table_at,) = struct.unpack_from("<Q", GOOD, 48)
    _, bits, _, _, _, count, _, index_at = SECTION.unpack_from(GOOD, table_at)
    for number in range(1, 1 << bits):
        bad = bytearray(GOOD)
        struct.pack_into("<I", bad, index_at + 4 * number, count + more)
        table = opened(resealed(bytes(bad)))
        for prefix in (number - 1, number):
            with pytest.raises(TrustError, match="index"):
                table.holds(
                    table.sections[key_of(SCOPE)], (prefix << 32 - bits).to_bytes(4, "big") * 4
                )


@given(st.data())
@settings(max_examples=300)
def test_any_bytes_changed(data: st.DataObject) -> None:
    """Several bytes of a good file, with a hash that fits: an answer or a TrustError."""
    bad = bytearray(GOOD)
    (table_at,) = struct.unpack_from("<Q", GOOD, 48)
    structure = st.one_of(
        st.integers(0, HEADER.size - 1),
        st.integers(table_at, len(GOOD) - 1),
        st.integers(0, len(GOOD) - 1),
    )
    for at in data.draw(st.lists(structure, min_size=1, max_size=6)):
        bad[at] = data.draw(st.integers(0, 255))
    ask(bytes(bad))


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    assert not ask(data)
    assert not ask(GOOD[: HEADER.size] + data)


def test_a_small_file_claims_no_large_content() -> None:
    """A hundred thousand sections that overlap would take hours to walk through: refused."""
    header = list(HEADER.unpack_from(GOOD))
    rows = b"".join(
        SECTION.pack(1, 0, 1, b"VN\0\0", n.to_bytes(8, "big"), 1, 96, 112) for n in range(100_000)
    )
    body = bytes(16) + struct.pack("<II", 0, 1)
    header[5], header[7], header[10], header[11] = (
        100_000,
        100_000,
        96 + len(body),
        96 + len(body) + len(rows),
    )
    with at_most_calls(1000):
        assert not ask(HEADER.pack(*header) + body + rows)


# --- files that are none -----------------------------------------------------------------------


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("hello")
    for name in ("pipe", "empty", "text", "missing", "."):
        with pytest.raises(TrustError) as caught:
            RevocationStore.open(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_without_the_check_only_damage_goes_unseen(tmp_path: Path) -> None:
    path = tmp_path / "store"
    bad = bytearray(GOOD)
    bad[HEADER.size + 20] ^= 1
    path.write_bytes(bad)
    with pytest.raises(TrustError, match="SHA-256"):
        RevocationStore.open(path)
    RevocationStore.open(path, check=False).close()
    path.write_bytes(GOOD[:-1])
    with pytest.raises(TrustError):
        RevocationStore.open(path, check=False)


def test_a_closed_store(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.write_bytes(GOOD)
    store = RevocationStore.open(path)
    store.close()
    store.close()
    with pytest.raises(ValueError, match="closed"):
        store.holds(SCOPE, bytes(16))


def test_a_replaced_file_leaves_the_open_one(tmp_path: Path) -> None:
    """Who has the old file open goes on with it; who opens anew gets the new one."""
    path, entry = tmp_path / "store", b"\x55" * 16
    build(path, (SCOPE, [bytes(16)]))
    with RevocationStore.open(path) as old:
        build(path, (SCOPE, [entry]))
        assert old.holds(SCOPE, bytes(16))
        assert not old.holds(SCOPE, entry)
        with RevocationStore.open(path) as new:
            assert new.holds(SCOPE, entry)
