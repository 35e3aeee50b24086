"""Tokens: list them, and find the one that a URI means.

Rules that this module keeps: a URI must match exactly one token, and the error that says
otherwise lists the candidates and the attribute that would tell them apart. Nothing here logs in.

>>> quoted("moh\\n2021")
"'moh\\\\n2021'"
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from pkcs11.constants import SlotFlag, TokenFlag
from pkcs11.exceptions import PKCS11Error, TokenNotPresent, TokenNotRecognised
from pkcs11.types import Token

from vaxpass_sign.errors import TokenError, TokenLookupError, TokenLostError
from vaxpass_sign.keys.cryptoki import fault_hint, is_lost, rv_name
from vaxpass_sign.keys.module import Module
from vaxpass_sign.keys.uri import Pkcs11Uri

__all__ = [
    "KeyInfo",
    "TokenInfo",
    "describe_token",
    "distinguishing",
    "fault",
    "find_token",
    "listed",
    "pinned",
    "quoted",
    "read_tokens",
    "token_calls",
    "token_info",
]

_MAX_LISTED: Final = 8
_FLAG_WORDS: Final = (
    (TokenFlag.TOKEN_INITIALIZED, "initialised"),
    (TokenFlag.LOGIN_REQUIRED, "login required"),
    (TokenFlag.USER_PIN_INITIALIZED, "PIN set"),
    (TokenFlag.PROTECTED_AUTHENTICATION_PATH, "PIN pad"),
    (TokenFlag.USER_PIN_COUNT_LOW, "wrong PIN before"),
    (TokenFlag.USER_PIN_FINAL_TRY, "final try"),
    (TokenFlag.USER_PIN_LOCKED, "PIN locked"),
    (TokenFlag.USER_PIN_TO_BE_CHANGED, "PIN to be changed"),
    (TokenFlag.WRITE_PROTECTED, "write-protected"),
    (TokenFlag.ERROR_STATE, "in error state"),
)


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key or certificate that a token shows."""

    kind: str
    """``public key``, ``certificate``, or ``private key`` if this process is logged in."""
    label: str
    id_hex: str
    algorithm: str
    """``EC P-256``, ``EC secp384r1``, ``RSA 2048`` or ``unknown``."""
    uri: str | None = None
    """Of a key: names its pair by token, label, id and module; None when no URI can."""
    subject: str | None = None
    """Of a certificate: the common name, or the whole subject when it has none."""
    not_after: datetime | None = None
    """Of a certificate."""


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """What a token says of itself without a login."""

    slot_id: int
    label: str
    serial: str
    manufacturer: str
    model: str
    slot_description: str
    flags: tuple[str, ...]
    """In words: initialised, login required, PIN set, final try, PIN locked, removable, …"""
    keys: tuple[KeyInfo, ...] = ()
    """What ``list_tokens`` found on it; empty everywhere else."""
    signs: tuple[str, ...] = ()
    """What it can sign an HCERT with, such as ``ES256 (CKM_ECDSA)``; as for ``keys``."""


def token_info(token: Token) -> TokenInfo:
    """What a token said of itself when it was found."""
    flags = [word for flag, word in _FLAG_WORDS if token.flags & flag]
    if token.slot.flags & SlotFlag.REMOVABLE_DEVICE:
        flags.append("removable")
    return TokenInfo(
        slot_id=token.slot.slot_id,
        label=token.label,
        serial=token.serial.rstrip(b"\0 ").decode("ascii", errors="replace"),
        manufacturer=token.manufacturer_id,
        model=token.model,
        slot_description=token.slot.slot_description,
        flags=tuple(flags),
    )


def pinned(uri: Pkcs11Uri, info: TokenInfo) -> Pkcs11Uri:
    """The URI of this very token: by serial number, label, manufacturer and model as it has them.

    The slot's number is left out when there is a serial number, since a token may come back in
    another slot.
    """
    found = {
        "token": info.label,
        "serial": info.serial,
        "manufacturer": info.manufacturer,
        "model": info.model,
    }
    given: dict[str, Any] = {name: value for name, value in found.items() if value}
    if info.serial:
        given["slot_id"] = None
    return replace(uri, **given)


def quoted(text: str) -> str:
    """Text from a token, in quotes and on one line, shortened when it is long."""
    return repr(text if len(text) <= 64 else text[:61] + "…")


def describe_token(token: Token) -> str:
    """How messages name a token: its label and serial number, which are no secrets."""
    info = token_info(token)
    return f"token {quoted(info.label)} (serial {info.serial or 'none'})"


def fault(doing: str, where: str, failure: int | PKCS11Error) -> TokenError:
    """The error for a failed call: what was being done, on which token, what to try.

    It is a TokenLostError when opening the token again may help.
    """
    if isinstance(failure, int):
        name = rv_name(failure)
    else:
        # Most of python-pkcs11's exceptions carry no text; those for unknown codes do.
        name = " ".join(filter(None, (type(failure).__name__, str(failure))))
    kind = TokenLostError if is_lost(name.split(" ", 1)[0]) else TokenError
    return kind(f"{doing} on {where} failed ({name}): {fault_hint(name)}")


@contextmanager
def token_calls(doing: str, where: str) -> Iterator[None]:
    """Turn python-pkcs11's exceptions into a TokenError that says what was being done."""
    try:
        yield
    except PKCS11Error as error:
        raise fault(doing, where, error) from error


def read_tokens(module: Module) -> list[Token]:
    """Every token of a module, in the order of its slots; empty readers are left out.

    Raises: TokenError when the slots can't be read.
    """
    module.check_process()
    tokens = []
    with token_calls("listing the tokens", f"module {module.path.name!r}"):
        for slot in module.lib.get_slots():
            try:
                tokens.append(slot.get_token())
            except (TokenNotPresent, TokenNotRecognised):
                continue
    return tokens


def find_token(module: Module, uri: Pkcs11Uri) -> Token:
    """The one token that a URI means.

    A token that is not initialised is found only when its slot is named.

    Raises: TokenLookupError when none matches, or several; TokenError when it isn't initialised.
    """
    _check_library(module, uri)
    tokens = read_tokens(module)
    matching = [token for token in tokens if _matches(uri, token)]
    ready = [token for token in matching if token.flags & TokenFlag.TOKEN_INITIALIZED]
    if len(ready) == 1:
        return ready[0]
    if not ready and matching:
        raise TokenError(
            f"the token in slot {matching[0].slot.slot_id} is not initialised: initialise it first"
        )
    there = [token for token in tokens if token.flags & TokenFlag.TOKEN_INITIALIZED]
    if not ready:
        raise TokenLookupError(
            f"no token in {module.path.name!r} matches the URI; there {_list_tokens(there)}:"
            " plug the token in, or correct token= or serial= in the URI"
        )
    infos = [token_info(token) for token in ready]
    attribute = distinguishing(
        {
            "token": [info.label for info in infos],
            "serial": [info.serial for info in infos],
            "model": [info.model for info in infos],
            "slot-id": [str(info.slot_id) for info in infos],
        }
    )
    raise TokenLookupError(
        f"{len(ready)} tokens match the URI; there {_list_tokens(ready)}:"
        f" add {attribute}=… to the URI to choose one"
    )


def distinguishing(values: dict[str, list[str]]) -> str | None:
    """The first attribute that every candidate has, each with another value.

    >>> distinguishing({"token": ["a", "a"], "serial": ["1", "2"]})
    'serial'
    """
    for attribute, found in values.items():
        if all(found) and len(set(found)) == len(found):
            return attribute
    return None


def listed(what: str, items: Sequence[str]) -> str:
    """How messages list candidates.

    >>> listed("token", ["a", "b"]), listed("token", [])
    ('are 2 tokens: a, b', 'is no token')
    """
    if not items:
        return f"is no {what}"
    shown = ", ".join(items[:_MAX_LISTED]) + (", …" if len(items) > _MAX_LISTED else "")
    return f"is 1 {what}: {shown}" if len(items) == 1 else f"are {len(items)} {what}s: {shown}"


def _list_tokens(tokens: Sequence[Token]) -> str:
    infos = map(token_info, tokens)
    return listed(
        "token",
        [f"{quoted(i.label)} (serial {i.serial or 'none'}, slot {i.slot_id})" for i in infos],
    )


def _matches(uri: Pkcs11Uri, token: Token) -> bool:
    info = token_info(token)
    pairs: tuple[tuple[object, object], ...] = (
        (uri.token, info.label),
        (uri.serial, info.serial),
        (uri.manufacturer, info.manufacturer),
        (uri.model, info.model),
        (uri.slot_id, info.slot_id),
        (uri.slot_description, info.slot_description),
        (uri.slot_manufacturer, token.slot.manufacturer_id),
    )
    return all(wanted is None or wanted == found for wanted, found in pairs)


def _check_library(module: Module, uri: Pkcs11Uri) -> None:
    lib = module.lib
    version = ".".join(map(str, lib.library_version))
    pairs = (
        ("library-manufacturer", uri.library_manufacturer, {lib.manufacturer_id}),
        ("library-description", uri.library_description, {lib.library_description}),
        # A version without a minor number means minor 0 (RFC 7512 §2.3).
        ("library-version", uri.library_version, {version, version.removesuffix(".0")}),
    )
    for name, wanted, found in pairs:
        if wanted is not None and wanted not in found:
            raise TokenLookupError(
                f"module {module.path.name!r} has {name} {quoted(max(found))}, the URI asks for"
                f" {quoted(wanted)}: correct the URI or name the other module"
            )
