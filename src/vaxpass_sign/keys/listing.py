"""What is in a module's slots, without a login: for ``token list``.

>>> from vaxpass_sign.keys.module import load_module
>>> with load_module("/nowhere/libtoken.so") as module:
...     list_tokens(module)
Traceback (most recent call last):
...
vaxpass_sign.errors.ModuleError: PKCS#11 module '/nowhere/libtoken.so' does not exist: ...
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from pkcs11.constants import Attribute, ObjectClass, TokenFlag
from pkcs11.types import Object, Token

from vaxpass_sign.keys.module import Module
from vaxpass_sign.keys.objects import attribute, curve_name, objects, public_key_of
from vaxpass_sign.keys.session import TokenSession, attribute_mapper
from vaxpass_sign.keys.token import (
    KeyInfo,
    TokenInfo,
    describe_token,
    read_tokens,
    token_calls,
    token_info,
)

__all__ = ["list_tokens"]

_KINDS: Final = (
    (ObjectClass.PRIVATE_KEY, "private key"),
    (ObjectClass.PUBLIC_KEY, "public key"),
    (ObjectClass.CERTIFICATE, "certificate"),
)


def list_tokens(module: Module) -> list[TokenInfo]:
    """Every token of a module, in the order of its slots, without logging in.

    Tokens that are not initialised are listed too, with no keys: ``init_token`` makes them ready.

    Raises: TokenError when the slots or a token can't be read.
    """
    return [replace(token_info(token), keys=_keys(module, token)) for token in read_tokens(module)]


def _keys(module: Module, token: Token) -> tuple[KeyInfo, ...]:
    if not token.flags & TokenFlag.TOKEN_INITIALIZED:
        return ()
    where = describe_token(token)
    with token_calls("listing keys", where):
        session = token.open(attribute_mapper=attribute_mapper())
        with session:
            opened = TokenSession(module, token, session, logged_in=False)
            return tuple(
                _key_info(kind, item) for number, kind in _KINDS for item in objects(opened, number)
            )


def _key_info(kind: str, item: Object) -> KeyInfo:
    return KeyInfo(
        kind=kind,
        label=attribute(item, Attribute.LABEL) or "",
        id_hex=(attribute(item, Attribute.ID) or b"").hex(),
        algorithm=_algorithm(item),
    )


def _algorithm(item: Object) -> str:
    key = public_key_of(item)
    if isinstance(key, EllipticCurvePublicKey):
        return "EC P-256" if key.curve.name == "secp256r1" else f"EC {key.curve.name}"
    if key is not None:
        return f"RSA {key.key_size}"
    params = attribute(item, Attribute.EC_PARAMS)
    if not params:
        return "unknown"
    curve = curve_name(params)
    return "EC P-256" if curve == "secp256r1" else f"EC {curve}"
