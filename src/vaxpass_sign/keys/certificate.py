"""Put a DSC beside its key on a token, as a certificate object (PKCS#11 v2.40 §4.6.3).

Rules that this module keeps:

* The key signs a fixed message first, and the DSC's public key must verify it: a DSC of another key
  is never put beside this one.
* The object bears the private key's CKA_ID and label, by which the key's public half is found, and
  subject, issuer, serial number and value as they stand in the DSC, byte for byte.
* What the token then shows is compared with the DSC; what differs is destroyed again.
* The same DSC is put there once; another certificate of that id stays and is named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from asn1crypto import x509 as asn1
from pkcs11.constants import Attribute, CertificateType, ObjectClass
from pkcs11.exceptions import (
    AttributeReadOnly,
    AttributeTypeInvalid,
    AttributeValueInvalid,
    GeneralError,
    PKCS11Error,
    TemplateInconsistent,
)
from pkcs11.types import Object

from vaxpass_sign.errors import CertificateError, PinError, TokenError, TokenStalledError
from vaxpass_sign.keys import PATIENCE_S
from vaxpass_sign.keys.objects import (
    attribute,
    describe_object,
    destroy,
    find_private_key,
    objects,
)
from vaxpass_sign.keys.pin import AskedOnce, Hidden, hidden
from vaxpass_sign.keys.proof import signs_for
from vaxpass_sign.keys.session import TokenSession, open_session
from vaxpass_sign.keys.token import fault, token_calls
from vaxpass_sign.keys.token_signer import Pkcs11Signer
from vaxpass_sign.keys.uri import Pkcs11Uri
from vaxpass_sign.keys.watch import watched
from vaxpass_sign.x509.certificate import Certificate

__all__ = ["ImportedDsc", "import_dsc"]

_REFUSALS: Final = (
    AttributeReadOnly,
    AttributeTypeInvalid,
    AttributeValueInvalid,
    GeneralError,
    TemplateInconsistent,
)
# What some modules refuse in a certificate, in the order in which it is left out.
_OPTIONAL: Final[dict[Attribute, Any]] = {Attribute.MODIFIABLE: False, Attribute.PRIVATE: False}


@dataclass(frozen=True, slots=True)
class ImportedDsc:
    """A DSC that stands beside its key."""

    key: str
    """The key and its token in words."""
    is_new: bool
    """False when this very DSC was there before; nothing was changed then."""
    others: tuple[str, ...]
    """Other certificates with the key's id, in words; they were left as they are."""
    left_out: tuple[str, ...]
    """Attributes that the token would not take, such as ``CKA_MODIFIABLE``."""


def import_dsc(
    uri: Pkcs11Uri,
    dsc: Certificate,
    pin: str | Callable[[], str] | None = None,
    *,
    final_try: bool = False,
    patience_s: float = PATIENCE_S,
) -> ImportedDsc:
    """Put a DSC beside the one private key that a URI means, and read it back.

    Args:
        pin: as for :func:`vaxpass_sign.keys.open_signer`.
        final_try: send the PIN even when a wrong one would lock the token.
        patience_s: seconds that this may take the token.
    Raises: CertificateError when it is no DSC, or not this key's; TokenLookupError, PinError,
        ModuleError or TokenError when the token can't do it. No object is left behind then, unless
        the error says so.
    """
    secret = AskedOnce(hidden(pin)).hidden
    del pin
    _check_kind(dsc)
    opened = open_session(uri, secret, writable=True, final_try=final_try, patience_s=patience_s)
    try:
        if not opened.logged_in:
            raise PinError(
                f"{opened.where} takes a certificate only after a login: give the PIN by the"
                " prompt, --pin-env NAME or the URI's pin-source"
            )
        done = watched(
            lambda: _import(opened, uri, secret, dsc),
            "importing the DSC",
            opened.where,
            patience_s=patience_s,
        )
    except TokenStalledError:
        raise  # closing would wait as well
    except BaseException:
        opened.close()
        raise
    opened.close()
    return done


def _check_kind(dsc: Certificate) -> None:
    if dsc.is_ca:
        raise CertificateError(
            f"found a CA's certificate ({dsc.subject}), expected a DSC: give the one that was"
            " issued for this key's request"
        )
    if dsc.alg is None:
        raise CertificateError(
            f"found a certificate whose key is {dsc.key_description}, expected EC P-256 or RSA of"
            " 2048 to 4096 bits: give the DSC that was issued for this key's request"
        )


def _import(
    opened: TokenSession, uri: Pkcs11Uri, secret: Hidden | None, dsc: Certificate
) -> ImportedDsc:
    key = find_private_key(opened, uri)
    with token_calls("reading the key", opened.where):
        name = f"key {describe_object(key)} on {opened.where}"
        ident, label = attribute(key, Attribute.ID), attribute(key, Attribute.LABEL)
    # Empty is an answer, none is not: without its id the DSC would stand beside no key.
    if ident is None or label is None:
        raise TokenError(
            f"{name} does not tell its id and label, expected both, if empty: try again; see the"
            " manual of the token's module"
        )
    # By these the key's public half is looked for: see objects.public_half.
    wanted: dict[str, bytes | str | None] = {"id": ident} if ident else {"label": label}
    if not any(wanted.values()):
        raise TokenError(
            f"{name} has neither id nor label, expected one that a certificate can share: give it"
            " an id with the token's own tool"
        )
    _check_belongs(opened, uri, secret, dsc, name)
    same, others = _certificates(opened, wanted, dsc)
    left_out: tuple[str, ...] = ()
    if not same:
        identity = {Attribute.ID: ident, Attribute.LABEL: label}
        item, left_out = _create(opened, identity, dsc)
        try:
            if not _certificates(opened, wanted, dsc)[0]:
                raise TokenError(
                    f"{opened.where} does not show the DSC that was put there as it was given,"
                    " expected the same bytes: it is destroyed again; see the manual of the token's"
                    " module"
                )
        except BaseException as error:
            destroy(opened, [item], error)
            raise
    return ImportedDsc(name, not same, tuple(map(_describe, others)), left_out)


def _check_belongs(
    opened: TokenSession, uri: Pkcs11Uri, secret: Hidden | None, dsc: Certificate, name: str
) -> None:
    with Pkcs11Signer(replace(uri, slot_id=opened.token.slot.slot_id), secret) as signer:
        belongs = dsc.public_key is not None and signs_for(signer, dsc.public_key)
    if not belongs:
        raise CertificateError(
            f"the DSC ({dsc.subject}, kid {dsc.kid.hex()}) is for another key: it does not verify"
            f" what {name} signs; nothing was put there; give the DSC that was issued for this"
            " key's request, or the URI of the DSC's key"
        )


def _certificates(
    opened: TokenSession, wanted: dict[str, bytes | str | None], dsc: Certificate
) -> tuple[bool, list[bytes]]:
    """Whether the DSC is among the token's certificates with the key's id; and the others' DER."""
    found = objects(opened, ObjectClass.CERTIFICATE, **wanted)
    with token_calls("reading certificates", opened.where):
        values = [bytes(attribute(item, Attribute.VALUE) or b"") for item in found]
    return dsc.der in values, [value for value in values if value != dsc.der]


def _create(
    opened: TokenSession, identity: dict[Attribute, Any], dsc: Certificate
) -> tuple[Object, tuple[str, ...]]:
    """Make the object; again without what a module refuses. Returns it and what was left out."""
    tbs = asn1.Certificate.load(dsc.der)["tbs_certificate"]
    template = {
        Attribute.CLASS: ObjectClass.CERTIFICATE,
        Attribute.CERTIFICATE_TYPE: CertificateType.X_509,
        Attribute.TOKEN: True,
        **identity,
        # Not encoded anew: the bytes as they stand in the certificate.
        Attribute.SUBJECT: tbs["subject"].dump(),
        Attribute.ISSUER: tbs["issuer"].dump(),
        Attribute.SERIAL_NUMBER: tbs["serial_number"].dump(),
        Attribute.VALUE: dsc.der,
    }
    optional, left_out = dict(_OPTIONAL), list[str]()
    while True:
        try:
            return opened.session.create_object(template | optional), tuple(left_out)
        except PKCS11Error as error:
            if not optional or not isinstance(error, _REFUSALS):
                raise fault("making a certificate object", opened.where, error) from error
            refused = next(iter(optional))
            del optional[refused]
            left_out.append(f"CKA_{refused.name}")


def _describe(der: bytes) -> str:
    try:
        other = Certificate.from_bytes(der)
    except CertificateError:
        return f"{len(der)} bytes that are no readable certificate"
    return f"{other.subject} (kid {other.kid.hex()}, until {other.not_after:%Y-%m-%d})"
