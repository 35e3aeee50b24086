"""A session on a token, logged in at most once.

Rules that this module keeps:

* One attempt. The PIN is sent once, and not at all when the token says that it is locked. When it
  says that a wrong one would lock it, or the notes of this account do
  (:mod:`vaxpass_sign.keys.tries`), only if that was asked for. A PIN that a token has refused is
  never sent to it again by this process, whichever thread asks.
* Login is the application's, not the session's (PKCS#11 v2.40 §5.6): when this process is logged
  in on the token already, no PIN is sent.
* Nobody logs out. Closing one session leaves the others of this process as they are; the token
  ends the login when the last one is closed.
* What was opened is closed again when setting up fails half-way.
* Each call is watched (:mod:`vaxpass_sign.keys.watch`), but for the time in which somebody is
  asked.

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pkcs11.attributes import AttributeMapper
from pkcs11.constants import Attribute, TokenFlag
from pkcs11.exceptions import FunctionFailed, PKCS11Error
from pkcs11.mechanisms import KeyType
from pkcs11.types import Session, Token

from vaxpass_sign.closing import Closing
from vaxpass_sign.errors import PinError, TokenError, TokenStalledError
from vaxpass_sign.keys import PATIENCE_S
from vaxpass_sign.keys.cryptoki import Rv
from vaxpass_sign.keys.locate import find_module
from vaxpass_sign.keys.module import Module, load_module
from vaxpass_sign.keys.pin import Hidden, RefusedPins, hidden, pin_file, read_pin
from vaxpass_sign.keys.token import describe_token, fault, find_token, token_calls, token_info
from vaxpass_sign.keys.tries import LAST_SAFE, clear_tries, note_refusal, refusals
from vaxpass_sign.keys.uri import Pkcs11Uri
from vaxpass_sign.keys.watch import CLOSING_PATIENCE_S, PIN_PAD_PATIENCE_S, stuck, watched

__all__ = ["TokenSession", "attribute_mapper", "bare_session", "open_session"]

T = TypeVar("T")

_log: Final = logging.getLogger(__name__)
_refused_pins: Final = RefusedPins()
_WRONG_PIN: Final = (Rv.PIN_INCORRECT, Rv.PIN_INVALID, Rv.PIN_LEN_RANGE)
_UNLOCK: Final = (
    "a locked PIN is set anew by the security officer with the SO PIN"
    " (pkcs11-tool --module MODULE --login --login-type so --init-pin)"
)


def open_session(
    uri: Pkcs11Uri,
    pin: str | Callable[[], str] | None = None,
    *,
    writable: bool = False,
    final_try: bool = False,
    patience_s: float = PATIENCE_S,
) -> TokenSession:
    """Open the one token that a URI means, and log in when there is a PIN.

    Args:
        pin: the user PIN or a function that asks for it; left out, the URI's pin-source is read,
            or the token's own PIN pad asks. Without any, the session is not logged in.
        writable: true to make or destroy objects.
        final_try: send the PIN even when a wrong one would lock the token.
        patience_s: seconds that a call into the module may take.
    Raises: ModuleError, TokenLookupError, PinError or TokenError; TokenStalledError when a call
        does not return.
    """
    secret = hidden(pin)
    del pin
    if secret is None and uri.pin_source is not None:
        secret = pin_file(uri.pin_source)
    path = find_module(uri)
    where = f"module {path.name!r}"
    module, token, session = watched(
        lambda: _open(path, uri, writable), "opening the token", where, patience_s=patience_s
    )
    try:
        logged_in = _Login(module, token, session, patience_s).log_in(secret, final_try)
    except TokenStalledError:
        raise  # whatever is called now would wait as well
    except BaseException:
        _give_up(module, session)
        raise
    return TokenSession(module, token, session, logged_in=logged_in, patience_s=patience_s)


def _open(path: Path, uri: Pkcs11Uri, writable: bool) -> tuple[Module, Token, Session]:
    module = load_module(path, uri.x_init_reserved)
    try:
        token = find_token(module, uri)
        session = bare_session(token, writable=writable)
    except BaseException:
        module.close()
        raise
    return module, token, session


def bare_session(token: Token, *, writable: bool = False) -> Session:
    """A session without a login, read-only unless it shall write, or the token has no other.

    Raises: TokenError when it can't be opened.
    """
    with token_calls("opening a session", describe_token(token)):
        try:
            return token.open(rw=writable, attribute_mapper=attribute_mapper())
        except FunctionFailed:
            if writable:
                raise
            # So says AWS CloudHSM's module (Client SDK 5), which opens no read-only sessions.
            return token.open(rw=True, attribute_mapper=attribute_mapper())


class TokenSession(Closing):
    """An open session with its token and module; made by :func:`open_session`.

    It belongs to the process that opened it. Threads must not use it at the same time.
    """

    def __init__(
        self,
        module: Module,
        token: Token,
        session: Session,
        *,
        logged_in: bool,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.module = module
        self.token = token
        self.session = session
        self.logged_in = logged_in
        """False when no PIN was given; the token may still show public objects."""
        self.where = describe_token(token)
        self.pid = os.getpid()
        self._open = True
        self._patience_s = patience_s

    @property
    def pin_pad(self) -> bool:
        """Whether the token's own PIN pad asks."""
        return bool(self.token.flags & TokenFlag.PROTECTED_AUTHENTICATION_PATH)

    def authenticate(self, secret: Hidden | None) -> None:
        """Present the PIN for one operation that was begun, to a key that wants it each time.

        Without a PIN the token's own pad asks.

        Raises: PinError or TokenError.
        """
        _Login(self.module, self.token, self.session, self._patience_s).authenticate(secret)

    def close(self) -> None:
        """Close the session and give the module up; a second close does nothing."""
        if not self._open:
            return
        self._open = False
        # In a forked child the session is the parent's: closing it could end the parent's.
        if os.getpid() == self.pid:
            _give_up(self.module, self.session)


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


def _give_up(module: Module, session: Session) -> None:
    """Close a session and let go of its module, in a bounded time.

    What can't be closed is left to the end of the process: where one call is stuck, another one
    would wait for what it holds.
    """

    def close() -> None:
        try:
            session.close()
        except PKCS11Error as error:
            # The token is gone, or has closed the session by itself: nothing is left to close.
            _log.info("closing a session: %s", type(error).__name__)
        module.close()

    if stuck():
        return
    try:
        watched(close, "closing", f"module {module.path.name!r}", patience_s=CLOSING_PATIENCE_S)
    except TokenStalledError as error:
        _log.warning("%s", error)


@dataclass(frozen=True, slots=True)
class _Login:
    """A login of one session."""

    module: Module
    token: Token
    session: Session
    patience_s: float

    def log_in(self, secret: Hidden | None, final_try: bool) -> bool:
        """Log in if that can be done; True when the session is logged in, or needs no login."""
        where = describe_token(self.token)
        with self.module.login_lock:
            if self._watched(lambda: self.module.functions.is_user(self._handle)):
                return True
            flags = self._watched(self._flags)
            if not flags & TokenFlag.LOGIN_REQUIRED:
                return True
            pin_pad = bool(flags & TokenFlag.PROTECTED_AUTHENTICATION_PATH)
            if secret is None and not pin_pad:
                return False
            serial = token_info(self.token).serial
            _check_pin_can_be_sent(flags, where, refusals(serial), final_try)
            # The token's own pad asks, whatever was given here.
            self._present(None if pin_pad else secret, self.module.functions.login)
            return True

    def authenticate(self, secret: Hidden | None) -> None:
        """Present the PIN for one operation that was begun (PKCS#11 v2.40 §5.6, C_Login).

        Raises: PinError or TokenError.
        """
        with self.module.login_lock:
            self._present(secret, self.module.functions.authenticate)

    def _present(self, secret: Hidden | None, login: Callable[[int, bytes | None], int]) -> None:
        """Send the PIN once; without one the token's own pad asks."""
        where, serial = describe_token(self.token), self.token.serial
        pin = None if secret is None else read_pin(secret)
        if pin is not None and _refused_pins.has(serial, pin):
            del pin
            raise PinError(
                f"this PIN was refused for {where} before and is not sent again: check it;"
                f" {_UNLOCK}"
            )
        try:
            rv = self._send(pin, login)
            if rv in _WRONG_PIN:
                note_refusal(token_info(self.token).serial)
                if pin is not None:
                    _refused_pins.add(serial, pin)
        finally:
            # Gone before anything is raised, so that no traceback shows it.
            del pin
        if rv not in (Rv.OK, Rv.USER_ALREADY_LOGGED_IN):
            raise _refused(rv, where, self.token, self.patience_s)
        if rv == Rv.OK:  # and not when somebody else had logged in: then no PIN was looked at
            clear_tries(token_info(self.token).serial)

    @property
    def _handle(self) -> int:
        return self.session.handle  # type: ignore[attr-defined, no-any-return]  # the stub lacks it

    def _flags(self) -> TokenFlag:
        with token_calls("reading the PIN's state", describe_token(self.token)):
            return self.token.slot.get_token().flags

    def _send(self, pin: bytes | None, login: Callable[[int, bytes | None], int]) -> int:
        patience_s = self.patience_s if pin is not None else PIN_PAD_PATIENCE_S
        handle, sent = self._handle, [pin]
        del pin
        try:
            return watched(
                lambda: login(handle, sent.pop()),
                "logging in",
                describe_token(self.token),
                patience_s=patience_s,
            )
        finally:
            sent.clear()  # when it was interrupted before the call

    def _watched(self, call: Callable[[], T]) -> T:
        where = describe_token(self.token)
        return watched(call, "reading the PIN's state", where, patience_s=self.patience_s)


def _check_pin_can_be_sent(flags: TokenFlag, where: str, refused: int, final_try: bool) -> None:
    if not flags & TokenFlag.USER_PIN_INITIALIZED:
        raise PinError(
            f"{where} has no user PIN yet: the security officer sets it first"
            " (pkcs11-tool --module MODULE --login --login-type so --init-pin)"
        )
    if flags & TokenFlag.USER_PIN_LOCKED:
        raise PinError(f"the PIN of {where} is locked; nothing was sent: {_UNLOCK}")
    if final_try:
        return
    if flags & TokenFlag.USER_PIN_FINAL_TRY:
        raise PinError(
            f"{where} has one try left before its PIN locks; nothing was sent: be sure of the"
            " PIN, then send it with --force-final-try"
        )
    if refused >= LAST_SAFE:
        raise PinError(
            f"{where} refused {refused} PINs in a row from this account, and many tokens lock at"
            " the third; nothing was sent: be sure of the PIN, then send it with --force-final-try"
        )


def _refused(rv: int, where: str, token: Token, patience_s: float) -> TokenError:
    """The error for a login that failed; the PIN was sent once."""
    if rv in _WRONG_PIN:
        return PinError(
            f"the PIN was refused for {where}; it was sent once and will not be sent again"
            f"{_tries_left(token, patience_s)}: check it, then try once more; {_UNLOCK}"
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


def _tries_left(token: Token, patience_s: float) -> str:
    try:
        flags = watched(
            lambda: token.slot.get_token().flags, "reading", "it", patience_s=patience_s
        )
    except (PKCS11Error, TokenStalledError):
        return ""
    if flags & TokenFlag.USER_PIN_LOCKED:
        return " (the PIN is locked now)"
    return " (one try is left)" if flags & TokenFlag.USER_PIN_FINAL_TRY else ""
