"""What a verifier knows of revocation: stores of revoked credentials and allow-lists, added up.

A revoked credential is revoked whatever the age of the file that says so. The silence of a store
counts until it expires: :meth:`Revocations.answers` says whether that of all of them does. (A store
that has no entry of a country is silent about it too; that its maker gathers that country's batches
is the verifier's own knowledge.)

>>> from datetime import UTC
>>> Revocations().answers(datetime(2026, 1, 1, tzinfo=UTC))
False
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, KeysView
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Final, Self

from vaxpass_sign.check.revocation.hashes import HashType
from vaxpass_sign.check.revocation.store import ALLOWED, AllowList, RevocationStore, kind_of
from vaxpass_sign.closing import Closing
from vaxpass_sign.errors import TrustError
from vaxpass_sign.hcert.codec import Hcert

__all__ = ["MAX_FILES", "SUFFIX", "Revocations"]

MAX_FILES: Final = 1000
"""Files at most: each is asked for each credential."""

SUFFIX: Final = ".vxrev"
"""By which these files are found in a folder."""


class Revocations(Closing):
    """Open stores and allow-lists. Threads may share them; close when done.

    A pickled one opens its files anew, so that it can go to worker processes; their hashes are
    compared there too, since a file may have been replaced meanwhile.
    """

    def __init__(
        self, stores: Iterable[RevocationStore] = (), allow_lists: Iterable[AllowList] = ()
    ) -> None:
        self.stores = tuple(stores)
        self.allow_lists = tuple(allow_lists)
        by_kid: dict[bytes, list[AllowList]] = {}
        for allow_list in self.allow_lists:
            by_kid.setdefault(allow_list.kid, []).append(allow_list)
        self._by_kid = by_kid

    @classmethod
    def open(cls, paths: Iterable[str | PathLike[str]], *, check: bool = True) -> Self:
        """Open files of either kind, or folders of them (``*.vxrev``, not their subfolders).

        ``check``: compare each file's hash, see :meth:`RevocationStore.open`.

        Raises: TrustError when one can't be read or is not what was written, or a folder has none.
        """
        stores: list[RevocationStore] = []
        allow_lists: list[AllowList] = []
        try:
            for path in _files(Path(path) for path in paths):
                if kind_of(path) == ALLOWED:
                    allow_lists.append(AllowList.open(path, check=check))
                else:
                    stores.append(RevocationStore.open(path, check=check))
        except BaseException:
            cls(stores, allow_lists).close()
            raise
        return cls(stores, allow_lists)

    def answers(self, at: datetime) -> bool:
        """Whether there are stores and the silence of all of them still counts at a moment.

        ``at``: an aware datetime.
        """
        return bool(self.stores) and not any(store.stale(at) for store in self.stores)

    def expiry(self) -> datetime | None:
        """From when on they don't answer any more; None without stores."""
        return min((store.expires_at for store in self.stores), default=None)

    def revoked(self, hcert: Hcert, country: str | None = None) -> HashType | None:
        """By which hash a store revokes an HCERT; None when none does.

        ``country``: that of the DSC which signed it, see :meth:`RevocationStore.revoked`.
        Raises: TrustError when a file turns out not to be sound.
        """
        for store in self.stores:
            found = store.revoked(hcert, country)
            if found is not None:
                return found
        return None

    @property
    def stolen(self) -> KeysView[bytes]:
        """The kids that there is an allow-list of."""
        return self._by_kid.keys()

    def about_key(self, hcert: Hcert) -> bool:
        """Whether the key of the HCERT's kid was stolen: there is an allow-list of it."""
        return self._lists(hcert) is not None

    def honest(self, hcert: Hcert) -> bool:
        """Whether the key of its kid was not stolen, or it is among what that honestly signed.

        A key that signed in several campaigns has several lists; one of them is enough.
        Raises: TrustError when a file turns out not to be sound.
        """
        lists = self._lists(hcert)
        return lists is None or any(allow_list.permits(hcert) for allow_list in lists)

    def _lists(self, hcert: Hcert) -> list[AllowList] | None:
        return None if hcert.kid is None else self._by_kid.get(hcert.kid)

    def __reduce__(self) -> tuple[Callable[..., Revocations], tuple[object, ...]]:
        return type(self).open, ([file.path for file in (*self.stores, *self.allow_lists)],)

    def close(self) -> None:
        """Give up the files; a second close does nothing."""
        for file in (*self.stores, *self.allow_lists):
            file.close()


def _inside(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.name.endswith(SUFFIX))


def _files(paths: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        try:
            # iterdir and not glob, for which a folder that can't be read is an empty one.
            inside = sorted(_inside(path)) if path.is_dir() else [path]
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise TrustError(f"{path} can't be read: {reason}; give a revocation file") from error
        if not inside:
            raise TrustError(
                f"{path}: found no {SUFFIX} file, expected revocation stores or allow-lists: "
                "name the file, or put them there"
            )
        found += inside
    if len(found) > MAX_FILES:
        raise TrustError(
            f"found {len(found)} revocation files, expected at most {MAX_FILES}: build one store "
            "of them"
        )
    return found
