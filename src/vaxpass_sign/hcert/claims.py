"""A record's claims (eu-dcc-hcert-spec §3.3; DCC schema 1.3.0) and the claims of a payload.

Written: 1 iss, 4 exp, 6 iat, -260 {1: DCC}, in RFC 8949 §4.2.1 order. A mononym goes to fn and fnt
and leaves gn and gnt out. Lot, sex and nationality never appear: the schema has no place for them.

Read: the types of the registered claims are checked, their meaning is not. exp and iat may be
floats, NaN included; a NaN is kept, and it is the verifier's duty to find it invalid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from vaxpass_sign.errors import HcertError
from vaxpass_sign.hcert import cbor
from vaxpass_sign.hcert.faults import Fault

if TYPE_CHECKING:
    # Reading claims needs no record, and a verifier starts anew for each payload.
    from vaxpass_sign.record.model import VaccinationRecord

__all__ = [
    "CLAIM_EXP",
    "CLAIM_HCERT",
    "CLAIM_IAT",
    "CLAIM_ISS",
    "SCHEMA_VERSION",
    "SUBCLAIM_EU_DCC",
    "dcc",
    "decode_claims",
    "encode_claims",
    "eu_dcc",
    "record_claims",
]

CLAIM_ISS: Final = 1
CLAIM_EXP: Final = 4
CLAIM_IAT: Final = 6
CLAIM_HCERT: Final = -260
SUBCLAIM_EU_DCC: Final = 1

SCHEMA_VERSION: Final = "1.3.0"


def dcc(values: Mapping[str, Any], given: bool) -> dict[str, Any]:
    """The DCC of one vaccination. ``values`` has the fields of a VaccinationRecord and ``uvci``;
    ``given`` says whether there is a given name beside the surname.
    """
    entry = {
        "ci": values["uvci"],
        "co": values["country"],
        "dn": values["dose_number"],
        "dt": values["vaccination_date"],
        "is": values["issuer"],
        "ma": values["manufacturer"],
        "mp": values["product"],
        "sd": values["dose_total"],
        "tg": values["disease"],
        "vp": values["vaccine"],
    }
    name = {"fn": values["surname"], "fnt": values["fnt"]}
    if given:
        name |= {"gn": values["given_name"], "gnt": values["gnt"]}
    return {"v": [entry], "dob": values["birth_date"], "nam": name, "ver": SCHEMA_VERSION}


def record_claims(  # noqa: PLR0913 (each is one claim)
    record: VaccinationRecord,
    *,
    uvci: str,
    country: str,
    issuer_name: str,
    issued_at_s: int,
    expires_at_s: int,
) -> dict[int, Any]:
    """The claims of a record.

    ``country`` (ISO 3166-1 alpha-2) is the issuer's: it becomes iss, and co unless the record names
    another. ``issuer_name`` becomes v.is unless the record names another. Times are UTC seconds.
    """
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    values["uvci"] = uvci
    values["country"] = record.country or country
    values["issuer"] = record.issuer or issuer_name
    return {
        CLAIM_ISS: country,
        CLAIM_EXP: expires_at_s,
        CLAIM_IAT: issued_at_s,
        CLAIM_HCERT: {SUBCLAIM_EU_DCC: dcc(values, has_given_name(record))},
    }


def has_given_name(record: VaccinationRecord) -> bool:
    """Whether gn and gnt are written; a mononym leaves them out."""
    return bool(record.given_name or record.gnt)


def encode_claims(claims: dict[int, Any]) -> bytes:
    """The payload: claims as deterministic CBOR."""
    return cbor.encode(claims)


def decode_claims(payload: bytes) -> dict[Any, Any]:
    """The claims of a payload; the types of 1, 4 and 6 are checked where they are present.

    Raises: HcertError with CLAIMS or one of the CBOR faults.
    """
    claims = cbor.decode(payload)
    if not isinstance(claims, dict):
        raise _error("a payload that is no map")
    if not isinstance(claims.get(CLAIM_ISS), str | None):
        raise _error("an iss (1) that is no text")
    for claim, name in ((CLAIM_EXP, "exp (4)"), (CLAIM_IAT, "iat (6)")):
        value = claims.get(claim)
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise _error(f"an {name} that is no number of seconds")
    return claims


def eu_dcc(claims: dict[Any, Any]) -> dict[str, Any] | None:
    """The EU DCC inside the claims, or None when they hold none (WHO's own payloads, say)."""
    hcert = claims.get(CLAIM_HCERT)
    dcc = hcert.get(SUBCLAIM_EU_DCC) if isinstance(hcert, dict) else None
    return dcc if isinstance(dcc, dict) else None


def _error(found: str) -> HcertError:
    return HcertError(Fault.CLAIMS, f"found {found}, expected CWT claims (RFC 8392 §3.1)")
