"""Make a token ready: label it and set its PINs. Only a token that was never initialised.

>>> padded_label("Bộ Y tế")
b'B\\xe1\\xbb\\x99 Y t\\xe1\\xba\\xbf                     '
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pkcs11.constants import TokenFlag
from pkcs11.exceptions import PKCS11Error
from pkcs11.types import Token

from vaxpass_sign.errors import InputError, PinError, TokenError, TokenLookupError
from vaxpass_sign.keys.cryptoki import Rv
from vaxpass_sign.keys.module import Module
from vaxpass_sign.keys.pin import Hidden, hidden, read_pin
from vaxpass_sign.keys.token import TokenInfo, fault, read_tokens, token_calls, token_info

__all__ = ["init_token", "padded_label"]

_LABEL_BYTES: Final = 32


def padded_label(label: str) -> bytes:
    """A token's label as C_InitToken wants it: UTF-8, filled with blanks to 32 bytes.

    Raises: InputError when it is empty or longer.
    """
    data = label.encode("utf-8", errors="replace")
    if not data.strip() or len(data) > _LABEL_BYTES:
        raise InputError(
            f"a token's label must have 1 to {_LABEL_BYTES} bytes in UTF-8, found {len(data)}"
        )
    return data.ljust(_LABEL_BYTES)


def init_token(
    module: Module,
    slot_id: int,
    label: str,
    *,
    so_pin: str | Callable[[], str],
    user_pin: str | Callable[[], str],
) -> TokenInfo:
    """Initialise the token in a slot and set its user PIN (C_InitToken, C_InitPIN).

    Initialising wipes a token, so one that is initialised already is refused. If the user PIN is
    not accepted, the token is left with its label and SO PIN, and without a user PIN.

    Returns: what the token says of itself now; some modules move it to another slot.
    Raises: InputError for the label; TokenLookupError when there is no such slot; PinError when
        a PIN is not accepted; TokenError when the token is initialised already, or fails.
    """
    so_secret, user_secret = hidden(so_pin), hidden(user_pin)
    del so_pin, user_pin
    padded = padded_label(label)
    token = _token_in_slot(module, slot_id)
    where = f"the token in slot {slot_id}"
    if token.flags & TokenFlag.TOKEN_INITIALIZED:
        raise TokenError(
            f"{where} is initialised already and would be wiped: choose another slot, or wipe it"
            " with the token's own tool"
        )
    pin = read_pin(so_secret)
    rv = module.functions.init_token(slot_id, pin, padded)
    del pin
    _check_pin_set("SO PIN", "initialising", where, rv)
    _set_user_pin(module, _token_in_slot(module, slot_id), so_secret, user_secret, where)
    return token_info(_token_in_slot(module, slot_id))


def _token_in_slot(module: Module, slot_id: int) -> Token:
    tokens = read_tokens(module)
    for token in tokens:
        if token.slot.slot_id == slot_id:
            return token
    slots = ", ".join(str(token.slot.slot_id) for token in tokens) or "none"
    raise TokenLookupError(f"no token is in slot {slot_id}; slots with a token: {slots}")


def _set_user_pin(
    module: Module, token: Token, so_secret: Hidden, user_secret: Hidden, where: str
) -> None:
    with token_calls("opening a session", where):
        session: Any = token.open(rw=True)
    try:
        pin = read_pin(so_secret)
        rv = module.functions.login(session.handle, pin, so=True)
        del pin
        _check_pin_set("SO PIN", "logging in as SO", where, rv)
        pin = read_pin(user_secret)
        rv = module.functions.init_pin(session.handle, pin)
        del pin
        _check_pin_set("user PIN", "setting the user PIN", where, rv)
    finally:
        # The SO's login ends with the only session on a token that nobody could use before.
        try:
            session.close()
        except PKCS11Error as error:
            raise fault("closing the session", where, error) from error


def _check_pin_set(which: str, doing: str, where: str, rv: int) -> None:
    if rv in (Rv.PIN_INCORRECT, Rv.PIN_INVALID, Rv.PIN_LEN_RANGE):
        raise PinError(
            f"the {which} is not one that {where} takes: mind its least and greatest length"
            " (SoftHSM: 4 to 255 characters)"
        )
    if rv != Rv.OK:
        raise fault(doing, where, rv)
