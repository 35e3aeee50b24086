"""Where the command line's trust and revocations are: in the paths given, or the user's folders."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from vaxpass_sign.check.revocation.known import SUFFIX, Revocations
from vaxpass_sign.check.trust import TrustStore
from vaxpass_sign.check.trust.files import find_sources
from vaxpass_sign.cli.output import tell
from vaxpass_sign.errors import TrustError

__all__ = ["filled_store", "load_revocations", "load_trust", "user_store"]


def user_store() -> Path:
    """The folder of the user's trust store, which need not exist."""
    return _user_folder("trust")


def _user_folder(name: str) -> Path:
    import platformdirs

    return Path(platformdirs.user_data_dir("vaxpass-sign")) / name


def filled_store() -> Path:
    """The user's trust store. Raises: TrustError when there is nothing in it."""
    store = user_store()
    try:
        find_sources(store)
    except TrustError as error:
        raise TrustError(
            f"no trust: found no --trust and nothing in your trust store {store}, expected DSCs: "
            "give --trust PATH, or put them there (vaxpass-sign trust add)"
        ) from error
    return store


def load_trust(paths: Iterable[Path], anchors: list[Path]) -> TrustStore:
    """The DSCs of the paths, or of the user's trust store; says which lists are too old."""
    pinned = None
    if anchors:
        from vaxpass_sign.check.trust.anchors import read_anchors

        try:
            pinned = read_anchors(anchors)
        except TrustError as error:
            raise TrustError(f"--anchor: {error}") from error
    store = TrustStore([])
    for path in list(paths) or [filled_store()]:
        store |= TrustStore.load(path, anchors=pinned)
    for line in store.stale:
        tell(line)
    return store


def load_revocations(paths: list[Path], at: datetime | None) -> Revocations:
    """The files of the paths, or of the user's folder; says which of them have expired."""
    revocations = Revocations.open(paths or _kept(_user_folder("revocation")))
    for store in revocations.stores:
        if store.stale(at or datetime.now(UTC)):
            tell(
                f"{store.path} expired at {store.expires_at:%Y-%m-%d %H:%M} UTC: what it revokes "
                "counts, and what it lacks may be revoked since; get a new one"
            )
    return revocations


def _kept(folder: Path) -> list[Path]:
    """The folder, unless it is missing or has no such file.

    One that can't be read, or is a file, is no reason to believe that nothing is revoked: opening
    it says what is wrong.
    """
    try:
        is_empty = not any(path.name.endswith(SUFFIX) for path in folder.iterdir())
    except FileNotFoundError:
        is_empty = True
    except OSError:
        is_empty = False
    return [] if is_empty else [folder]
