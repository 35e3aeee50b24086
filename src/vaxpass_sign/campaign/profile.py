"""The profile: what all credentials of a signed part have in common, and by whom they are signed.

DSC (and with it kid, algorithm and key), issuing country and name, validity, the largest QR symbol,
the payload's schema. A part names its profile by the hash of it. When the settings or the DSC
change, what is signed from then on has a new profile; what was signed keeps its own.

>>> before = {"validity_s": 86400, "name": "A"}
>>> list(changes(before, {"validity_s": 172800, "name": "A"}))
['validity: 1 day → 2 days']
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from vaxpass_sign.campaign.settings import Settings
from vaxpass_sign.hcert.claims import SCHEMA_VERSION
from vaxpass_sign.x509 import Certificate

__all__ = ["changes", "last_day", "profile_hash", "profile_of"]

_WORDS: Final = {
    "dsc_sha256": "DSC",
    "kid": "kid",
    "alg": "algorithm",
    "country": "country",
    "name": "issuer's name",
    "validity_s": "validity",
    "max_qr_version": "largest QR version",
    "schema": "schema",
}


def profile_of(settings: Settings, dsc: Certificate) -> dict[str, Any]:
    """The profile of what a campaign signs with a DSC; JSON values only."""
    return {
        "dsc_sha256": hashlib.sha256(dsc.der).hexdigest(),
        "kid": dsc.kid.hex(),
        "alg": dsc.alg.name if dsc.alg else None,
        "country": settings.country,
        "name": settings.name,
        "validity_s": int(settings.validity.total_seconds()),
        "max_qr_version": settings.max_qr_version,
        "schema": SCHEMA_VERSION,
    }


def profile_hash(profile: Mapping[str, Any]) -> str:
    """SHA-256 of the profile as JSON with sorted names: 64 hexadecimal digits."""
    text = json.dumps(profile, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def last_day(dsc: Certificate, validity: timedelta) -> datetime:
    """The last moment at which credentials of this validity can be signed with a DSC.

    They must not outlive it (eu-dcc-hcert-spec §3.3.4), and its key has a period of its own.
    """
    moments = [dsc.not_after - validity, dsc.not_after]
    if dsc.private_key_period[1] is not None:
        moments.append(dsc.private_key_period[1])
    return min(moments)


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What is different between two profiles, one line for each thing."""
    for name, words in _WORDS.items():
        old, new = before.get(name), now.get(name)
        if old != new:
            yield f"{words}: {_shown(name, old)} → {_shown(name, new)}"


def _shown(name: str, value: Any) -> str:
    if name == "validity_s" and isinstance(value, int):
        days = value / 86_400
        return f"{days:g} day{'' if days == 1 else 's'}"
    return f"{value[:16]}…" if name == "dsc_sha256" and value else str(value)
