"""Kept lists: what was believed of a trust list when it was added, as one local JSON file.

``NAME.trust.json`` is no signed list any more: its signature was checked when it was added, and who
can write the file decides what it says. Its form is strict: exactly the names below, each of its
type, times in UTC, certificates in base64 of DER. Certificates are not parsed on reading; what is
none is left out when it is asked for.

>>> parse_kept(b"{}", "eu")
Traceback (most recent call last):
    ...
vaxpass_sign.errors.TrustError: the kept list 'eu' has no 'added_at': ...
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from vaxpass_sign.check.lists.reading import (
    as_list,
    as_object,
    as_text,
    decode_base64,
    parse_json,
    shown,
)
from vaxpass_sign.check.lists.result import Anchor, LeftOut, ListFormat
from vaxpass_sign.check.trust.anchors import MAX_ANCHORS, anchor_from_json, anchor_to_json
from vaxpass_sign.check.trust.files import KEPT_SUFFIX, read_file
from vaxpass_sign.errors import InputError, TrustError

__all__ = [
    "FILES",
    "MAX_AGE_LIMIT",
    "MAX_KEPT_BYTES",
    "KeptList",
    "check_name",
    "in_days",
    "kept_path",
    "parse_kept",
    "read_kept",
    "write_kept",
]

VERSION: Final = 1
FILES: Final = "files"
"""The format of certificate files that were added: unsigned."""

MAX_KEPT_BYTES: Final = 64 * 1024 * 1024
"""Bytes of a kept list; ten thousand DSCs take 12 MB."""

MAX_AGE_LIMIT: Final = timedelta(days=36_500)

_MAX_TEXT = 2000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_KID = re.compile(r"[0-9a-f]{16}", re.ASCII)
_NAMES: Final = frozenset(
    "version name format signed_by issued_at expires_at added_at sha256 max_age_days anchors "
    "pinned_cscas listed_cscas anchored not_anchored left_out refused".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptList:
    """The last good one of a source. Certificates are DER."""

    name: str
    format: str
    """A :class:`~vaxpass_sign.check.lists.ListFormat`, or FILES."""
    signed_by: str | None
    """None for FILES."""
    issued_at: datetime | None
    """None where the format has no time that the signature covers."""
    expires_at: datetime | None
    added_at: datetime
    sha256: str
    """Of the list's bytes; for FILES of the DER of all, one after the other."""
    max_age: timedelta | None
    """None: its age is not judged."""
    anchors: tuple[Anchor, ...]
    """Who may sign the next one."""
    pinned_cscas: tuple[bytes, ...] = ()
    """CSCAs that the operator gave: each DSC, of the next one too, must be of one of them."""
    listed_cscas: tuple[bytes, ...] = ()
    """CSCAs that the list's signature covers."""
    anchored: tuple[bytes, ...]
    """DSCs that a CSCA issued."""
    not_anchored: tuple[bytes, ...]
    """The other DSCs."""
    left_out: Mapping[LeftOut, int] = field(default_factory=lambda: MappingProxyType({}))
    refused: Mapping[bytes, str] = field(default_factory=lambda: MappingProxyType({}))
    """The kids of DSCs that their CSCA did not issue → why."""

    def age(self, at: datetime) -> timedelta:
        """How long ago it was issued, or where that is not known, added."""
        return max(at - (self.issued_at or self.added_at), timedelta(0))

    def stale(self, at: datetime) -> str | None:
        """That it is older than allowed or has expired, in words; None when it is neither."""
        if self.expires_at is not None and at > self.expires_at:
            why = f"expired {self.expires_at:%Y-%m-%d}"
        elif self.max_age is not None and self.age(at) > self.max_age:
            why = f"is {in_days(self.age(at))} old, expected at most {in_days(self.max_age)}"
        else:
            return None
        return f"the kept list {self.name!r} {why}: get a newer one and add it (trust add)"


def in_days(span: timedelta) -> str:
    """A span in words, rounded up to tenths so that what is too old looks so: ``30.1 days``."""
    days = math.ceil(round(span / timedelta(days=1) * 10, 6)) / 10
    return "1 day" if days == 1 else f"{days:g} days"


def check_name(name: str) -> str:
    """``name`` when it can be a kept list's. Raises: InputError."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"--name: found {shown(name)}, expected 1 to 64 letters, digits, dots, hyphens and "
            "underscores, a letter or digit first"
        )
    return name


def kept_path(directory: Path, name: str) -> Path:
    """Where a kept list is. Raises: InputError for what is no name."""
    return directory / f"{check_name(name)}{KEPT_SUFFIX}"


def read_kept(path: Path) -> KeptList:
    """Read a kept list's file. Raises: TrustError that names it."""
    data = read_file(path, "a kept list", MAX_KEPT_BYTES)
    try:
        return parse_kept(data, path.name.removesuffix(KEPT_SUFFIX))
    except TrustError as error:
        raise TrustError(f"{path}: {error}") from error


def write_kept(path: Path, kept: KeptList) -> None:
    """Write it whole and durable. Raises: InputError when it can't be written; TrustError."""
    from vaxpass_sign.durable import write_file

    data = _to_json(kept)
    parse_kept(data, kept.name)  # what we write, we can read
    write_file(path, data)


def parse_kept(data: bytes, name: str) -> KeptList:
    """The kept list of a file's bytes; ``name`` is what the file's name says.

    Raises: TrustError when the bytes have another form, whatever they are.
    """
    what = f"the kept list {shown(name)}"
    found = as_object(parse_json(data, what, MAX_KEPT_BYTES), what)
    if missing := sorted(_NAMES - found.keys()):
        raise _wrong(what, f"has no {missing[0]!r}")
    if others := sorted(found.keys() - _NAMES):
        raise _wrong(what, f"has {shown(others[0])}, which is not known here")
    if found["version"] != VERSION or type(found["version"]) is not int:
        raise _wrong(what, f"has the version {shown(found['version'])}, expected {VERSION}")
    if found["name"] != name:
        raise _wrong(what, f"says that it is {shown(found['name'])}")
    if found["format"] not in [FILES, *ListFormat]:
        raise _wrong(what, f"has the format {shown(found['format'])}")
    sha256 = _text(found, "sha256", what)
    if not _SHA256.fullmatch(sha256):
        raise _wrong(what, "has a sha256 that is no hash")
    added_at = _time(found, "added_at", what)
    if added_at is None:
        raise _wrong(what, "has no time at which it was added")
    anchors = as_list(found["anchors"], f"anchors of {what}")
    if len(anchors) > MAX_ANCHORS:
        raise _wrong(what, f"has {len(anchors)} anchors, expected at most {MAX_ANCHORS}")
    return KeptList(
        name=name,
        format=str(found["format"]),
        signed_by=None if found["signed_by"] is None else _text(found, "signed_by", what),
        issued_at=_time(found, "issued_at", what),
        expires_at=_time(found, "expires_at", what),
        added_at=added_at,
        sha256=sha256,
        max_age=_max_age(found["max_age_days"], what),
        anchors=tuple(anchor_from_json(anchor) for anchor in anchors),
        pinned_cscas=_ders(found, "pinned_cscas", what),
        listed_cscas=_ders(found, "listed_cscas", what),
        anchored=_ders(found, "anchored", what),
        not_anchored=_ders(found, "not_anchored", what),
        left_out=MappingProxyType(_left_out(found["left_out"], what)),
        refused=MappingProxyType(_refused(found["refused"], what)),
    )


def _to_json(kept: KeptList) -> bytes:
    max_age = kept.max_age
    value = {
        "version": VERSION,
        "name": kept.name,
        "format": str(kept.format),
        "signed_by": kept.signed_by and kept.signed_by[:_MAX_TEXT],
        "issued_at": kept.issued_at and kept.issued_at.astimezone(UTC).isoformat(),
        "expires_at": kept.expires_at and kept.expires_at.astimezone(UTC).isoformat(),
        "added_at": kept.added_at.astimezone(UTC).isoformat(),
        "sha256": kept.sha256,
        "max_age_days": None if max_age is None else max_age / timedelta(days=1),
        "anchors": [anchor_to_json(anchor) for anchor in kept.anchors],
        "left_out": {str(why): number for why, number in kept.left_out.items()},
        "refused": {kid.hex(): why[:_MAX_TEXT] for kid, why in kept.refused.items()},
    }
    for part in ("pinned_cscas", "listed_cscas", "anchored", "not_anchored"):
        value[part] = [base64.b64encode(der).decode() for der in getattr(kept, part)]
    return json.dumps(value, indent=1).encode() + b"\n"


def _text(found: Mapping[str, Any], key: str, what: str) -> str:
    text = as_text(found[key], f"{key} of {what}")
    if len(text) > _MAX_TEXT:
        raise _wrong(what, f"has {len(text)} characters in {key}")
    return text


def _time(found: Mapping[str, Any], key: str, what: str) -> datetime | None:
    if found[key] is None:
        return None
    text = _text(found, key, what)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    # One way to write each moment, and an offset that is no other one.
    if moment is None or moment.utcoffset() != timedelta(0) or moment.isoformat() != text:
        raise _wrong(what, f"has {shown(text)} in {key}, expected a time in UTC")
    return moment.replace(tzinfo=UTC)


def _max_age(days: Any, what: str) -> timedelta | None:
    if days is None:
        return None
    # A bool is an int in Python. A float that is no number can't come from JSON as it is read here.
    if type(days) not in (int, float) or not 0 < days <= MAX_AGE_LIMIT.days:
        raise _wrong(what, f"has a max_age_days of {shown(days)}")
    return timedelta(days=days)


def _ders(found: Mapping[str, Any], key: str, what: str) -> tuple[bytes, ...]:
    where = f"{key} of {what}"
    return tuple(decode_base64(text, where) for text in as_list(found[key], where))


def _left_out(value: Any, what: str) -> dict[LeftOut, int]:
    counts = {}
    for why, number in as_object(value, f"left_out of {what}").items():
        if why not in list(LeftOut) or type(number) is not int or number < 1:
            raise _wrong(what, f"has {shown(why)} in left_out")
        counts[LeftOut(why)] = number
    return counts


def _refused(value: Any, what: str) -> dict[bytes, str]:
    found = as_object(value, f"refused of {what}")
    for kid in found:
        if not _KID.fullmatch(kid):
            raise _wrong(what, f"has {shown(kid)} in refused, expected a kid in hex")
    return {bytes.fromhex(kid): _text(found, kid, what) for kid in found}


def _wrong(what: str, found: str) -> TrustError:
    return TrustError(f"{what} {found}: it was changed or is another program's; add the list anew")
