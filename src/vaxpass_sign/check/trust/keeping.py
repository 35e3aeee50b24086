"""Adding to kept lists: a new one takes the place of the last good one, or is refused and it stays.

A list is refused when

1. its signature fails, by the anchors given or else by those of the last good one;
2. it is of another format than the last good one;
3. it is older than allowed, where its format has a time that is signed, or has expired;
4. it was issued before the last good one;
5. it lacks more than a stated share of the last good one's DSCs that are still valid, or the CSCAs
   that issued them.

Nothing but the write of the new file, which is whole or not at all, changes what is kept: whatever
refuses a list, and whenever the machine stops, the old file is there as it was, or the new one is.

>>> from pathlib import Path
>>> keep_list(Path("/tmp"), "../x", b"")
Traceback (most recent call last):
    ...
vaxpass_sign.errors.InputError: --name: found '../x', expected 1 to 64 letters, ...
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from vaxpass_sign.check.lists.detect import read_list
from vaxpass_sign.check.lists.reading import MAX_ENTRIES, check_moment
from vaxpass_sign.check.lists.result import Anchor
from vaxpass_sign.check.trust.anchors import certificates_of, read_anchors
from vaxpass_sign.check.trust.files import find_sources, read_certificates
from vaxpass_sign.check.trust.issued import sift
from vaxpass_sign.check.trust.kept import (
    FILES,
    MAX_AGE_LIMIT,
    KeptList,
    in_days,
    kept_path,
    read_kept,
    write_kept,
)
from vaxpass_sign.durable import cannot_write, in_turn, make_directory
from vaxpass_sign.errors import CertificateError, InputError, TrustError, TrustFault
from vaxpass_sign.x509 import Certificate

__all__ = ["MAX_AGE", "MAX_SHRINK", "keep_files", "keep_list"]

MAX_AGE: Final = timedelta(days=30)
"""How old a signed list may be unless the operator says otherwise."""

MAX_SHRINK: Final = 0.2
"""The share of DSCs that a new list may lack unless the operator says otherwise."""

Anchors = Iterable[Anchor | Path]


def keep_list(  # noqa: PLR0913 (each is a decision of the operator's)
    directory: Path,
    name: str,
    data: bytes,
    anchors: Anchors | None = None,
    at: datetime | None = None,
    *,
    max_age: timedelta | None = None,
    max_shrink: float = MAX_SHRINK,
    documents: Iterable[bytes] = (),
    cscas: Anchors | None = None,
) -> KeptList:
    """Check a signed list and keep it as ``directory/NAME.trust.json``.

    Args:
        anchors: who may sign it, as certificates, keys or files of them; they are remembered for
            the next one. Left out: those of the last good one.
        at: the moment of checking, an aware datetime; now when left out.
        max_age: how old it may be, and later may get before its users are warned; remembered. Left
            out: as for the last good one, else MAX_AGE.
        max_shrink: the share of DSCs that it may lack, 0 to 1. Not remembered: what was accepted
            once would leave the next list unguarded.
        documents: where the references of a GDHCN list may lead.
        cscas: CSCAs of which each DSC must be; remembered. Left out: those of the last good one,
            else the list's own CSCAs speak for the DSCs that name them.
    Returns: what is kept now.
    Raises: TrustError when it is refused; InputError for a bad argument, or when the directory
        can't be written.
    """
    given, given_documents = None if anchors is None else read_anchors(anchors), list(documents)

    def read(last: KeptList | None, moment: datetime) -> tuple[KeptList, list[Certificate]]:
        if given is None and last is None:
            raise TrustError(
                "no anchor was given and none is remembered, expected the certificate or key of "
                "whoever signs it, got in another way than the list: give --anchor",
                TrustFault.NO_ANCHOR,
            )
        pinned = given if given is not None else list(last.anchors if last else ())
        signed = read_list(data, pinned, moment, documents=given_documents)
        kept = KeptList(
            name=name,
            format=signed.format,
            signed_by=signed.signed_by,
            issued_at=signed.issued_at,
            expires_at=signed.expires_at,
            added_at=moment,
            sha256=hashlib.sha256(data).hexdigest(),
            max_age=MAX_AGE,
            anchors=tuple(pinned),
            listed_cscas=tuple(csca.der for csca in signed.cscas),
            anchored=(),
            not_anchored=tuple(dsc.der for dsc in signed.dscs),
            left_out=signed.left_out,
        )
        return kept, list(signed.dscs)

    return _keep(directory, name, read, at, _Terms.of(max_age, max_shrink, cscas))


def keep_files(  # noqa: PLR0913 (as there)
    directory: Path,
    name: str,
    source: Path,
    at: datetime | None = None,
    *,
    max_age: timedelta | None = None,
    max_shrink: float = MAX_SHRINK,
    cscas: Anchors | None = None,
) -> KeptList:
    """Keep a file or folder of certificates, which are unsigned, in the same way.

    Its age is not judged unless ``max_age`` is given. Everything else, and what it raises, is as
    for :func:`keep_list`.
    """
    found = find_sources(source)
    if found.signed is not None or found.kept:
        raise TrustError(
            f"{source}: found a trust list, expected certificate files: add a signed list with "
            "its --anchor, and copy a kept list into the trust store as it is"
        )
    dscs = [dsc for path in found.certificates for dsc in read_certificates(path)]
    dscs = list(dict.fromkeys(dscs))
    if len(dscs) > MAX_ENTRIES:
        raise TrustError(f"{source}: found {len(dscs)} DSCs, expected at most {MAX_ENTRIES}")

    def read(last: KeptList | None, moment: datetime) -> tuple[KeptList, list[Certificate]]:
        kept = KeptList(
            name=name,
            format=FILES,
            signed_by=None,
            issued_at=None,
            expires_at=None,
            added_at=moment,
            sha256=hashlib.sha256(b"".join(dsc.der for dsc in dscs)).hexdigest(),
            max_age=None,
            anchors=(),
            anchored=(),
            not_anchored=tuple(dsc.der for dsc in dscs),
        )
        return kept, dscs

    return _keep(directory, name, read, at, _Terms.of(max_age, max_shrink, cscas))


_Read = Callable[[KeptList | None, datetime], tuple[KeptList, list[Certificate]]]
"""(last good one, moment) → what the new one would be, and its DSCs; raises when it is refused."""


@dataclass(frozen=True, slots=True)
class _Terms:
    """What the operator asks of a new list; None: as for the last good one."""

    max_age: timedelta | None
    max_shrink: float
    cscas: list[Certificate] | None

    @classmethod
    def of(cls, max_age: timedelta | None, max_shrink: float, cscas: Anchors | None) -> _Terms:
        """Raises: InputError, TrustError."""
        if max_age is not None and not timedelta(0) < max_age <= MAX_AGE_LIMIT:
            raise InputError(
                f"--max-age: found {in_days(max_age)}, expected more than 0 and at most "
                f"{in_days(MAX_AGE_LIMIT)}"
            )
        if not 0 <= max_shrink <= 1:
            raise InputError(f"--max-shrink: found {max_shrink}, expected a share from 0 to 1")
        pinned = None if cscas is None else certificates_of(read_anchors(cscas), "--csca")
        return cls(max_age, max_shrink, pinned)


def _keep(directory: Path, name: str, read: _Read, at: datetime | None, terms: _Terms) -> KeptList:
    """Judge a new list beside the last good one, and put it in its place."""
    moment = datetime.now(UTC) if at is None else at
    check_moment(moment)
    path = kept_path(directory, name)
    make_directory(directory)
    try:
        with in_turn(directory / f".{name}.lock"):
            last = _last_good_one(path)
            try:
                new = _judged(read, last, moment, terms)
            except TrustError as error:
                if last is None:
                    raise TrustError(f"{name!r} is not added: {error}", error.code) from error
                raise TrustError(
                    f"{name!r} is not replaced: {error}; the last good one, "
                    f"{in_days(last.age(moment))} old, stays",
                    error.code,
                ) from error
            write_kept(path, new)
            return new
    except OSError as error:
        raise cannot_write(path, error) from error


def _last_good_one(path: Path) -> KeptList | None:
    """None when there is none. Raises: TrustError when its file is damaged."""
    if not path.exists():
        return None
    try:
        last = read_kept(path)
        # It is what the next one is judged by, so whoever looks after it must decide.
        for der in last.pinned_cscas:
            Certificate.from_bytes(der)
    except (TrustError, CertificateError) as error:
        raise TrustError(
            f"{path} can't be replaced, because it is damaged ({error}): put it back as it was, or "
            "remove it and add the list with its --anchor and --csca"
        ) from error
    return last


def _judged(read: _Read, last: KeptList | None, at: datetime, terms: _Terms) -> KeptList:
    """The new list as it would be kept. Raises: TrustError when it is refused."""
    new, dscs = read(last, at)  # 1
    if last is not None and last.format != new.format:  # 2
        raise TrustError(
            f"found the format {new.format}, expected {last.format} as before: give it another "
            "--name"
        )
    age = terms.max_age or (last.max_age if last else new.max_age)
    if age is not None and new.issued_at is not None and at - new.issued_at > age:  # 3
        raise TrustError(
            f"it was issued {new.issued_at:%Y-%m-%d}, {in_days(at - new.issued_at)} ago, expected "
            f"at most {in_days(age)}: get a newer one, or accept it with --max-age DAYS",
            TrustFault.TOO_OLD,
        )
    _check_newer(new, last)  # 4
    pinned = terms.cscas
    if pinned is None and last is not None:
        pinned = [Certificate.from_bytes(der) for der in last.pinned_cscas]
    listed = [Certificate.from_bytes(der) for der in new.listed_cscas]
    sifted = sift(dscs, pinned or listed, required=bool(pinned))
    new = replace(
        new,
        max_age=age,
        pinned_cscas=tuple(csca.der for csca in pinned or ()),
        anchored=tuple(dsc.der for dsc in sifted.anchored),
        not_anchored=tuple(dsc.der for dsc in sifted.not_anchored),
        refused=sifted.refused,
    )
    if not new.anchored and not new.not_anchored:
        why = next(iter(sifted.refused.values()), "it lists none")
        raise TrustError(
            f"found no DSC that can be used, expected at least one: {why}", TrustFault.NO_DSC
        )
    _check_shrink(new, last, at, terms.max_shrink)  # 5
    return new


def _check_newer(new: KeptList, last: KeptList | None) -> None:
    if last and last.issued_at and new.issued_at and new.issued_at < last.issued_at:
        raise TrustError(
            f"it was issued {new.issued_at:%Y-%m-%dT%H:%M:%SZ}, before the last good one "
            f"({last.issued_at:%Y-%m-%dT%H:%M:%SZ}), expected a later one: get the newest, or "
            "give this one another --name",
            TrustFault.ROLLED_BACK,
        )


def _check_shrink(new: KeptList, last: KeptList | None, at: datetime, max_shrink: float) -> None:
    if last is None:
        return
    before = set(_still_valid({*last.anchored, *last.not_anchored}, at))
    missing = before - {*new.anchored, *new.not_anchored}
    # A DSC whose CSCA was left out is still there, but is lost to all who want the CSCA's word.
    bare = before.intersection(last.anchored, new.not_anchored)
    if len(missing) + len(bare) > max_shrink * len(before):
        also = f" and the CSCA of {len(bare)} more" if bare else ""
        raise TrustError(
            f"it lacks {len(missing)} of the {len(before)} DSCs that are still valid{also}, "
            f"expected at most {max_shrink:.0%}: ask its publisher, or accept it with --max-shrink "
            "SHARE",
            TrustFault.SHRUNK,
        )


def _still_valid(ders: Iterable[bytes], at: datetime) -> list[bytes]:
    found = []
    for der in ders:
        try:
            if Certificate.from_bytes(der).not_after >= at:
                found.append(der)
        except CertificateError:  # the last good one's file was changed; nothing is lost with it
            pass
    return found
