"""From the register to what is published: signed batches, and the store for offline readers.

The order of writes, and what holds if we stop after each:

1. Entries that are in no batch are put into new ones, in the register: **the commit point**. A stop
   before it changes nothing. After it, number, content and name of each batch stand for good.
2. Each unexpired batch that has no file in the folder is signed and its file written, whole or not
   at all. A stop between two leaves those that are done; the next run signs the others and none
   anew.
3. ``revoked.vxrev`` is written, whole or not at all; so it is never newer than the batches.

Recovery is the same call again. One program at a time works on a folder.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from vaxpass_sign.check.revocation.building import write_store
from vaxpass_sign.durable import make_directory, write_file
from vaxpass_sign.errors import CertificateError, InputError
from vaxpass_sign.keys.signer import Signer
from vaxpass_sign.revocation.register import NumberedBatch, Register
from vaxpass_sign.revocation.signing import sign_batch
from vaxpass_sign.x509 import Certificate

__all__ = ["STORE_DAYS", "STORE_NAME", "Exported", "export_batches"]

STORE_NAME: Final = "revoked.vxrev"

STORE_DAYS: Final = 7
"""Days after which a store's silence stops counting, unless said otherwise."""


@dataclass(frozen=True, slots=True)
class Exported:
    """Batches that were ``made`` now, ``signed`` now, and ``there`` with a file before; the
    ``entries`` of the store.
    """

    made: int
    signed: int
    there: int
    entries: int


def export_batches(  # noqa: PLR0913 (each is a part of what is published)
    register: Register,
    folder: Path,
    certificate: Certificate,
    opening: Callable[[], AbstractContextManager[Signer]],
    *,
    expires_at: datetime | None = None,
    now: datetime | None = None,
) -> Exported:
    """Write every batch that has no file in the folder yet, and the store.

    Args:
        certificate: that of the key that signs batches, of the register's country; not a DSC.
        opening: opens that key; called only when there is something to sign.
        expires_at: when the store's silence stops counting; after a week unless given.
        now: an aware datetime.
    Raises: CertificateError when the certificate is another country's, another key's, or not valid
        now; InputError when something can't be written or the folder is in use; TrustError when the
        register is not sound; TokenError when the key can't sign. The same call goes on.
    """
    now = now or datetime.now(UTC)
    expires_at = expires_at or now + timedelta(days=STORE_DAYS)
    if expires_at <= now:
        raise InputError("--expires: found a time that is past, expected when the next one is due")
    _check_certificate(certificate, register.country, now)
    now_s = int(now.timestamp())
    make_directory(folder)
    with _alone(folder):
        register.check_indexes()
        made = register.make_batches(now_s=now_s)
        signed = there = 0
        with ExitStack() as stack:
            signer: Signer | None = None
            for batch in register.batches(now_s):
                path = folder / batch.name
                if path.exists():
                    there += 1
                    continue
                signer = signer or stack.enter_context(opening())
                write_file(path, _signed(register, batch, signer, certificate, now))
                signed += 1
        entries = write_store(
            folder / STORE_NAME, register.unexpired(now_s), expires_at=expires_at, created_at=now
        )
    return Exported(made, signed, there, entries)


def _signed(
    register: Register,
    batch: NumberedBatch,
    signer: Signer,
    certificate: Certificate,
    now: datetime,
) -> bytes:
    return sign_batch(register.content(batch), signer, certificate, at=now)


def _check_certificate(certificate: Certificate, country: str, now: datetime) -> None:
    """Before anything is committed, and not when the first batch is signed."""
    if certificate.country != country:
        raise CertificateError(
            f"found the certificate of {certificate.subject}, expected one of {country}, whose "
            "register this is; give that one"
        )
    if not certificate.not_before <= now <= certificate.not_after:
        raise CertificateError(
            f"the certificate of {certificate.subject} is valid from "
            f"{certificate.not_before:%Y-%m-%d} to {certificate.not_after:%Y-%m-%d}, expected it "
            "to be valid now; give the newer one"
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder; the kernel frees the lock of a process that was killed."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(
            f"{folder} can't be opened: {error.strerror}; choose another folder"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"{folder} is in use: another export is writing it; wait until it is done"
            ) from error
        yield
    finally:
        os.close(descriptor)
