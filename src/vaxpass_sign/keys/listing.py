"""What is in a module's slots, without a login: for ``token list``.

Rules that this module keeps: what can't be read is an error of its own and hides nothing else; and
however much a module says, no more is read of it than somebody could look through.

>>> [error] = read_module(Path("/nowhere/libtoken.so"))
>>> type(error).__name__
'ModuleError'
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from pkcs11.constants import Attribute, ObjectClass, TokenFlag
from pkcs11.exceptions import TokenNotPresent, TokenNotRecognised
from pkcs11.types import Object, Slot, Token

from vaxpass_sign.errors import CertificateError, InputError, TokenError
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.keys import PATIENCE_S
from vaxpass_sign.keys.mechanism import signing_mechanism
from vaxpass_sign.keys.module import Module, load_module
from vaxpass_sign.keys.objects import attribute, curve_name, public_key_of
from vaxpass_sign.keys.session import bare_session
from vaxpass_sign.keys.token import (
    KeyInfo,
    TokenInfo,
    describe_token,
    token_calls,
    token_info,
)
from vaxpass_sign.keys.uri import Pkcs11Uri
from vaxpass_sign.keys.watch import watched
from vaxpass_sign.x509.certificate import Certificate

__all__ = ["MAX_OBJECTS", "MAX_SLOTS", "list_tokens", "read_module"]

MAX_SLOTS: Final = 256
MAX_OBJECTS: Final = 1000
"""Of each kind on one token."""

_KINDS: Final = (
    (ObjectClass.PRIVATE_KEY, "private key"),
    (ObjectClass.PUBLIC_KEY, "public key"),
    (ObjectClass.CERTIFICATE, "certificate"),
)
# What python-pkcs11 raises for counts and values that can't be.
_NONSENSE: Final = (ValueError, IndexError, OverflowError, MemoryError, struct.error)


def list_tokens(module: Module) -> list[TokenInfo]:
    """Every token of a module, in the order of its slots, without logging in.

    Tokens that are not initialised are listed too, with no keys: ``init_token`` makes them ready.

    Raises: TokenError when the slots or a token can't be read.
    """
    tokens = []
    for found in _slots(module, module.path):
        if isinstance(found, TokenError):
            raise found
        tokens.append(found)
    return tokens


def read_module(path: Path, patience_s: float = PATIENCE_S) -> list[TokenInfo | TokenError]:
    """Load a module and list its tokens; in their place, or after them, what can't be read.

    Args:
        patience_s: seconds that one slot may take.
    """
    found: list[TokenInfo | TokenError] = []

    def read() -> None:
        with load_module(path) as module:
            for item in _slots(module, path):
                found.append(item)

    try:
        where = f"module {path.name!r}"
        watched(read, "listing", where, patience_s=patience_s, moves=lambda: len(found))
    except TokenError as error:
        return [*found, error]
    return found


def _slots(module: Module, path: Path) -> Iterator[TokenInfo | TokenError]:
    """``path``: how URIs name the module, for its real path may hold a version."""
    module.check_process()
    name = f"module {module.path.name!r}"
    try:
        with _reading("listing the slots", name):
            slots = module.lib.get_slots()
    except TokenError as error:
        yield error
        return
    for slot in slots[:MAX_SLOTS]:
        yield from _slot(slot, path)
    if len(slots) > MAX_SLOTS:
        yield _too_many(f"{len(slots):,} slots", name, MAX_SLOTS)


def _slot(slot: Slot, path: Path) -> Iterator[TokenInfo | TokenError]:
    """What a slot's token says of itself, then what of it can't be read; an empty slot: nothing."""
    try:
        with _reading("reading the token", f"slot {slot.slot_id} of module {path.name!r}"):
            try:
                token = slot.get_token()
            except (TokenNotPresent, TokenNotRecognised):
                return
            info = token_info(token)
    except TokenError as error:
        yield error
        return
    if not token.flags & TokenFlag.TOKEN_INITIALIZED:
        yield info
        return
    where, keys, problems = describe_token(token), list[KeyInfo](), list[TokenError]()
    try:
        with _reading("listing what it can sign", where):
            info = replace(info, signs=tuple(_signs(slot)))
        with _reading("listing keys", where):
            for key in _keys(token, info, path):
                if isinstance(key, TokenError):
                    problems.append(key)
                else:
                    keys.append(key)
    except TokenError as error:
        problems.append(error)
    yield replace(info, keys=tuple(keys))
    yield from problems


@contextmanager
def _reading(doing: str, where: str) -> Iterator[None]:
    try:
        with token_calls(doing, where):
            yield
    except _NONSENSE as error:
        raise TokenError(
            f"{doing} on {where} failed: found a count or a value that can't be"
            f" ({type(error).__name__}), expected PKCS#11's; see the manual of the token's module"
        ) from error


def _too_many(found: str, where: str, most: int) -> TokenError:
    return TokenError(
        f"{where} shows {found}, expected {most:,} at most: the first {most:,} are listed; look at"
        " it with its own tool"
    )


def _signs(slot: Slot) -> Iterator[str]:
    for alg in Alg:
        mechanism = signing_mechanism(slot, alg)
        if mechanism is not None:
            yield f"{alg.name} (CKM_{mechanism.name})"


def _keys(token: Token, info: TokenInfo, path: Path) -> Iterator[KeyInfo | TokenError]:
    with bare_session(token) as session:
        for number, kind in _KINDS:
            search: Any = session.get_objects({Attribute.CLASS: number})
            with closing(search):
                items = list(islice(search, MAX_OBJECTS + 1))
            for item in items[:MAX_OBJECTS]:
                yield _key_info(item, kind, info, path)
            if len(items) > MAX_OBJECTS:
                found = f"more than {MAX_OBJECTS:,} objects of one kind ({kind})"
                yield _too_many(found, describe_token(token), MAX_OBJECTS)


def _key_info(item: Object, kind: str, token: TokenInfo, path: Path) -> KeyInfo:
    label = attribute(item, Attribute.LABEL) or ""
    ident = attribute(item, Attribute.ID) or b""
    key = KeyInfo(kind=kind, label=label, id_hex=ident.hex(), algorithm=_algorithm(item))
    if kind != "certificate":
        return replace(key, uri=_uri(token, path, label, ident))
    try:
        certificate = Certificate.from_bytes(attribute(item, Attribute.VALUE) or b"")
    except CertificateError:
        return key
    subject = certificate.common_name or certificate.subject
    return replace(key, subject=subject, not_after=certificate.not_after)


def _uri(token: TokenInfo, path: Path, label: str, ident: bytes) -> str | None:
    """The URI of a key pair; without what a URI can't say, such as a label that is not UTF-8."""
    names = [name if name and "\ufffd" not in name else None for name in (token.label, label)]
    if names[1] is None and not ident:
        return None
    try:
        uri = Pkcs11Uri(
            token=names[0],
            serial=token.serial or None,
            object=names[1],
            id=ident or None,
            slot_id=None if token.serial else token.slot_id,
            module_path=str(path),
        )
    except InputError:
        return None
    return str(uri)


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
