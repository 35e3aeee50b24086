"""From signed batches of any country to the one file that a reader asks.

Each batch must be signed by one of the pinned certificates, of its own country, and keep every rule
of :mod:`vaxpass_sign.check.revocation.batch`. One that doesn't is named, and no store is written:
the one that was there stays. What has expired is left out; it is signed all the same. What is
missing among the batches can't be seen here.

The store has what these batches have and nothing else, so give all that are in force.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vaxpass_sign.check.revocation.batch import MAX_BATCH_BYTES, Batch, read_signed_batch
from vaxpass_sign.check.revocation.building import write_store
from vaxpass_sign.check.revocation.table import MAGIC
from vaxpass_sign.errors import InputError, TrustError
from vaxpass_sign.files import open_regular, read_bounded
from vaxpass_sign.x509 import Certificate

__all__ = ["MAX_BATCHES", "Imported", "import_batches"]

MAX_BATCHES: Final = 1_000_000
"""Files at most."""

_MAX_FILE: Final = 2 * MAX_BATCH_BYTES
"""Bytes of a signed batch at most: its content, certificates and signature, or that as base64."""
_DER_BEGINS: Final = b"\x30"
_BEGINNING: Final = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Imported:
    """Batches taken and left out since they have ``expired``, those taken by country, and the
    different entries of the store.
    """

    batches: int
    expired: int
    countries: dict[str, int]
    entries: int


def import_batches(
    path: Path,
    sources: Iterable[Path],
    anchors: Iterable[Certificate],
    *,
    expires_at: datetime,
    at: datetime | None = None,
) -> Imported:
    """Check signed batches and write a store of them, in bounded memory.

    Args:
        sources: files, each one batch as CMS (DER, or its base64); of a folder every file is
            taken, but for stores and those whose names begin with a dot.
        anchors: the pinned certificates of those who sign batches. Whether they are valid in time
            is not asked: who is no longer believed is not pinned.
        expires_at: from when on the store's silence says nothing; an aware datetime.
        at: the moment for which expiry is judged; now when left out.
    Raises: TrustError that names the batch which is not to be believed; InputError when there is
        none, one can't be read, or the store can't be written.
    """
    at = at or datetime.now(UTC)
    pinned, counted, expired = tuple(anchors), Counter[str](), 0
    files = list(_files(sources))
    if not files:
        raise InputError("found no batch, expected at least one file; give all that are in force")

    def unexpired() -> Iterator[Batch]:
        nonlocal expired
        for file in files:
            batch = _read(file, pinned)
            if batch.expires_at <= at:
                expired += 1
            else:
                counted[batch.scope.country] += 1
                yield batch

    entries = write_store(
        path,
        ((batch.scope, batch.entries) for batch in unexpired()),
        expires_at=expires_at,
        created_at=at,
    )
    return Imported(counted.total(), expired, dict(sorted(counted.items())), entries)


def _files(sources: Iterable[Path]) -> Iterator[Path]:
    found = 0
    for source in sources:
        try:
            names = sorted(p for p in source.iterdir() if not p.name.startswith("."))
        except NotADirectoryError:
            names = [source]
        except OSError as error:
            raise InputError(
                f"{source} can't be read: {error.strerror}; expected a batch or a folder of batches"
            ) from error
        else:
            names = [name for name in names if not _is_store(name)]
        found += len(names)
        if found > MAX_BATCHES:
            raise InputError(f"found over {MAX_BATCHES} files: make several stores")
        yield from names


def _is_store(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):
        return False  # what can't be read is named when it is read as a batch


def _read(path: Path, anchors: tuple[Certificate, ...]) -> Batch:
    try:
        data = read_bounded(path, _MAX_FILE)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path} can't be read: {reason}; expected a signed batch") from error
    if len(data) > _MAX_FILE:
        raise TrustError(
            f"{path}: found over {_MAX_FILE} bytes, expected one signed batch; take it out"
        )
    if not data.startswith(_DER_BEGINS):
        with suppress(binascii.Error):  # what it is instead is said below
            data = base64.b64decode(b"".join(data.split()), validate=True)
    try:
        # One that has expired must be signed as well.
        return read_signed_batch(data, anchors, at=_BEGINNING)
    except TrustError as error:
        raise TrustError(f"{path}: {error}", error.code) from error
