"""campaign.toml: everything that an operator decides about a campaign, but for PIN and secret.

::

    time_zone = "Asia/Ho_Chi_Minh"      # of the dates that people write and read
    value_sets = ["vaccines.json"]      # optional: the operator's own codes

    [issuer]
    country = "VN"                      # ISO 3166-1 alpha-2
    name = "Bộ Y tế"                    # 1 to 80 characters

    [credential]
    validity_days = 365
    max_qr_version = 25                 # optional, 1 to 40

    [key]                               # who signs; clean can do without
    uri = "pkcs11:token=moh;object=dsc?module-name=softhsm2"
    dsc = "dsc.pem"

    [secret]
    file = "/etc/vaxpass/secret"        # 32 bytes, outside the campaign, the same for all years

    [columns]                           # optional: their column = ours
    "Họ và tên" = "full_name"

    [vaccines]                          # optional: what people call it = product code
    "Vắc xin AZ" = "EU/1/21/1529"

Paths are taken from the campaign's directory. A name that means nothing is refused, because it may
be a misspelt one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from vaxpass_sign.errors import CampaignError, VaxpassError
from vaxpass_sign.files import read_bounded, read_secret_file
from vaxpass_sign.keys.uri import is_pkcs11_uri
from vaxpass_sign.record.valuesets import ValueSets

__all__ = ["SECRET_BYTES", "Settings", "read_secret", "read_settings"]

SECRET_BYTES: Final = 32
_MAX_BYTES: Final = 1_000_000

# Section → name → (type, needed). "" is the top of the file; None as a section's names: any text.
_NAMES: Final[dict[str, dict[str, tuple[type, bool]] | None]] = {
    "": {"time_zone": (str, True), "value_sets": (list, False)},
    "issuer": {"country": (str, True), "name": (str, True)},
    "credential": {"validity_days": (int, True), "max_qr_version": (int, False)},
    "key": {"uri": (str, True), "dsc": (str, True)},
    "secret": {"file": (str, True)},
    "columns": None,
    "vaccines": None,
}
_KINDS: Final = {str: "a text", list: "a list of texts", int: "a whole number"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A campaign's settings, checked; paths are absolute or begin where the process runs."""

    path: Path
    time_zone: ZoneInfo
    country: str
    name: str
    validity: timedelta
    max_qr_version: int
    key: str | None
    """A PKCS#11 URI (RFC 7512) or the path of a PEM file; None without [key]."""
    dsc: Path | None
    secret: Path | None
    columns: Mapping[str, str] = field(default_factory=dict)
    """Their column's name → ours."""
    vaccines: Mapping[str, str] = field(default_factory=dict)
    """What people call a vaccine → its product code."""
    value_set_files: tuple[Path, ...] = ()

    def value_sets(self) -> ValueSets:
        """The library's value sets with the operator's.

        Raises: CampaignError when a file can't be used or a product code is unknown.
        """
        sets = ValueSets.default()
        try:
            for file in self.value_set_files:
                sets = sets.extend(file)
            if self.vaccines:
                names = {"format": "vaxpass-sign value sets 1", "product_names": self.vaccines}
                sets = sets.extend(names)
        except VaxpassError as error:
            raise CampaignError(f"{self.path}: {error}") from error
        return sets


def read_settings(path: Path) -> Settings:
    """Read campaign.toml.

    Raises: CampaignError that says which setting is missing, unknown or wrong.
    """
    document = _read(path)
    values: dict[str, dict[str, Any]] = {}
    for section, names in _NAMES.items():
        found = document if section == "" else document.pop(section, {})
        if not isinstance(found, dict):
            raise _wrong(path, section, "no section", f"a section [{section}]")
        values[section] = _check(path, section, found, names)
    top, issuer, credential = values[""], values["issuer"], values["credential"]
    folder = path.parent
    key = values["key"].get("uri")
    if key is not None and not is_pkcs11_uri(key):
        key = str(folder / key)
    return Settings(
        path=path,
        time_zone=_zone(path, top["time_zone"]),
        country=issuer["country"],
        name=issuer["name"],
        validity=timedelta(days=_days(path, credential["validity_days"])),
        max_qr_version=credential.get("max_qr_version", 25),
        key=key,
        dsc=folder / values["key"]["dsc"] if key else None,
        secret=folder / values["secret"]["file"] if values["secret"] else None,
        columns=values["columns"],
        vaccines=values["vaccines"],
        value_set_files=tuple(folder / name for name in top.get("value_sets", ())),
    )


def read_secret(settings: Settings) -> bytes:
    """The campaign's secret, 32 bytes.

    Raises: CampaignError when there is none, or the file can't be read or has another length.
    """
    path = settings.secret
    advice = "restore it from its backup; for a first campaign make one: head -c 32 /dev/urandom"
    if path is None:
        raise _wrong(settings.path, "secret", "no section", f"file = …, 32 bytes; {advice}")
    if settings.path.parent.resolve() in path.resolve().parents:
        raise CampaignError(
            f"{path}: found the secret inside the campaign's directory, expected it elsewhere: who "
            "gets a copy of the campaign must not get the secret with it"
        )
    try:
        secret = read_secret_file(path, "secret", SECRET_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CampaignError(
            f"secret {path}: {reason}; expected a file of {SECRET_BYTES} bytes: {advice}"
        ) from error
    if len(secret) != SECRET_BYTES:
        length = len(secret)
        del secret
        raise CampaignError(
            f"secret {path}: found {length} bytes, expected {SECRET_BYTES}: {advice}"
        )
    return secret


def _read(path: Path) -> dict[str, Any]:
    try:
        data = read_bounded(path, _MAX_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CampaignError(
            f"{path}: {reason}; expected the campaign's settings: docs/how-to/run-a-campaign.md "
            "shows one to begin with"
        ) from error
    try:
        return tomllib.loads(data.decode("utf-8")) if len(data) <= _MAX_BYTES else {}
    except (ValueError, RecursionError) as error:
        found = f"found no TOML ({error})"
        raise CampaignError(f"{path}: {found}, expected TOML 1.0 in UTF-8") from error


def _check(
    path: Path, section: str, found: dict[str, Any], names: dict[str, tuple[type, bool]] | None
) -> dict[str, Any]:
    """The values of one section, of the right types."""
    if names is None:
        for name, value in found.items():
            if not isinstance(value, str):
                raise _wrong(path, f"{section}.{name}", "no text", "a text")
        return found
    if section == "":
        unknown = [name for name in found if name not in names and name not in _NAMES]
        found = {name: value for name, value in found.items() if name not in _NAMES}
    else:
        unknown = [name for name in found if name not in names]
        if not found and section in ("key", "secret"):
            return {}
    if unknown:
        known = ", ".join([*names, *(s for s in _NAMES if s and section == "")])
        raise _wrong(path, section, repr(unknown[0]), f"one of {known}")
    for name, (kind, needed) in names.items():
        where = f"{section}.{name}".lstrip(".")
        if name not in found:
            if needed:
                raise _wrong(path, where, "nothing", _KINDS[kind])
            continue
        value = found[name]
        texts = not isinstance(value, list) or all(isinstance(part, str) for part in value)
        if type(value) is not kind or not texts or value == "":
            raise _wrong(path, where, "another type, or nothing in it", _KINDS[kind])
    return found


def _zone(path: Path, name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise _wrong(
            path, "time_zone", repr(name), "a name of the IANA database, such as Asia/Ho_Chi_Minh"
        ) from error


def _days(path: Path, days: int) -> int:
    if not 1 <= days <= 36_500:
        raise _wrong(path, "credential.validity_days", str(days), "1 to 36500")
    return days


def _wrong(path: Path, where: str, found: str, expected: str) -> CampaignError:
    place = f"{path}: {where}" if where else f"{path}"
    return CampaignError(f"{place}: found {found}, expected {expected}")
