"""Fuzzes the reading of revocation: stores and allow-lists as files, batches as JSON and as CMS.

The first byte of an input says what the rest of it is:

==========  ====================================================================================
store       a revocation store, after a byte that says what is made right: 1 its hash, 2 its length,
            4 the place of its table of sections
allowed     an allow-list, likewise
batch       a batch's JSON
signed      a batch as it comes, a CMS
resigned    the same, with its digest and signature made right
content     a batch's JSON, which is put into a CMS that is signed
==========  ====================================================================================

Held of each input: nothing but a VaxpassError of one printable line comes out of the product. A
file whose order was checked holds each of its entries and no other; a batch that was read is the
same when it is written and read again.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from random import Random

from fuzz import decoding
from fuzz.asking import asked, scratch
from fuzz.material import AT, NOW, dsc
from fuzz.signing import SIGNER, STRANGER, resigned_cms, signed_cms
from fuzz.trees import Mutate, change_der, change_json
from vaxpass_sign import inspect
from vaxpass_sign.check.revocation import (
    AllowList,
    HashType,
    RevocationStore,
    Scope,
    write_allow_list,
    write_store,
)
from vaxpass_sign.check.revocation.batch import Batch, read_batch, read_signed_batch
from vaxpass_sign.check.revocation.hashes import hash_allowed, hashes_of, is_country
from vaxpass_sign.check.revocation.table import HEADER, SECTION, digest_of
from vaxpass_sign.hcert.codec import Hcert

__all__ = ["KINDS", "mutate", "one", "seeds"]

KINDS = ("store", "allowed", "batch", "signed", "resigned", "content")

_HASH, _LENGTH, _PLACE = 1, 2, 4
_HASH_AT, _SIZE_AT, _TABLE_AT, _SECTIONS_AT = (
    HEADER.size - 32,
    HEADER.size - 40,
    HEADER.size - 48,
    16,
)
_MOST_ASKED = 200

_HCERTS = tuple(inspect(text) for text in decoding.TEXTS)
Contents = list[tuple[Scope, set[bytes]]]

_KID = dsc("dsc").kid
_COUNTRIES = (None, "VN", "XX")


# --- files ----------------------------------------------------------------------------------


def repaired(data: bytes, how: int) -> bytes:
    """A file with its length, its table's place and its hash made right, as ``how`` says."""
    if len(data) < HEADER.size:
        return data
    found = bytearray(data)
    if how & _LENGTH:
        found[_SIZE_AT : _SIZE_AT + 8] = len(data).to_bytes(8, "little")
    if how & _PLACE:
        sections = int.from_bytes(found[_SECTIONS_AT : _SECTIONS_AT + 4], "little")
        place = max(0, len(data) - sections * SECTION.size)
        found[_TABLE_AT : _TABLE_AT + 8] = place.to_bytes(8, "little")
    if how & _HASH:
        found[_HASH_AT : HEADER.size] = digest_of(bytes(found))
    return bytes(found)


def _file(data: bytes) -> Path:
    return scratch("store", repaired(data[1:], data[0] if data else 0))


def _run_store(data: bytes) -> bool:
    path = _file(data)
    opened = asked(RevocationStore.open, path)
    with opened or asked(RevocationStore.open, path, check=False) or _Nothing() as store:
        if isinstance(store, _Nothing):
            return False
        assert store.created_at.utcoffset() == store.expires_at.utcoffset() == timedelta(0)
        store.stale(AT)
        for hcert in _HCERTS:
            for country in _COUNTRIES:
                assert asked(store.revoked, hcert, country) in (None, *HashType)
        assert sum(store.scopes.values()) == store.entries, "a section hides another"
        if _is_ordered(store):
            _check_holds(store)
    return opened is not None


class _Nothing:
    """Stands for a file that was refused."""

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _is_ordered(file: RevocationStore | AllowList) -> bool:
    return asked(lambda: file.check_order() is None) is True


def _check_holds(store: RevocationStore) -> None:
    """Each entry is found, by look-up, in its scope; its neighbours only where they stand too."""
    contents: Contents = []
    for (scope, count), section in zip(
        store.scopes.items(), store._table.sections.values(), strict=True
    ):
        entries = list(store._table.entries(section))
        assert len(entries) == count
        known = set(entries)
        for entry in entries[:_MOST_ASKED]:
            assert store.holds(scope, entry), "an entry is not found"
            next_ = ((int.from_bytes(entry, "big") + 1) % (1 << 128)).to_bytes(16, "big")
            assert store.holds(scope, next_) == (next_ in known), "found what is none"
        contents.append((scope, known))
    for hcert in _HCERTS:
        for country in _COUNTRIES:
            expected = _revoked(hcert, country, contents)
            assert store.revoked(hcert, country) is expected, "revoked by another hash"


def _revoked(hcert: Hcert, country: str | None, contents: Contents) -> HashType | None:
    """The same by going through everything."""
    countries = {code for code in (hcert.issuer, country) if code is not None and is_country(code)}
    for hash_type in HashType:
        for scope, known in contents:
            its_country = not countries or scope.country in countries
            its_kid = not hcert.sign1.kid_protected or scope.kid in (None, hcert.kid)
            is_asked = scope.hash_type is hash_type and its_country and its_kid
            if is_asked and not known.isdisjoint(hashes_of(hcert, hash_type)):
                return hash_type
    return None


def _run_allowed(data: bytes) -> bool:
    path = _file(data)
    opened = asked(AllowList.open, path)
    with opened or asked(AllowList.open, path, check=False) or _Nothing() as allowed:
        if isinstance(allowed, _Nothing):
            return False
        assert len(allowed.kid) == 8
        is_ordered = _is_ordered(allowed)
        known = set(allowed._table.entries(allowed._section))
        for hcert in _HCERTS:
            permitted = asked(allowed.permits, hcert)
            if is_ordered:
                expected = hcert.kid != allowed.kid or hash_allowed(hcert.sign1) in known
                assert permitted == expected, "permits another than those of the list"
    return opened is not None


# --- batches --------------------------------------------------------------------------------


def _check_batch(batch: Batch | None) -> bool:
    if batch is None:
        return False
    assert read_batch(batch.to_json(), at=AT) == batch, "written and read again it is another"
    return True


def _run_batch(data: bytes) -> bool:
    return _check_batch(asked(read_batch, data, at=AT))


def _run_signed(data: bytes) -> bool:
    batch = asked(read_signed_batch, data, [SIGNER], at=AT)
    assert batch in (None, _BATCH), "a batch that nobody signed"
    return batch is not None


def _run_resigned(data: bytes) -> bool:
    return _check_batch(asked(read_signed_batch, resigned_cms(data), [SIGNER], at=AT))


def _run_content(data: bytes) -> bool:
    forged = signed_cms(data, "stranger", SIGNER)
    assert asked(read_signed_batch, forged, [SIGNER], at=AT) is None, "a forged batch is read"
    message = signed_cms(data, "signer", SIGNER)
    return _check_batch(asked(read_signed_batch, message, [SIGNER], at=AT))


_RUN: dict[str, Callable[[bytes], bool]] = {
    "store": _run_store,
    "allowed": _run_allowed,
    "batch": _run_batch,
    "signed": _run_signed,
    "resigned": _run_resigned,
    "content": _run_content,
}


def one(data: bytes) -> bool:
    """Run one input; whether a file was opened or a batch was read.

    Raises: AssertionError when something is not as it must be, and whatever the product raises.
    """
    kind, rest = KINDS[data[0] % len(KINDS)] if data else "batch", data[1:]
    return _RUN[kind](rest)


# --- the samples ----------------------------------------------------------------------------

_BATCH = Batch(
    Scope(HashType.UCI, "VN", _KID),
    NOW + timedelta(days=90),
    tuple(hashes_of(_HCERTS[0], HashType.UCI)),
)


def _stores(folder: Path) -> list[bytes]:
    """Stores of no entry, of a few scopes, and of so many that there is an index."""
    times = {"created_at": NOW, "expires_at": NOW + timedelta(days=30)}
    rng = Random(1)
    # Some anywhere, and so many under one prefix that they are halved.
    many = [rng.randbytes(16) for _ in range(40)]
    many += [bytes(8) + rng.randbytes(8) for _ in range(60)]
    many.append(b"\2" * 16)
    contents: list[list[tuple[Scope, list[bytes]]]] = [
        [],
        [(Scope(hash_type, "VN"), hashes_of(_HCERTS[0], hash_type)) for hash_type in HashType],
        [(Scope(HashType.UCI, "VN", _KID), many), (Scope(HashType.UCI, "XCL"), many[:3])],
    ]
    found = []
    for content in contents:
        path = folder / "store"
        write_store(path, content, **times)
        found.append(path.read_bytes())
    return found


def _allow_lists(folder: Path) -> list[bytes]:
    times = {"created_at": NOW, "expires_at": NOW + timedelta(days=30)}
    found = []
    for entries in (
        [],
        [hash_allowed(hcert.sign1) for hcert in _HCERTS],
        [bytes(32), b"\xff" * 32],
    ):
        path = folder / "allowed"
        write_allow_list(path, _KID, entries, **times)
        found.append(path.read_bytes())
    return found


def seeds() -> list[bytes]:
    """Inputs to begin with, of every kind."""
    with tempfile.TemporaryDirectory() as folder:
        stores, allowed = _stores(Path(folder)), _allow_lists(Path(folder))
    good = _BATCH.to_json()
    values = json.loads(good)
    changes: list[dict[str, object]] = [
        {"kid": "UNKNOWN_KID", "hashType": "SIGNATURE"},
        {"expires": "2026-01-31T00:00:00+07:00"},
        {"expires": "9999-12-31T23:59:59.123-23:59"},
        {"entries": values["entries"] * 3, "country": "XCL"},
        {"entries": []},
        {"country": 1},
    ]
    batches = [
        good,
        b"{}",
        b"[",
        b"",
        *(json.dumps(values | change).encode() for change in changes),
    ]
    messages = [
        signed_cms(good, "signer", SIGNER),
        signed_cms(good, "stranger", STRANGER),
        signed_cms(b"{}", "signer", SIGNER),
    ]
    every = _HASH | _LENGTH | _PLACE
    return [
        *(bytes((0, how)) + store for how, store in zip((every, _HASH, 0), stores, strict=True)),
        *(bytes((0, every)) + store for store in (*stores, stores[1][: HEADER.size], b"")),
        *(bytes((1, how)) + store for how, store in zip((every, _HASH, 0), allowed, strict=True)),
        *(bytes((1, every)) + store for store in (*allowed, stores[0])),
        *(b"\2" + batch for batch in batches),
        *(b"\3" + message for message in messages),
        *(b"\4" + message for message in messages[:1]),
        *(b"\5" + batch for batch in batches[:2]),
    ]


def mutate(data: bytes, rng: Random, by_bytes: Mutate) -> bytes | None:
    """An input with a changed tree; None where bytes are to be changed."""
    kind, head, rest = KINDS[data[0] % len(KINDS)], data[:1], data[1:]
    if kind in ("store", "allowed"):
        if not rest:
            return None
        # Most often with everything made right: then the change is seen by what is behind.
        how = rng.choice((7, 7, 7, rest[0], rng.randrange(8)))
        return head + bytes((how,)) + _changed_file(rest[1:], rng, by_bytes)
    change = change_der if kind in ("signed", "resigned") else change_json
    changed = change(rest, rng, by_bytes)
    return None if changed is None else head + changed


def _changed_file(data: bytes, rng: Random, by_bytes: Mutate) -> bytes:
    """A file changed in its header, in its table of sections, or anywhere."""
    kind, end = rng.randrange(4), len(data)
    begin = {0: 0, 1: max(0, end - SECTION.size), 2: HEADER.size}.get(kind, 0)
    stop = {0: min(end, HEADER.size), 2: max(HEADER.size, end - SECTION.size)}.get(kind, end)
    if kind == 3:
        return by_bytes(data)
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        if stop > begin:
            at = rng.randrange(begin, stop)
            changed[at] = rng.choice((0, 1, 2, 0xFF, 0x80, changed[at] ^ 1 << rng.randrange(8)))
    return bytes(changed)
