"""A session on a token, logged in at most once.

Rules that this module keeps:

* One attempt. The PIN is sent once, and not at all when the token says that it is locked or
  that a wrong one would lock it. A PIN that a token has refused is never sent to it again by this
  process, whichever thread asks.
* Login is the application's, not the session's (PKCS#11 v2.40 §5.6): when this process is logged
  in on the token already, no PIN is sent.
* Nobody logs out. Closing one session leaves the others of this process as they are; the token
  ends the login when the last one is closed.
* What was opened is closed again when setting up fails half-way.

>>> from vaxpass_sign.keys.uri import Pkcs11Uri
>>> open_session(Pkcs11Uri(module_path="/nowhere/libtoken.so"), pin="1234")
Traceback (most recent call last):
...
vaxpass_sign.errors.ModuleError: PKCS#11 module '/nowhere/libtoken.so' does not exist: ...
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from pkcs11.attributes import AttributeMapper
from pkcs11.constants import Attribute, TokenFlag
from pkcs11.exceptions import PKCS11Error
from pkcs11.mechanisms import KeyType
from pkcs11.types import Session, Token

from vaxpass_sign.errors import PinError, TokenError
from vaxpass_sign.keys.cryptoki import Rv
from vaxpass_sign.keys.locate import find_module
from vaxpass_sign.keys.module import Module, load_module
from vaxpass_sign.keys.pin import Hidden, RefusedPins, hidden, pin_file, read_pin
from vaxpass_sign.keys.token import describe_token, fault, find_token, token_calls
from vaxpass_sign.keys.uri import Pkcs11Uri

__all__ = ["TokenSession", "attribute_mapper", "open_session"]

_log: Final = logging.getLogger(__name__)
_refused_pins: Final = RefusedPins()
_WRONG_PIN: Final = (Rv.PIN_INCORRECT, Rv.PIN_INVALID, Rv.PIN_LEN_RANGE)
_UNLOCK: Final = (
    "a locked PIN is set anew by the security officer with the SO PIN"
    " (pkcs11-tool --module MODULE --login --login-type so --init-pin)"
)


def open_session(
    uri: Pkcs11Uri, pin: str | Callable[[], str] | None = None, *, writable: bool = False
) -> TokenSession:
    """Open the one token that a URI means, and log in when there is a PIN.

    Args:
        pin: the user PIN or a function that asks for it; left out, the URI's pin-source is read,
            or the token's own PIN pad asks. Without any, the session is not logged in.
        writable: true to make or destroy objects.
    Raises: ModuleError, TokenLookupError, PinError or TokenError.
    """
    secret = hidden(pin)
    del pin
    if secret is None and uri.pin_source is not None:
        secret = pin_file(uri.pin_source)
    module = load_module(find_module(uri))
    try:
        token = find_token(module, uri)
        with token_calls("opening a session", describe_token(token)):
            session = token.open(rw=writable, attribute_mapper=attribute_mapper())
        try:
            logged_in = _log_in(module, token, session, secret)
        except BaseException:
            _close_session(session)
            raise
    except BaseException:
        module.close()
        raise
    return TokenSession(module, token, session, logged_in=logged_in)


class TokenSession:
    """An open session with its token and module; made by :func:`open_session`.

    It belongs to the process that opened it. Threads must not use it at the same time.
    """

    def __init__(self, module: Module, token: Token, session: Session, *, logged_in: bool) -> None:
        self.module = module
        self.token = token
        self.session = session
        self.logged_in = logged_in
        """False when no PIN was given; the token may still show public objects."""
        self.where = describe_token(token)
        self.pid = os.getpid()
        self._open = True

    def close(self) -> None:
        """Close the session and give the module up; a second close does nothing."""
        if not self._open:
            return
        self._open = False
        # In a forked child the session is the parent's: closing it could end the parent's.
        if os.getpid() == self.pid:
            _close_session(self.session)
            self.module.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def attribute_mapper() -> AttributeMapper:
    """python-pkcs11's mapper, made to bear labels that aren't UTF-8 and unknown key types."""
    mapper = AttributeMapper()
    mapper.register_handler(Attribute.LABEL, str.encode, _label)
    pack, unpack = mapper.attribute_types[Attribute.MODULUS_BITS]
    mapper.register_handler(Attribute.KEY_TYPE, pack, lambda value: _key_type(unpack(value)))
    return mapper


def _label(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", errors="replace")


def _key_type(number: Any) -> Any:
    try:
        return KeyType(number)
    except ValueError:
        return number


def _close_session(session: Session) -> None:
    try:
        session.close()
    except PKCS11Error as error:
        # The token is gone, or has closed the session by itself: there is nothing left to close.
        _log.info("closing a session: %s", type(error).__name__)


def _log_in(module: Module, token: Token, session: Session, secret: Hidden | None) -> bool:
    """Log the session in if it can be; True when it is logged in, or needs no login."""
    where = describe_token(token)
    with module.login_lock:
        if module.functions.is_user(session.handle):  # type: ignore[attr-defined]  # the stub lacks it
            return True
        with token_calls("reading the PIN's state", where):
            flags = token.slot.get_token().flags
        if not flags & TokenFlag.LOGIN_REQUIRED:
            return True
        pin_pad = bool(flags & TokenFlag.PROTECTED_AUTHENTICATION_PATH)
        if secret is None and not pin_pad:
            return False
        _check_pin_can_be_sent(flags, where)
        pin = None if secret is None else read_pin(secret)
        if pin is not None and _refused_pins.has(token.serial, pin):
            del pin
            raise PinError(
                f"this PIN was refused for {where} before and is not sent again: check it;"
                f" {_UNLOCK}"
            )
        rv = module.functions.login(session.handle, pin)  # type: ignore[attr-defined]
        if rv in _WRONG_PIN and pin is not None:
            _refused_pins.add(token.serial, pin)
        # Gone before anything is raised, so that no traceback shows it.
        del pin
        if rv in (Rv.OK, Rv.USER_ALREADY_LOGGED_IN):
            return True
        raise _refused(rv, where, token)


def _check_pin_can_be_sent(flags: TokenFlag, where: str) -> None:
    if not flags & TokenFlag.USER_PIN_INITIALIZED:
        raise PinError(
            f"{where} has no user PIN yet: the security officer sets it first"
            " (pkcs11-tool --module MODULE --login --login-type so --init-pin)"
        )
    if flags & TokenFlag.USER_PIN_LOCKED:
        raise PinError(f"the PIN of {where} is locked; nothing was sent: {_UNLOCK}")
    if flags & TokenFlag.USER_PIN_FINAL_TRY:
        raise PinError(
            f"{where} has one try left before its PIN locks; nothing was sent: check the PIN,"
            " clear the count with one login by the token's own tool"
            " (pkcs11-tool --module MODULE --login --list-objects), and start again"
        )


def _refused(rv: int, where: str, token: Token) -> TokenError:
    """The error for a login that failed; the PIN was sent once."""
    if rv in _WRONG_PIN:
        return PinError(
            f"the PIN was refused for {where}; it was sent once and will not be sent again"
            f"{_tries_left(token)}: check it, then try once more; {_UNLOCK}"
        )
    if rv == Rv.PIN_LOCKED:
        return PinError(f"the PIN of {where} is locked: {_UNLOCK}")
    if rv == Rv.PIN_EXPIRED:
        return PinError(f"the PIN of {where} has expired: change it with the token's own tool")
    if rv == Rv.USER_PIN_NOT_INITIALIZED:
        return PinError(f"{where} has no user PIN yet: the security officer sets it first")
    if rv == Rv.USER_ANOTHER_ALREADY_LOGGED_IN:
        return TokenError(f"the security officer is logged in on {where}: log out there first")
    return fault("logging in", where, rv)


def _tries_left(token: Token) -> str:
    try:
        flags = token.slot.get_token().flags
    except PKCS11Error:
        return ""
    if flags & TokenFlag.USER_PIN_LOCKED:
        return " (the PIN is locked now)"
    return " (one try is left)" if flags & TokenFlag.USER_PIN_FINAL_TRY else ""
