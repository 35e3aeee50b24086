"""Keys and certificates on a token: find a private key, and read its public half.

Rules that this module keeps: a URI must match exactly one private key, or the error lists the
candidates and what would tell them apart. A public half that can't be read, or that is not the
only one that fits, is None and never a guess.

>>> curve_name(bytes.fromhex("06082a8648ce3d030107")), curve_name(bytes.fromhex("06052b81040022"))
('secp256r1', 'secp384r1')
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any, Final

from asn1crypto.core import OctetString
from asn1crypto.keys import ECDomainParameters
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pkcs11.constants import Attribute, ObjectClass
from pkcs11.exceptions import (
    AttributeSensitive,
    AttributeTypeInvalid,
    AttributeValueInvalid,
    FunctionFailed,
    PKCS11Error,
)
from pkcs11.mechanisms import KeyType
from pkcs11.types import Object

from vaxpass_sign.errors import InputError, PinError, TokenLookupError
from vaxpass_sign.keys.session import TokenSession
from vaxpass_sign.keys.signer import PublicKey
from vaxpass_sign.keys.token import distinguishing, listed, quoted, token_calls
from vaxpass_sign.keys.uri import Pkcs11Uri

__all__ = [
    "attribute",
    "curve_name",
    "describe_object",
    "destroy",
    "find_private_key",
    "objects",
    "public_half",
    "public_key_of",
]

_log: Final = logging.getLogger(__name__)
_P256_POINT: Final = 65
"""Bytes of an uncompressed point on P-256, the only curve that is used."""
_UNREADABLE: Final = (
    AttributeTypeInvalid,
    AttributeSensitive,
    AttributeValueInvalid,
    FunctionFailed,
)


def attribute(item: Object, name: Attribute) -> Any:
    """An attribute's value, or None when the token doesn't have it or doesn't show it."""
    try:
        return item[name]
    except _UNREADABLE:
        return None


def objects(opened: TokenSession, kind: ObjectClass, **wanted: str | bytes | None) -> list[Object]:
    """The objects of one class; ``label`` and ``id`` narrow the search.

    Raises: TokenError when the token can't be searched.
    """
    template: dict[Attribute, Any] = {Attribute.CLASS: kind}
    if wanted.get("label") is not None:
        template[Attribute.LABEL] = wanted["label"]
    if wanted.get("id") is not None:
        template[Attribute.ID] = wanted["id"]
    with token_calls("searching for keys", opened.where):
        return list(opened.session.get_objects(template))


def describe_object(item: Object) -> str:
    """How messages name a key: label and CKA_ID, which are no secrets."""
    label = attribute(item, Attribute.LABEL) or ""
    return f"{quoted(label)} (id {(attribute(item, Attribute.ID) or b'').hex() or 'none'})"


def destroy(opened: TokenSession, items: Iterable[Object], reason: BaseException) -> None:
    """Destroy what is not as asked for; a note on the error tells if that failed."""
    for item in items:
        try:
            item.destroy()
        except PKCS11Error as error:
            reason.add_note(
                f"destroying what was made on {opened.where} failed ({type(error).__name__}):"
                " destroy it with the token's own tool"
            )


def find_private_key(opened: TokenSession, uri: Pkcs11Uri) -> Object:
    """The one private key that a URI means.

    Raises: TokenLookupError when none matches, or several; PinError when none is seen and nobody
        is logged in; InputError when the URI names something else than a private key.
    """
    if uri.type not in (None, "private"):
        raise InputError(
            f"PKCS#11 URI: type={uri.type} can't sign: leave it out or write type=private"
        )
    found = objects(opened, ObjectClass.PRIVATE_KEY, label=uri.object, id=uri.id)
    if len(found) == 1:
        return found[0]
    if not found and not opened.logged_in:
        raise PinError(
            f"{opened.where} shows no such private key without its PIN: give it by the prompt,"
            " --pin-env NAME or the URI's pin-source"
        )
    there = found or objects(opened, ObjectClass.PRIVATE_KEY)
    names = listed("private key", [describe_object(key) for key in there])
    if not found:
        raise TokenLookupError(
            f"no private key on {opened.where} matches the URI; there {names}:"
            " correct object= or id= in the URI"
        )
    choice = distinguishing(
        {
            "object": [attribute(key, Attribute.LABEL) or "" for key in found],
            "id": [(attribute(key, Attribute.ID) or b"").hex() for key in found],
        }
    )
    advice = (
        f"add {choice}=… to the URI to choose one (each byte of an id as %XX)"
        if choice
        else "nothing in a URI tells them apart: give one of them another label or id"
    )
    raise TokenLookupError(
        f"{len(found)} private keys on {opened.where} match the URI; there {names}: {advice}"
    )


def curve_name(params: bytes) -> str:
    """The curve of CKA_EC_PARAMS (PKCS#11 v2.40 mechanisms §2.3.3), by asn1crypto's name.

    A curve without a name that is known is named by what it is: its OID, or explicit parameters.
    """
    try:
        domain = ECDomainParameters.load(params, strict=True)
        named = domain.name == "named"
        return str(domain.chosen.native) if named else "with explicit parameters"
    except (ValueError, TypeError):
        return "with parameters that can't be read"


def public_key_of(item: Object) -> PublicKey | None:
    """The public key in a public key object, a certificate, or an RSA private key object."""
    if attribute(item, Attribute.CLASS) == ObjectClass.CERTIFICATE:
        return _certified_key(attribute(item, Attribute.VALUE) or b"")
    kind = attribute(item, Attribute.KEY_TYPE)
    try:
        if kind == KeyType.RSA:
            modulus = attribute(item, Attribute.MODULUS)
            exponent = attribute(item, Attribute.PUBLIC_EXPONENT)
            if not modulus or not exponent:
                return None
            numbers = int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")
            return rsa.RSAPublicNumbers(*numbers).public_key()
        if kind == KeyType.EC:
            params = attribute(item, Attribute.EC_PARAMS) or b""
            point = attribute(item, Attribute.EC_POINT)
            if not point or curve_name(params) != "secp256r1":
                return None
            if len(point) != _P256_POINT:
                # The standard wraps the point in a DER OCTET STRING; some modules don't.
                point = OctetString.load(point, strict=True).native
            return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except (ValueError, TypeError) as error:
        _log.debug("a public key on the token can't be read: %s", type(error).__name__)
    return None


def _certified_key(der: bytes) -> PublicKey | None:
    try:
        key = x509.load_der_x509_certificate(der).public_key()
    except (ValueError, TypeError):
        return None
    return key if isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey) else None


def public_half(opened: TokenSession, private: Object) -> PublicKey | None:
    """The public half of a private key, or None when the token doesn't hold exactly one.

    It is looked for, in this order, in the private object itself (RSA keys carry it), in public
    key objects with the same CKA_ID, or the same label when there is no CKA_ID, and in
    certificates with that CKA_ID.
    """
    own = public_key_of(private)
    if own is not None:
        return own
    label = attribute(private, Attribute.LABEL)
    ident = attribute(private, Attribute.ID)
    if not ident and not label:
        return None
    for kind in (ObjectClass.PUBLIC_KEY, ObjectClass.CERTIFICATE):
        wanted = {"id": ident} if ident else {"label": label}
        found = objects(opened, kind, **wanted)
        same_label = [item for item in found if attribute(item, Attribute.LABEL) == label]
        for items in (same_label, found):
            keys = list(_distinct(items))
            if len(keys) == 1:
                return keys[0]
    return None


def _distinct(items: list[Object]) -> Iterator[PublicKey]:
    seen: list[PublicKey] = []
    for key in map(public_key_of, items):
        if key is not None and key not in seen:
            seen.append(key)
            yield key
