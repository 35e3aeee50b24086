"""Files and folders of trust: which of them hold certificates, kept lists or a signed list.

>>> from pathlib import Path
>>> is_signed_list(b'[{"kid": "a"}]'), is_signed_list(b"-----BEGIN CERTIFICATE-----")
(True, False)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vaxpass_sign.errors import CertificateError, TrustError
from vaxpass_sign.files import read_bounded
from vaxpass_sign.x509 import Certificate, load_certificates

__all__ = [
    "KEPT_SUFFIX",
    "MAX_FILES",
    "MAX_FILE_BYTES",
    "Found",
    "certificate_files",
    "find_sources",
    "is_signed_list",
    "read_certificates",
    "read_file",
]

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
"""Bytes of the largest file of DSCs that is read; all DSCs of the EU's gateway took 3 MB."""

MAX_FILES: Final = 20_000
"""Files of a folder that are read."""

KEPT_SUFFIX: Final = ".trust.json"
"""What the name of a kept list ends in."""

_SUFFIXES = frozenset({".pem", ".crt", ".cer", ".der"})
_PEM = b"-----BEGIN "


@dataclass(frozen=True, slots=True)
class Found:
    """What a source consists of; ``signed`` alone, or files."""

    certificates: tuple[Path, ...] = ()
    """Files of certificates."""
    kept: tuple[Path, ...] = ()
    """Kept lists."""
    signed: bytes | None = None
    """A signed list."""


def find_sources(source: Path) -> Found:
    """What a folder or a file is. Of a folder, files with other names are passed over.

    Raises: TrustError when it can't be read, or there is nothing of the kind in a folder.
    """
    if _is_folder(source, "DSC"):
        found = _listed(source, "DSC")
        certificates = tuple(path for path in found if path.suffix.lower() in _SUFFIXES)
        kept = tuple(path for path in found if path.name.endswith(KEPT_SUFFIX))
        if not certificates and not kept:
            raise _empty(source, "DSC")
        return Found(certificates, kept)
    if source.name.endswith(KEPT_SUFFIX):
        return Found(kept=(source,))
    data = read_file(source, "certificates in PEM or DER, or a signed list")
    return Found(signed=data) if is_signed_list(data) else Found(certificates=(source,))


def is_signed_list(data: bytes) -> bool:
    """Whether bytes look like a signed list (JSON or a JWS) and not like certificates.

    What begins as JSON is never taken for certificates, whatever stands further on: else a list
    without its signature could be believed as a local file.
    """
    start = data.lstrip(b" \t\r\n")[:2]
    if start[:1] in (b"[", b"{"):
        return True
    return start == b"ey" and _PEM not in data


def certificate_files(folder: Path, what: str) -> list[Path]:
    """The files of a folder that hold certificates by their names, at least one.

    Raises: TrustError when there is none or too many.
    """
    found = [path for path in _listed(folder, what) if path.suffix.lower() in _SUFFIXES]
    if not found:
        raise _empty(folder, what)
    return found


def read_certificates(path: Path) -> list[Certificate]:
    """Every certificate of a file. Raises: TrustError that names it."""
    data = read_file(path, "certificates in PEM or DER")
    try:
        return load_certificates(data)
    except CertificateError as error:
        raise TrustError(f"{path}: {error}") from error


def read_file(path: Path, expected: str, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a file. Raises: TrustError that names it when it can't be read or is larger."""
    try:
        data = read_bounded(path, max_bytes)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TrustError(f"{path} can't be read: {reason}; give a file of {expected}") from error
    if len(data) > max_bytes:
        raise TrustError(f"{path}: found more than {max_bytes} bytes: split the file")
    return data


def _is_folder(source: Path, what: str) -> bool:
    try:
        return source.is_dir()
    except (OSError, ValueError) as error:
        raise _unreadable(source, what, error) from error


def _listed(folder: Path, what: str) -> list[Path]:
    """The files of a folder with names of the kinds that are read, in the order of the names."""
    try:
        found = sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in _SUFFIXES or path.name.endswith(KEPT_SUFFIX)
        )
    except (OSError, ValueError) as error:
        raise _unreadable(folder, what, error) from error
    if len(found) > MAX_FILES:
        raise TrustError(f"{folder}: found {len(found)} files, expected at most {MAX_FILES}")
    return found


def _unreadable(source: Path, what: str, error: Exception) -> TrustError:
    reason = getattr(error, "strerror", None) or str(error)
    return TrustError(f"{source!s} can't be read: {reason}; give a folder or file of {what}s")


def _empty(folder: Path, what: str) -> TrustError:
    return TrustError(
        f"{folder}: found no .pem, .crt, .cer or .der file and no kept list, expected at least one "
        f"{what}: put the issuers' certificates there, or add a trust list"
    )
