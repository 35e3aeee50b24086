"""Make a key pair on a token that the private key can never leave.

Rules that this module keeps:

* The private key is made on the token, SENSITIVE and not EXTRACTABLE, for signing alone, and can
  be neither changed nor copied. What the token says of it is read back; a pair that is not as
  asked for is destroyed again.
* A label or id that a key on the token bears already is refused.
* The pair is tried on a fixed message that can't be taken for a credential.

>>> from vaxpass_sign.keys.uri import Pkcs11Uri
>>> new_key(Pkcs11Uri(object="dsc"), kind="rsa", bits=1024)
Traceback (most recent call last):
...
vaxpass_sign.errors.InputError: a new RSA key must have 2048 or 3072 bits, found 1024
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from pkcs11.constants import Attribute, MechanismFlag, ObjectClass
from pkcs11.exceptions import (
    AttributeReadOnly,
    AttributeTypeInvalid,
    AttributeValueInvalid,
    GeneralError,
    PKCS11Error,
    TemplateInconsistent,
)
from pkcs11.mechanisms import KeyType, Mechanism
from pkcs11.types import Object

from vaxpass_sign.errors import InputError, PinError, TokenError, TokenLookupError
from vaxpass_sign.keys.locate import find_module
from vaxpass_sign.keys.objects import (
    attribute,
    describe_object,
    destroy,
    objects,
    public_key_of,
)
from vaxpass_sign.keys.pin import hidden
from vaxpass_sign.keys.proof import signs_for
from vaxpass_sign.keys.session import TokenSession, open_session
from vaxpass_sign.keys.signer import PublicKey
from vaxpass_sign.keys.token import TokenInfo, fault, quoted, token_calls, token_info
from vaxpass_sign.keys.token_signer import Pkcs11Signer
from vaxpass_sign.keys.uri import Pkcs11Uri

__all__ = ["KeyPlan", "NewKey", "new_key"]

_P256_PARAMS: Final = bytes.fromhex("06082a8648ce3d030107")
_ID_BYTES: Final = 16

# What the private key is made with, beside PRIVATE, SENSITIVE, SIGN and TOKEN, which
# python-pkcs11 sets from its arguments.
_PRIVATE: Final[dict[Attribute, Any]] = {
    Attribute.TOKEN: True,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.MODIFIABLE: False,
    Attribute.SIGN: True,
    Attribute.DERIVE: False,
    Attribute.DECRYPT: False,
    Attribute.UNWRAP: False,
}
# Attributes that some modules don't know; the pair is made without them then. CKA_COPYABLE is the
# newer one and is left out first: an RSA key of NSS softokn is safe only with the other one given.
_OPTIONAL: Final[dict[Attribute, Any]] = {
    Attribute.COPYABLE: False,
    Attribute.SIGN_RECOVER: False,
}
_OPTIONAL_TRIES: Final[tuple[dict[Attribute, Any], ...]] = (
    _OPTIONAL,
    {Attribute.SIGN_RECOVER: False},
    {},
)
_REFUSALS: Final = (
    AttributeTypeInvalid,
    AttributeValueInvalid,
    AttributeReadOnly,
    GeneralError,  # what NSS softokn 3.87 says to CKA_COPYABLE
    TemplateInconsistent,
)
# What only the token can say, read back afterwards (PKCS#11 v2.40 §4.9). A key that was imported
# or unwrapped has both false, so they also say that it was made there. CKA_LOCAL, which says that
# too, is not asked for: NSS softokn 3.87 answers false for every key that is stored, and this pair
# is the one that C_GenerateKeyPair of this very session gave.
_PROVEN: Final[dict[Attribute, Any]] = {
    Attribute.ALWAYS_SENSITIVE: True,
    Attribute.NEVER_EXTRACTABLE: True,
}
_PUBLIC: Final[dict[Attribute, Any]] = {
    Attribute.TOKEN: True,
    Attribute.PRIVATE: False,
    Attribute.MODIFIABLE: False,
}


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """What is about to be made, and where."""

    token: TokenInfo
    label: str
    kind: str
    """``P-256`` or ``RSA 2048``."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key pair that was made on a token and is as it was asked for."""

    uri: Pkcs11Uri
    """Names this key and no other: token, serial, object, id and the module."""
    label: str
    id_hex: str
    public_key: PublicKey
    checked: tuple[str, ...]
    """What was read back from the token, such as ``CKA_NEVER_EXTRACTABLE=true``."""


def new_key(  # noqa: PLR0913 (each is a part of what is made)
    uri: Pkcs11Uri,
    pin: str | Callable[[], str] | None = None,
    kind: Literal["ec", "rsa"] = "ec",
    bits: int = 2048,
    *,
    confirm: Callable[[KeyPlan], None] | None = None,
    final_try: bool = False,
) -> NewKey:
    """Make a P-256 or RSA key pair on the token that a URI means.

    Args:
        uri: must name the new key's label (``object``); its ``id``, or 16 random bytes, becomes
            the CKA_ID.
        pin: as for :func:`vaxpass_sign.keys.open_signer`.
        bits: 2048 or 3072, for RSA.
        confirm: called when all is ready, before the pair is made; what it raises goes through,
            and nothing is made then.
        final_try: send the PIN even when a wrong one would lock the token.
    Raises: InputError for the arguments; TokenLookupError when the label or id is taken; PinError,
        ModuleError or TokenError when the token can't do it. No pair is left behind then, unless
        the error says so.
    """
    secret = hidden(pin)
    del pin
    label = _checked_label(uri, kind, bits)
    with open_session(uri, secret, writable=True, final_try=final_try) as opened:
        if not opened.logged_in:
            raise PinError(
                f"{opened.where} makes keys only after a login: give the PIN by the prompt,"
                " --pin-env NAME or the URI's pin-source"
            )
        ident = uri.id or secrets.token_bytes(_ID_BYTES)
        _check_free(opened, label, ident)
        if confirm is not None:
            words = "P-256" if kind == "ec" else f"RSA {bits}"
            confirm(KeyPlan(token_info(opened.token), label, words))
        public, private = _generate(opened, kind, bits, label, ident)
        try:
            return _checked_pair(opened, uri, public, private)
        except BaseException as error:
            destroy(opened, (private, public), error)
            raise


def _checked_label(uri: Pkcs11Uri, kind: str, bits: int) -> str:
    if kind not in ("ec", "rsa"):
        raise InputError(f"a new key is of kind ec or rsa, found {quoted(kind)}")
    if kind == "rsa" and bits not in (2048, 3072):
        raise InputError(f"a new RSA key must have 2048 or 3072 bits, found {bits}")
    if uri.type not in (None, "private"):
        raise InputError(f"PKCS#11 URI: type={uri.type} is no key pair: leave it out")
    if not uri.object:
        raise InputError("PKCS#11 URI: name the new key with object=LABEL")
    return uri.object


def _check_free(opened: TokenSession, label: str, ident: bytes) -> None:
    for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
        found = objects(opened, kind, label=label) or objects(opened, kind, id=ident)
        if found:
            raise TokenLookupError(
                f"{opened.where} has a key with that label or id already:"
                f" {describe_object(found[0])}; choose another object= or id=, or destroy that key"
                " first"
            )


def _generate(
    opened: TokenSession, kind: str, bits: int, label: str, ident: bytes
) -> tuple[Object, Object]:
    """Make the pair; again with fewer attributes for a module that refuses the newer ones."""
    is_ec = kind == "ec"
    needed = Mechanism.EC_KEY_PAIR_GEN if is_ec else Mechanism.RSA_PKCS_KEY_PAIR_GEN
    with token_calls("reading the mechanisms", opened.where):
        offered = opened.token.slot.get_mechanisms()
    if needed not in offered:
        raise TokenError(
            f"{opened.where} makes no {kind.upper()} keys: it doesn't offer CKM_{needed.name};"
            " make a key of the other kind or use another token"
        )
    session: Any = opened.session
    for optional in _OPTIONAL_TRIES:
        try:
            public, private = session.generate_keypair(
                KeyType.EC if is_ec else KeyType.RSA,
                None if is_ec else bits,
                id=ident,
                label=label,
                store=True,
                capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
                public_template=_PUBLIC | ({Attribute.EC_PARAMS: _P256_PARAMS} if is_ec else {}),
                private_template=_PRIVATE | optional,
            )
        except PKCS11Error as error:
            if optional and isinstance(error, _REFUSALS):
                continue
            raise fault("making a key pair", opened.where, error) from error
        return public, private
    raise AssertionError("the last try returns or raises")


def _checked_pair(opened: TokenSession, uri: Pkcs11Uri, public: Object, private: Object) -> NewKey:
    name = f"the new key {describe_object(private)} on {opened.where}"
    checked = []
    for attr, wanted in (_PRIVATE | _PROVEN | _OPTIONAL).items():
        found = attribute(private, attr)
        if found is None and attr in _OPTIONAL:
            continue
        if found is not wanted:
            raise TokenError(
                f"{name} has CKA_{attr.name}={_word(found)}, expected {_word(wanted)}: it was"
                " destroyed; this token can't keep a signing key safe"
            )
        checked.append(f"CKA_{attr.name}={_word(found)}")
    key = public_key_of(public)
    if key is None:
        raise TokenError(f"{name} has no public key that can be read: it was destroyed")
    info = token_info(opened.token)
    ident = attribute(private, Attribute.ID)
    full = replace(
        uri,
        token=info.label,
        serial=info.serial,
        slot_id=None,
        id=ident,
        type=None,
        module_name=None,
        module_path=str(find_module(uri)),
    )
    _try_pair(full, opened, key, name)
    checked.append("a trial signature verifies")
    return NewKey(full, str(uri.object), ident.hex(), key, tuple(checked))


def _word(value: object) -> str:
    return "unreadable" if value is None else str(value).lower()


def _try_pair(uri: Pkcs11Uri, opened: TokenSession, key: PublicKey, name: str) -> None:
    """Sign the fixed message and verify it: the two halves belong together and can sign."""
    with Pkcs11Signer(replace(uri, slot_id=opened.token.slot.slot_id)) as signer:
        if not signs_for(signer, key):
            raise TokenError(
                f"{name} made a signature that doesn't verify: it was destroyed; see the manual of"
                " the token's module"
            )
