"""The trust store: DSCs by their kid, and for each whether an anchor issued it.

A TrustStore is immutable; stores are added up with ``|``. Files of certificates and kept lists
carry no signature that is checked here, so whoever can write them decides whom we believe: keep
them where only an administrator can write, or give ``anchors``, and then each DSC must have been
issued by one of those CSCAs. A signed list is believed only with anchors, which are then the keys
that may sign it.

A kid is eight bytes of a hash and may belong to several DSCs: :meth:`TrustStore.candidates` gives
all of them, and the verifier tries each.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from vaxpass_sign.check.trust.files import find_sources, read_certificates
from vaxpass_sign.check.trust.issued import sift
from vaxpass_sign.errors import CertificateError, InputError, TrustError
from vaxpass_sign.x509 import Certificate

if TYPE_CHECKING:
    from vaxpass_sign.check.lists.result import Anchor, SignedList
    from vaxpass_sign.check.trust.kept import KeptList

__all__ = ["TrustStore"]

logger = logging.getLogger(__name__)

Source = str | PathLike[str]


class TrustStore:
    """DSCs by kid. Threads may share one.

    ``anchored``: the DSCs that a CSCA issued, as the caller has checked; True for all of them.
    ``refused``: why DSCs were left out, by kid.
    """

    def __init__(
        self,
        dscs: Iterable[Certificate] = (),
        *,
        anchored: bool | Iterable[Certificate] = False,
        refused: Mapping[bytes, str] = MappingProxyType({}),
    ) -> None:
        # Of each kid, DER → the DSC; None stands for one that nobody has asked for yet. A kept list
        # has thousands, parsing takes 85 µs each, and most runs ask for one.
        self._by_kid: dict[bytes, dict[bytes, Certificate | None]] = {}
        for dsc in dscs:
            self._by_kid.setdefault(dsc.kid, {})[dsc.der] = dsc
        if isinstance(anchored, bool):
            chosen = self._ders() if anchored else ()
        else:
            chosen = (dsc.der for dsc in anchored)
        self._anchored = frozenset(chosen)
        self._refused = dict(refused)
        self._stale: tuple[str, ...] = ()
        self._found: dict[bytes, tuple[Certificate, ...]] = {}

    # --- where stores come from ------------------------------------------------------------

    @classmethod
    def load(
        cls,
        source: Source,
        anchors: Source | Iterable[Anchor | Path] | None = None,
        *,
        at: datetime | None = None,
        documents: Iterable[bytes] = (),
    ) -> TrustStore:
        """Load a folder, a file of certificates, a kept list or a signed list.

        Of a folder (not of its subfolders) the certificate files (.pem .crt .cer .der) and the kept
        lists (.trust.json) are read.

        Args:
            anchors: certificates and keys, or files or a folder of them. For a signed list, who may
                sign it; a CA that issued the signer is not enough. For anything else the CSCAs:
                each DSC must have been issued by one of them (:meth:`issued_by`).
            at: the moment for which a signed list is checked and the age of lists is judged
                (:attr:`stale`), an aware datetime; now when left out.
            documents: where the references of a GDHCN list may lead.
        Raises: TrustError when there is nothing to load, a file can't be read or is none of these,
            a signed list has no anchors or fails its check, or no DSC was issued by an anchor;
            InputError when ``at`` has no UTC offset.
        """
        if not str(source):
            raise TrustError("found an empty path, expected a folder or file of DSCs: name one")
        if at is None:
            at = datetime.now(UTC)
        elif at.utcoffset() is None:
            raise InputError("at: found a datetime without a UTC offset, expected an aware one")
        found = find_sources(Path(source))
        if found.signed is not None:
            return cls._load_signed(source, found.signed, anchors, at, documents)
        store = cls(dsc for path in found.certificates for dsc in read_certificates(path))
        for path in found.kept:
            from vaxpass_sign.check.trust.kept import read_kept

            store |= cls.of_kept(read_kept(path), at)
        return store if anchors is None else store._anchored_by(source, anchors)

    @classmethod
    def of_list(cls, signed: SignedList) -> TrustStore:
        """The DSCs of a signed list, which must have been checked.

        The list's CSCAs are covered by its signature. A DSC whose issuer has the name of one of
        them must have been issued by it, and is anchored; else it is refused. One whose issuer's
        name none of them bears is kept, not anchored.
        """
        sifted = sift(signed.dscs, signed.cscas, required=False)
        dscs = (*sifted.anchored, *sifted.not_anchored)
        return cls(dscs, anchored=sifted.anchored, refused=sifted.refused)

    @classmethod
    def of_kept(cls, kept: KeptList, at: datetime) -> TrustStore:
        """The DSCs of a kept list, as it says of them; nothing is checked again."""
        store = cls(refused=kept.refused)
        for der in (*kept.anchored, *kept.not_anchored):
            store._by_kid.setdefault(hashlib.sha256(der).digest()[:8], {})[der] = None
        store._anchored = frozenset(kept.anchored)
        stale = kept.stale(at)
        store._stale = (stale,) if stale else ()
        return store

    def issued_by(self, cscas: Iterable[Certificate]) -> TrustStore:
        """A store of only those DSCs that one of these CSCAs issued, all of them anchored.

        The log and the Verdict of what another one signed say why it was left out.
        """
        sifted = sift(self, cscas, required=True)
        for kid, why in sifted.refused.items():
            logger.warning("DSC with kid %s left out: %s", kid.hex(), why)
        store = TrustStore(
            sifted.anchored, anchored=True, refused={**self._refused, **sifted.refused}
        )
        store._stale = self._stale
        return store

    def __or__(self, other: TrustStore) -> TrustStore:
        """Both stores' DSCs; one is anchored when it is in either."""
        store = TrustStore(refused={**self._refused, **other._refused})
        for each in (self, other):
            for kid, found in each._by_kid.items():
                mine = store._by_kid.setdefault(kid, {})
                for der, dsc in found.items():
                    mine[der] = dsc or mine.get(der)
        store._anchored = self._anchored | other._anchored
        store._stale = tuple(dict.fromkeys(self._stale + other._stale))
        return store

    # --- what a store says -----------------------------------------------------------------

    @property
    def anchored(self) -> bool:
        """Whether a CSCA issued each of the DSCs, and there is one."""
        return bool(self) and all(der in self._anchored for der in self._ders())

    @property
    def stale(self) -> tuple[str, ...]:
        """Which lists were older than allowed when they were loaded, in words, each a line.

        A service that runs for weeks loads them anew now and then, or is never told.
        """
        return self._stale

    def is_anchored(self, dsc: Certificate) -> bool:
        """Whether a CSCA that is an anchor, or that a signed list vouches for, issued this DSC."""
        return dsc.der in self._anchored

    def candidates(self, kid: bytes) -> tuple[Certificate, ...]:
        """The DSCs that have this kid; empty when there is none."""
        try:
            return self._found[kid]
        except KeyError:
            return self._look_up(kid)

    def why_refused(self, kid: bytes) -> str | None:
        """Why the DSC of a kid without candidates was left out; None when there was none."""
        return None if self.candidates(kid) else self._refused.get(kid)

    def __iter__(self) -> Iterator[Certificate]:
        for kid in self._by_kid:
            yield from self.candidates(kid)

    def __len__(self) -> int:
        return sum(map(len, self._by_kid.values()))

    def __repr__(self) -> str:
        return f"TrustStore({len(self)} DSCs, anchored={self.anchored})"

    # --- inside ----------------------------------------------------------------------------

    def _look_up(self, kid: bytes) -> tuple[Certificate, ...]:
        """The DSCs of a kid, each parsed the first time; what is no certificate is left out."""
        if kid not in self._by_kid:  # kids come from credentials: those are not remembered
            return ()
        found = []
        for der, known in self._by_kid[kid].items():
            try:
                found.append(known or Certificate.from_bytes(der))
            except CertificateError as error:
                self._refused[kid] = str(error)
                logger.warning("DSC with kid %s left out: %s", kid.hex(), error)
        self._found[kid] = tuple(found)
        return self._found[kid]

    def _ders(self) -> Iterator[bytes]:
        for found in self._by_kid.values():
            yield from found

    @classmethod
    def _load_signed(
        cls,
        source: Source,
        data: bytes,
        anchors: Source | Iterable[Anchor | Path] | None,
        at: datetime,
        documents: Iterable[bytes],
    ) -> TrustStore:
        from vaxpass_sign.check.lists.detect import read_list
        from vaxpass_sign.check.trust.anchors import read_anchors
        from vaxpass_sign.check.trust.keeping import MAX_AGE
        from vaxpass_sign.check.trust.kept import in_days

        if anchors is None:
            raise TrustError(
                f"{source} is a signed list and no anchor was given: give --anchor with the "
                "certificate or key of whoever signs it, got in another way than the list"
            )
        pinned = read_anchors(anchors)
        try:
            # The bytes say whether these are DSCs, of which the anchors are the CSCAs, or a list:
            # as a CA, an anchor would let each DSC's holder sign a list of DSCs of his own.
            signed = read_list(data, pinned, at, documents=documents, by_ca=False)
        except TrustError as error:
            raise TrustError(f"{source}: {error}") from error
        store = cls.of_list(signed)
        if not store:
            raise TrustError(f"{source}: found no DSC that can be used, expected one: get it again")
        if signed.issued_at is not None and at - signed.issued_at > MAX_AGE:
            store._stale = (
                f"{source} was issued {in_days(at - signed.issued_at)} ago, expected at most "
                f"{in_days(MAX_AGE)}: get a newer one",
            )
        if store._refused:
            logger.warning("%s: %d DSCs left out, see trust add", source, len(store._refused))
        return store

    def _anchored_by(self, source: Source, anchors: Source | Iterable[Anchor | Path]) -> TrustStore:
        from vaxpass_sign.check.trust.anchors import certificates_of, read_anchors

        cscas = certificates_of(read_anchors(anchors), source)
        store = self.issued_by(cscas)
        if not store:
            raise TrustError(
                f"{source}: found {len(self)} certificates, none issued by one of the "
                f"{len(cscas)} anchors: give the CSCA that issued them"
            )
        return store
