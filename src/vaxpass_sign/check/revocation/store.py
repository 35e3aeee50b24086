"""What verifying asks: is this HCERT revoked, and did a key that was stolen honestly sign it?

An entry of a batch speaks of one country's credentials, and of those under one kid unless the batch
says UNKNOWN_KID. So an HCERT is looked up among the entries of its own country alone: another
country can't revoke it, by error or on purpose. Its country is what its ``iss`` says and, where the
caller knows it, what the DSC that signed it says; both count. One without either, or whose ``iss``
is no country's code, is looked up everywhere: it must not escape by saying nothing.

A kid in the unprotected header is its holder's to write, so then the entries of every kid of the
country count: a key with two DSCs has two kids to choose from.

A stolen key signs what its thief likes, dates included. Its allow-list names, by a hash over
message and signature, everything that was honestly signed under its kid; nothing else under that
kid counts any more. (A key with two DSCs needs a list for each kid; verifying refuses what was
signed under one without, as long as it knows both DSCs.) A holder who changes (r, s) to
(r, n-s) falls off the list: nobody else is harmed by that.

Neither looks at the clock: ``created_at`` and ``expires_at`` say how old the file is, and whoever
relies on its silence asks :meth:`RevocationStore.stale`.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Final, Self

from vaxpass_sign.check.revocation.hashes import (
    ALLOWED_BYTES,
    HASH_BYTES,
    HASH_TYPES,
    KID_BYTES,
    HashType,
    Scope,
    all_hashes,
    hash_allowed,
    is_country,
)
from vaxpass_sign.check.revocation.table import HEADER, MAGIC, VERSION, Key, Table
from vaxpass_sign.closing import Closing
from vaxpass_sign.errors import InputError, TrustError
from vaxpass_sign.files import read_bounded
from vaxpass_sign.hcert.claims import CLAIM_ISS
from vaxpass_sign.hcert.codec import Hcert
from vaxpass_sign.hcert.cose import Sign1

__all__ = ["ALLOWED", "ANY_TYPE", "REVOKED", "AllowList", "RevocationStore", "key_of", "kind_of"]

REVOKED: Final = 1
ALLOWED: Final = 2
"""The kinds of a table."""
ANY_TYPE: Final = 0
"""The hash type of an allow-list's section."""

Finder = Callable[[bytes], bool]
_Finders = tuple[tuple[Finder, ...], ...]
"""Whom to ask, for each of HASH_TYPES."""

_COUNTRY_UCI: Final = HASH_TYPES.index(HashType.COUNTRYCODEUCI)
_NUMBER: Final = {HashType.UCI: 1, HashType.COUNTRYCODEUCI: 2, HashType.SIGNATURE: 3}
_KEPT_AT_MOST: Final = 4096
_MAX_COUNTRY: Final = 3
_TYPE: Final = {number: hash_type for hash_type, number in _NUMBER.items()}


def key_of(scope: Scope) -> Key:
    """A scope as a table's section has it."""
    country = scope.country.encode("ascii").ljust(4, b"\0")
    if scope.kid is None:
        return Key(_NUMBER[scope.hash_type], 0, country, bytes(KID_BYTES))
    return Key(_NUMBER[scope.hash_type], 1, country, scope.kid)


def kind_of(path: str | PathLike[str]) -> int:
    """Whether a file says that it is a revocation store (REVOKED) or an allow-list (ALLOWED).

    Only its first bytes are looked at; ``open`` checks the rest.

    Raises: TrustError when it can't be read, or says something else.
    """
    try:
        head = read_bounded(Path(path), HEADER.size)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TrustError(
            f"{path} can't be read: {reason}; expected a file of revocation entries"
        ) from error
    if len(head) < HEADER.size or not head.startswith(MAGIC):
        raise TrustError(
            f"{path}: found something else, expected a file of revocation entries; give one that "
            "revoke import, export or key made"
        )
    version, kind = HEADER.unpack_from(head)[1:3]
    if version != VERSION or kind not in (REVOKED, ALLOWED):
        raise TrustError(
            f"{path}: found version {version} and kind {kind}, expected version {VERSION} and kind "
            f"{REVOKED} or {ALLOWED}; use the program that made it"
        )
    return int(kind)


class _File(Closing):
    """What both kinds of file have in common. Threads may share one; close it when done."""

    def __init__(self, table: Table) -> None:
        """Not for callers: see ``open``."""
        self._table = table

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self._table.name)

    @property
    def entries(self) -> int:
        """How many entries it has."""
        return self._table.header.entries

    @property
    def created_at(self) -> datetime:
        """When its entries were gathered, by whoever wrote it."""
        return datetime.fromtimestamp(self._table.header.created_s, UTC)

    @property
    def expires_at(self) -> datetime:
        """From when on its silence says nothing."""
        return datetime.fromtimestamp(self._table.header.expires_s, UTC)

    def stale(self, at: datetime) -> bool:
        """Whether a newer file is due at a moment (an aware datetime)."""
        return at >= self.expires_at

    def check_order(self) -> None:
        """See :meth:`vaxpass_sign.check.revocation.table.Table.check_order`."""
        self._table.check_order()

    def close(self) -> None:
        """Give up the file; a second close does nothing."""
        self._table.close()


class RevocationStore(_File):
    """Revoked credentials by their hashes, in a file mapped into memory."""

    def __init__(self, table: Table) -> None:
        """Not for callers: see :meth:`open`.

        Raises: TrustError for a section of an unknown hash type or country.
        """
        super().__init__(table)
        self._by_scope = {
            _scope(key, table.name): section for key, section in table.sections.items()
        }
        self._finders = {scope: table.finder(section) for scope, section in self._by_scope.items()}
        self._asked: dict[tuple[str | None, str | None, bytes | None], _Finders] = {}
        """Whom to ask for credentials of an issuer, a DSC's country and a protected kid; None for
        one that is not protected."""

    @classmethod
    def open(cls, path: str | PathLike[str], *, check: bool = True) -> Self:
        """Open a store.

        ``check``: compare the hash over the whole file (about 0.1 s for 160 MB). Without it damage
        inside of the entries goes unseen, and what it strikes counts as not revoked.

        Raises: TrustError when it can't be read, or is not what was written.
        """
        table = Table.open(Path(path), REVOKED, HASH_BYTES, check=check)
        try:
            return cls(table)
        except BaseException:
            table.close()
            raise

    @property
    def scopes(self) -> dict[Scope, int]:
        """The number of entries of each scope."""
        return {scope: section.count for scope, section in self._by_scope.items()}

    def holds(self, scope: Scope, entry: bytes) -> bool:
        """Whether a hash of 16 bytes is among the entries of exactly this scope.

        Raises: InputError for a hash of another length; TrustError when the file is not sound.
        """
        if len(entry) != HASH_BYTES:
            raise InputError(f"entry: found {len(entry)} bytes, expected {HASH_BYTES}")
        finder = self._finders.get(scope)
        return finder is not None and finder(entry)

    def revoked(self, hcert: Hcert, country: str | None = None) -> HashType | None:
        """By which hash an HCERT is revoked; None when it is not.

        ``country``: that of the DSC which signed it, by the trust list; ``iss`` counts beside it.
        Whether the HCERT is valid otherwise is not asked; it must have been decoded, no more.

        Raises: TrustError when the file turns out not to be sound.
        """
        asked = self._about(hcert.sign1, hcert.claims.get(CLAIM_ISS), country)
        hashes = all_hashes(hcert, country_uci=bool(asked[_COUNTRY_UCI]))
        for number, finders in enumerate(asked):
            if finders:
                for entry in hashes[number]:
                    for holds in finders:
                        if holds(entry):
                            return HASH_TYPES[number]
        return None

    def _about(self, sign1: Sign1, issuer: str | None, country: str | None) -> _Finders:
        """Whom to ask for an HCERT; the same for all credentials of an issuer, so it is kept."""
        kid = sign1.kid if sign1.kid_protected else None
        if issuer is not None and len(issuer) > _MAX_COUNTRY:
            issuer = None  # no country, and a stranger may write as much as a QR code holds
        key = (issuer, country, kid)
        found = self._asked.get(key)
        if found is None:
            if len(self._asked) >= _KEPT_AT_MOST:
                self._asked.clear()
            found = self._asked[key] = self._choose({issuer, country}, kid)
        return found

    def _choose(self, countries: Set[str | None], kid: bytes | None) -> _Finders:
        """``kid``: None where any may be meant."""
        known = {code for code in countries if code is not None and is_country(code)}
        found: dict[HashType, list[Finder]] = {hash_type: [] for hash_type in HASH_TYPES}
        for scope, finder in self._finders.items():
            its_country = scope.country in known or not known
            # One that says nothing of its country or whose kid is not fixed must not escape by it.
            its_kid = kid is None or scope.kid in (None, kid)
            if its_country and its_kid:
                found[scope.hash_type].append(finder)
        return tuple(map(tuple, found.values()))


class AllowList(_File):
    """What was honestly signed under one kid whose key was stolen."""

    def __init__(self, table: Table) -> None:
        """Not for callers: see :meth:`open`.

        Raises: TrustError when it is not about exactly one kid.
        """
        super().__init__(table)
        sections = list(table.sections.values())
        if len(sections) != 1 or sections[0].key[:3] != (ANY_TYPE, 1, bytes(4)):
            raise TrustError(
                f"{table.name}: found {len(sections)} sections, expected those of an allow-list, "
                "one kid's; get or build it again"
            )
        self._section = sections[0]

    @classmethod
    def open(cls, path: str | PathLike[str], *, check: bool = True) -> Self:
        """Open an allow-list; see :meth:`RevocationStore.open`."""
        table = Table.open(Path(path), ALLOWED, ALLOWED_BYTES, check=check)
        try:
            return cls(table)
        except BaseException:
            table.close()
            raise

    @property
    def kid(self) -> bytes:
        """The kid that it is about, 8 bytes."""
        return self._section.key.kid

    def permits(self, hcert: Hcert) -> bool:
        """Whether an HCERT may count: it has another kid, or is on the list.

        Raises: TrustError when the file turns out not to be sound.
        """
        if hcert.kid != self.kid:
            return True
        return self._table.holds(self._section, hash_allowed(hcert.sign1))


def _scope(key: Key, name: str) -> Scope:
    try:
        country = key.country.rstrip(b"\0").decode("ascii")
        return Scope(_TYPE[key.hash_type], country, key.kid if key.has_kid else None)
    except (KeyError, UnicodeDecodeError, InputError) as error:
        raise TrustError(
            f"{name}: found a section of an unknown hash type or country, expected "
            f"{', '.join(HashType)} and letters; get or build it again"
        ) from error
