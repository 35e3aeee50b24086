"""A token's key that outlasts the loss of its token.

A network HSM's service is restarted, an idle session expires, another program logs the token out, a
module answers that it is busy: the token comes back, and a run of hours must not end for it. What
modules say then differs, so all of it is one case: everything is closed, the token is looked for
again by its serial number, and when the same key is there the batch that was under way is signed
anew.

Rules that this module keeps:

* A bounded time. After ``outage_s`` without a signature, or ``_MOST_LOSSES`` losses in one batch,
  the error is raised; after the first, every later call raises it too.
* The same token and the same key. Another serial number, label, manufacturer or model is another
  token and gets no PIN; another public key, or another name of the key, ends it.
* The PIN is sent again only where it was accepted before, ``_MOST_LOGINS`` times at most until a
  login is accepted: some drivers say no more than "general error" of a wrong one. It is never sent
  again to a token that can be pulled out: it may have been, and somebody else may have plugged it
  in again. Its own PIN pad may ask.
* A call that does not return ends it: a process whose module is stuck can't open it again.

>>> LastingSigner("pkcs11:token=moh;object=dsc?module-path=/nowhere/libtoken.so")
Traceback (most recent call last):
...
vaxpass_sign.errors.ModuleError: PKCS#11 module '/nowhere/libtoken.so' does not exist: ...
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from threading import Lock
from typing import Final

from vaxpass_sign.errors import (
    InputError,
    ModuleError,
    PinError,
    TokenError,
    TokenLookupError,
    TokenLostError,
    TokenStalledError,
)
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.keys import OUTAGE_S, PATIENCE_S
from vaxpass_sign.keys.pin import AskedOnce, AtMost, Hidden, hidden, pin_file
from vaxpass_sign.keys.sessions import SessionsSigner
from vaxpass_sign.keys.signer import PublicKey, Signer
from vaxpass_sign.keys.token import TokenInfo, pinned
from vaxpass_sign.keys.token_signer import Pkcs11Signer
from vaxpass_sign.keys.uri import Pkcs11Uri
from vaxpass_sign.keys.watch import CLOSING_PATIENCE_S, watched

__all__ = ["LastingSigner"]

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
_LONGEST_FRUITLESS_PAUSE_S: Final = 8.0
_MOST_LOSSES: Final = 8
_MOST_LOGINS: Final = 2
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Opened:
    """The sessions of one opening, and the signer that uses them."""

    sessions: list[Pkcs11Signer]
    signer: Signer

    @property
    def first(self) -> Pkcs11Signer:
        return self.sessions[0]

    def made(self) -> int:
        return sum(session.made for session in self.sessions)

    def close(self, where: str) -> None:
        """Close it in a bounded time; what is gone can't be closed, and is no fault."""
        try:
            watched(self.signer.close, "closing", where, patience_s=CLOSING_PATIENCE_S)
        except TokenError as error:
            _log.info("closing %s: %s", where, type(error).__name__)


class LastingSigner(Signer):
    """A private key on a token, opened again when it is lost.

    Threads may share it. In a forked child it raises TokenError: open another one there.

    Args:
        uri: an RFC 7512 URI that matches exactly one token and one private key.
        pin: the token's user PIN or a function that asks for it once, when it is needed.
        sessions: how many signatures can be under way at the token.
        final_try: send the PIN even when a wrong one would lock the token.
        patience_s: seconds after which a call that has not returned is given up.
        outage_s: seconds for which a lost token is waited for.
        opening: gives a context in which the key is opened, the first time and again.
    Raises: InputError, ModuleError, TokenLookupError, PinError; TokenError when the key can't
        sign an HCERT. The first opening is tried once.
    """

    def __init__(  # noqa: PLR0913 (each is a part of how a key is used)
        self,
        uri: str | Pkcs11Uri,
        pin: str | Callable[[], str] | None = None,
        *,
        sessions: int = 1,
        final_try: bool = False,
        patience_s: float = PATIENCE_S,
        outage_s: float = OUTAGE_S,
        opening: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        secret = hidden(pin)
        del pin
        self.name = "a key not yet found"
        """The key and its token in words, for messages and logs."""
        self._uri = uri if isinstance(uri, Pkcs11Uri) else Pkcs11Uri.parse(uri)
        if secret is None and self._uri.pin_source is not None:
            secret = pin_file(self._uri.pin_source)
        self._uri = replace(self._uri, pin_source=None)
        self._asked = AskedOnce(secret)
        self._sessions, self._patience_s, self._outage_s = sessions, patience_s, outage_s
        self._opening = opening
        self._lock = Lock()
        self._pid = os.getpid()
        self._failure: Exception | None = None
        self._fruitless = 0
        self._lost_since = 0.0
        self._closed = False
        self._opened: _Opened | None = self._open(self._asked.hidden, final_try=final_try)
        first = self._opened.first
        self.name = first.name
        self.token_name = first.token_name
        self.token: TokenInfo = first.token
        """What the token said of itself when it was found."""
        self.always_authenticates = first.always_authenticates
        """Whether the key wants its PIN for each signature."""
        self._alg, self._public_key = first.alg, first.public_key
        self._removable = "removable" in self.token.flags
        # From now on this very token, whatever else is plugged in.
        self._uri = pinned(self._uri, self.token)

    @property
    def alg(self) -> Alg:
        """The algorithm that the key signs with."""
        return self._alg

    @property
    def public_key(self) -> PublicKey | None:
        """The public half, or None when the token doesn't hold it."""
        return self._public_key

    def sign(self, messages: Sequence[bytes]) -> list[bytes]:
        """Sign each message: see :meth:`vaxpass_sign.keys.signer.Signer.sign`.

        Raises: TokenError when the key can't sign, or its token was lost and did not come back;
            TokenStalledError when a call does not return. None of the batch's signatures then.
        """
        if os.getpid() != self._pid:
            raise TokenError(
                f"the signer for {self.name} was opened before this process was forked and can't"
                " be used here: open another one in the child"
            )
        losses = 0
        while True:
            opened = self._opened or self._wait_for_another()
            if self._failure is not None:
                raise _again(self._failure)
            try:
                return watched(
                    lambda opened=opened: opened.signer.sign(messages),  # type: ignore[misc]
                    "signing",
                    self.token_name,
                    patience_s=self._patience_s,
                    moves=opened.made,
                )
            except TokenStalledError as error:
                self._failure = error
                raise
            except TokenLostError as error:
                losses += 1
                if losses > _MOST_LOSSES:
                    raise TokenError(
                        f"{error}; it was lost {losses} times while {len(messages)} messages were"
                        " to be signed"
                    ) from error
                self._open_again(opened, error, first=losses == 1)
            except TokenError:
                # Another thread may have lost the token first, and closed what this one used.
                if self._opened is opened or self._closed:
                    raise

    def _wait_for_another(self) -> _Opened:
        """What another thread opens again just now. Raises: the error with which it ended."""
        with self._lock:
            if self._opened is not None:
                return self._opened
        raise _again(self._failure) if self._failure else self._is_closed()

    def _is_closed(self) -> TokenError:
        return TokenError(f"the signer for {self.name} is closed: open it again")

    # --- opening ---------------------------------------------------------------------------

    def _open(self, secret: Hidden | None, *, final_try: bool = False) -> _Opened:
        with self._opening():
            sessions: list[Pkcs11Signer] = []
            try:
                for _ in range(self._sessions):
                    session = Pkcs11Signer(
                        self._uri, secret, final_try=final_try, patience_s=self._patience_s
                    )
                    sessions.append(session)
                    if self._sessions > 1 and session.always_authenticates:
                        raise InputError(
                            f"{session.name} wants its PIN for each signature"
                            " (CKA_ALWAYS_AUTHENTICATE): use one session"
                        )
            except TokenStalledError:
                raise  # closing the others would wait as well
            except BaseException:
                for session in sessions:
                    session.close()
                raise
        return _Opened(sessions, sessions[0] if self._sessions == 1 else SessionsSigner(sessions))

    def _open_again(self, lost: _Opened, error: TokenLostError, *, first: bool) -> None:
        """Open the key again in the place of what was lost.

        Raises: TokenError when that can't be; so does every later call.
        """
        with self._lock:
            if self._opened is not lost:
                return  # another thread has seen to it
            self._opened = None
            _log.warning("lost: %s", error)
            if first or lost.made():  # and not a loss of long ago, whatever came of that
                self._fruitless, self._lost_since = 0, time.monotonic()
            else:
                self._fruitless += 1
            lost.close(self.token_name)
            try:
                opened = self._wait_for_token(error)
            except Exception as failure:
                self._failure = failure
                raise
            if self._closed:
                opened.close(self.token_name)
                raise self._is_closed()
            self._opened = opened
            _log.warning("opened again: %s", self.name)

    def _wait_for_token(self, error: TokenLostError) -> _Opened:
        give_up_at = self._lost_since + self._outage_s
        last: TokenError = error
        pin = AtMost(_MOST_LOGINS, None if self._removable else self._asked.hidden)
        for pause_s in _pauses(self._fruitless):
            if time.monotonic() + pause_s > give_up_at:
                break
            time.sleep(pause_s)
            if self._closed:
                raise self._is_closed()
            try:
                opened = self._open(pin.hidden)
            except (TokenLostError, TokenLookupError, ModuleError) as again:
                last = again
                continue
            except PinError as refused:
                if self._removable:
                    raise self._pulled_out() from refused
                raise
            pin.accepted()
            if self._is_same(opened.first):
                return opened
            opened.close(self.token_name)
            if opened.first.public_key is not None or self._public_key is None:
                raise TokenError(
                    f"{self.token_name} came back with another key: look at it, then start again"
                )
            # It shows no public half where it showed one before: it is not all there yet.
        raise TokenError(
            f"{self.token_name} was lost and made no signature for {self._outage_s:g} s"
            f" (last: {last}): bring it back, then run the same again"
        ) from last

    def _is_same(self, found: Pkcs11Signer) -> bool:
        """Whether it is the key that was lost: by its public half, else by its label and id."""
        if self._public_key is None:
            return found.public_key is None and found.name == self.name
        return found.public_key == self._public_key

    def _pulled_out(self) -> TokenError:
        return TokenError(
            f"{self.token_name} was lost; it can be pulled out, so its PIN is not sent again by"
            " itself: see that it is plugged in, then run the same again"
        )

    def close(self) -> None:
        """Give up the key; a second close does nothing."""
        self._closed = True
        opened, self._opened = self._opened, None
        if opened is not None and not isinstance(self._failure, TokenStalledError):
            opened.close(self.token_name)

    def __repr__(self) -> str:
        return f"<LastingSigner: {self.name}>"


def _pauses(fruitless: int) -> Iterator[float]:
    """Seconds before each try: at once after a first loss, then longer and longer."""
    yield min(_FIRST_PAUSE_S * 2**fruitless, _LONGEST_FRUITLESS_PAUSE_S)
    pause_s = 2 * _FIRST_PAUSE_S
    while True:
        yield min(pause_s, _LONGEST_PAUSE_S)
        pause_s *= 2


def _again(failure: Exception) -> Exception:
    """The same error anew: raised over and over, one would hold the frames of every call."""
    return type(failure)(*failure.args)
