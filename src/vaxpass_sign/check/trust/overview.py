"""What is in a trust store, source by source: for whoever looks after it.

>>> Overview.of_store("dsc", TrustStore([])).dscs
0
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vaxpass_sign.check.lists.reading import check_moment
from vaxpass_sign.check.lists.result import LeftOut
from vaxpass_sign.check.trust.files import find_sources, read_certificates
from vaxpass_sign.check.trust.kept import FILES, KeptList, read_kept
from vaxpass_sign.check.trust.store import TrustStore
from vaxpass_sign.errors import TrustError
from vaxpass_sign.x509 import Certificate

__all__ = ["Overview", "overviews"]

_REFUSED = "not issued by the CSCA that it names"
_NO_COUNTRY = "?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """One source: a kept list, or the certificate files of a folder together."""

    name: str
    format: str
    dscs: int
    anchored: int
    """DSCs that a CSCA issued."""
    countries: Mapping[str, int]
    """DSCs by the country of their subject."""
    left_out: Mapping[str, int]
    """What is not among the DSCs, and why."""
    kept: KeptList | None = None
    """None for files that lie in the folder themselves."""
    age: timedelta | None = None
    stale: bool = False
    """Whether it is older than allowed, or has expired."""

    @classmethod
    def of_store(cls, name: str, store: TrustStore, kept: KeptList | None = None) -> Overview:
        """The overview of a source's store; age and staleness are the caller's to add."""
        dscs = list(store)
        left_out = {} if kept is None else {str(w): n for w, n in kept.left_out.items()}
        if kept is not None and kept.refused:
            left_out[_REFUSED] = len(kept.refused)
        if len(store) > len(dscs):
            unreadable = str(LeftOut.UNREADABLE)
            left_out[unreadable] = left_out.get(unreadable, 0) + len(store) - len(dscs)
        countries = Counter((dsc.country or _NO_COUNTRY).upper() for dsc in dscs)
        return cls(
            name=name,
            format=FILES if kept is None else kept.format,
            dscs=len(dscs),
            anchored=sum(map(store.is_anchored, dscs)),
            countries=dict(sorted(countries.items())),
            left_out=left_out,
            kept=kept,
        )

    @classmethod
    def of_kept(cls, kept: KeptList, at: datetime) -> Overview:
        """The overview of a kept list at a moment."""
        found = cls.of_store(kept.name, TrustStore.of_kept(kept, at), kept)
        return cls(
            name=found.name,
            format=found.format,
            dscs=found.dscs,
            anchored=found.anchored,
            countries=found.countries,
            left_out=found.left_out,
            kept=kept,
            age=kept.age(at),
            stale=kept.stale(at) is not None,
        )


def overviews(
    directory: Path, at: datetime | None = None
) -> tuple[list[Overview | TrustError], Overview]:
    """Each source of a folder, or why it can't be read; and the total of those that can.

    Raises: TrustError when there is no source at all, or a signed list in the place of a folder;
    InputError when ``at`` has no UTC offset.
    """
    at = datetime.now(UTC) if at is None else at
    check_moment(at)
    found = find_sources(directory)
    if found.signed is not None:
        raise TrustError(
            f"{directory}: found a signed list, of which nothing is believed yet, expected a trust "
            "store: add it (trust add), then show the store"
        )
    sources: list[Overview | TrustError] = []
    total = TrustStore([])
    for path in found.kept:
        try:
            kept = read_kept(path)
        except TrustError as error:
            sources.append(error)
        else:
            sources.append(Overview.of_kept(kept, at))
            total |= TrustStore.of_kept(kept, at)
    dscs: list[Certificate] = []
    for path in found.certificates:
        try:
            dscs += read_certificates(path)
        except TrustError as error:
            sources.append(error)
    files = TrustStore(dscs)
    if files:
        sources.append(Overview.of_store("certificate files", files))
    return sources, Overview.of_store("total", total | files)
