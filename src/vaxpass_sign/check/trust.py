"""Whom we believe: DSCs by their kid.

A TrustStore is immutable; stores are added up with ``|``. It takes folders and bundles of PEM or
DER files. Such files carry no signature of their own, so whoever can write them decides whom we
believe: keep them where only an administrator can write, or give ``anchors``, and then each DSC
must have been issued by one of those CSCAs.

A kid is eight bytes of a hash and may belong to several DSCs: :meth:`TrustStore.candidates` gives
all of them, and the verifier tries each.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from types import MappingProxyType

from vaxpass_sign.errors import CertificateError, TrustError
from vaxpass_sign.files import read_bounded
from vaxpass_sign.x509 import Certificate, check_issued_by, load_certificates

__all__ = ["MAX_FILES", "MAX_FILE_BYTES", "TrustStore"]

logger = logging.getLogger(__name__)

MAX_FILE_BYTES = 16 * 1024 * 1024
"""Bytes of the largest file of DSCs that is read; all DSCs of the EU's gateway took 3 MB."""

MAX_FILES = 20_000
"""Files of a folder that are read."""

_SUFFIXES = frozenset({".pem", ".crt", ".cer", ".der"})

Source = str | PathLike[str]


class TrustStore:
    """DSCs by kid."""

    def __init__(
        self,
        dscs: Iterable[Certificate],
        *,
        anchored: bool = False,
        refused: Mapping[bytes, str] = MappingProxyType({}),
    ) -> None:
        by_kid: dict[bytes, dict[bytes, Certificate]] = {}
        for dsc in dscs:
            by_kid.setdefault(dsc.kid, {})[dsc.der] = dsc
        self._by_kid: Mapping[bytes, tuple[Certificate, ...]] = MappingProxyType(
            {kid: tuple(found.values()) for kid, found in by_kid.items()}
        )
        self._anchored = anchored
        self._refused = {kid: why for kid, why in refused.items() if kid not in by_kid}

    @property
    def anchored(self) -> bool:
        """Whether each DSC was issued by an anchor."""
        return self._anchored

    @classmethod
    def load(
        cls, source: Source, anchors: Source | Iterable[Certificate] | None = None
    ) -> TrustStore:
        """Load a folder of certificate files (.pem .crt .cer .der, not its subfolders) or one file.

        ``anchors``: CSCAs, or a file or folder of them. With anchors each DSC must have been issued
        by one of them (:func:`vaxpass_sign.x509.check_issued_by`); one that was not is left out,
        and the log and the Verdict of what it signed say so.

        Raises: TrustError when there is nothing to load, a file can't be read or isn't a
        certificate, or no DSC was issued by an anchor.
        """
        if not str(source):
            raise TrustError("found an empty path, expected a folder or file of DSCs: name one")
        dscs = list(_read(Path(source), "DSC"))
        if anchors is None:
            return cls(dscs)
        if isinstance(anchors, str | PathLike):
            cscas = list(_read(Path(anchors), "CSCA"))
        else:
            cscas = list(anchors)
        anchored, refused = [], {}
        for dsc in dscs:
            why = _why_not_issued_by(dsc, cscas)
            if why is None:
                anchored.append(dsc)
            else:
                refused[dsc.kid] = why
        if not anchored:
            raise TrustError(
                f"{source}: found {len(dscs)} certificates, none issued by one of the "
                f"{len(cscas)} anchors: give the CSCA that issued them"
            )
        return cls(anchored, anchored=True, refused=refused)

    def __reduce__(self) -> tuple[Callable[..., TrustStore], tuple[object, ...]]:
        return _again, (list(self), self._anchored, self._refused)

    def candidates(self, kid: bytes) -> tuple[Certificate, ...]:
        """The DSCs that have this kid; empty when there is none."""
        return self._by_kid.get(kid, ())

    def why_refused(self, kid: bytes) -> str | None:
        """Why the DSC of a kid without candidates was left out; None when there was none."""
        return self._refused.get(kid)

    def __or__(self, other: TrustStore) -> TrustStore:
        """Both stores' DSCs; anchored only when both are."""
        return TrustStore(
            [*self, *other],
            anchored=self.anchored and other.anchored,
            refused={**self._refused, **other._refused},
        )

    def __iter__(self) -> Iterator[Certificate]:
        for found in self._by_kid.values():
            yield from found

    def __len__(self) -> int:
        return sum(map(len, self._by_kid.values()))

    def __repr__(self) -> str:
        return f"TrustStore({len(self)} DSCs, anchored={self.anchored})"


def _again(dscs: list[Certificate], anchored: bool, refused: Mapping[bytes, str]) -> TrustStore:
    return TrustStore(dscs, anchored=anchored, refused=refused)


def _why_not_issued_by(dsc: Certificate, cscas: list[Certificate]) -> str | None:
    """Why none of the CSCAs issued it; None when one did."""
    failures = []
    for csca in cscas:
        try:
            check_issued_by(dsc, csca)
        except CertificateError as error:
            failures.append(str(error))
        else:
            return None
    why = "; ".join(failures[:3])
    logger.warning("DSC with kid %s left out: %s", dsc.kid.hex(), why)
    return why


def _read(source: Path, what: str) -> Iterator[Certificate]:
    """Every certificate of a file or of a folder's files, in the order of their names."""
    try:
        is_folder = source.is_dir()
        found = source.iterdir() if is_folder else iter(())
        paths = sorted(path for path in found if path.suffix.lower() in _SUFFIXES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TrustError(
            f"{source!s} can't be read: {reason}; give a folder or file of {what}s"
        ) from error
    if not is_folder:
        yield from _read_file(source)
        return
    if not paths:
        raise TrustError(
            f"{source}: found no .pem, .crt, .cer or .der file, expected at least one {what}: "
            "put the issuers' certificates there"
        )
    if len(paths) > MAX_FILES:
        raise TrustError(f"{source}: found {len(paths)} files, expected at most {MAX_FILES}")
    for path in paths:
        yield from _read_file(path)


def _read_file(path: Path) -> list[Certificate]:
    try:
        data = read_bounded(path, MAX_FILE_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TrustError(
            f"{path} can't be read: {reason}; give a file of certificates in PEM or DER"
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise TrustError(f"{path}: found more than {MAX_FILE_BYTES} bytes: split the file")
    try:
        return load_certificates(data)
    except CertificateError as error:
        raise TrustError(f"{path}: {error}") from error
