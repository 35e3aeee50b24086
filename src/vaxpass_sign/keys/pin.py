"""PINs: asked for late, sent once, and hidden from messages, logs and tracebacks.

Rules that this module keeps:

* A PIN is text, or a function that asks for it, or in the file that a URI's pin-source names.
  A function is called, and a file read, only when a token really wants a PIN.
* What travels through the library is a Hidden, whose repr shows nothing, so that tracebacks
  that print local variables don't print a PIN. Errors about a PIN are raised with no local
  variable that holds it and no cause that repeats it.

>>> secret = hidden("1234")
>>> secret
<hidden>
>>> read_pin(secret)
b'1234'
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, overload
from urllib.parse import unquote, urlsplit

from vaxpass_sign.errors import InputError, PinError, TokenError
from vaxpass_sign.files import read_secret_file
from vaxpass_sign.keys.uri import Pkcs11Uri, is_pkcs11_uri

__all__ = [
    "AskedOnce",
    "AtMost",
    "Hidden",
    "RefusedPins",
    "hidden",
    "pin_file",
    "pin_source_of",
    "read_pin",
]

_MAX_PIN_FILE: Final = 1024


class Hidden:
    """A PIN or password, or the way to ask for it, that no repr shows."""

    __slots__ = ("_ask",)

    def __init__(self, ask: Callable[[], str]) -> None:
        self._ask = ask

    def __call__(self) -> str:
        return self._ask()

    def __reduce__(self) -> tuple[Callable[[str], Hidden], tuple[str]]:
        """To another process goes what was answered, and it is hidden there again."""
        return hidden, (self._ask(),)

    def __repr__(self) -> str:
        return "<hidden>"


@overload
def hidden(pin: str | Callable[[], str]) -> Hidden: ...
@overload
def hidden(pin: str | Callable[[], str] | None) -> Hidden | None: ...
def hidden(pin: str | Callable[[], str] | None) -> Hidden | None:
    """Wrap what a caller gave as a PIN; call it first and drop the original."""
    if pin is None or isinstance(pin, Hidden):
        return pin
    return Hidden(pin if callable(pin) else lambda: pin)


class AskedOnce:
    """A PIN that is asked for at most once, when it is first needed, and then kept."""

    def __init__(self, secret: Hidden | None) -> None:
        self._secret = secret
        self._text: str | None = None
        self.hidden = None if secret is None else hidden(self._ask)

    @property
    def answered(self) -> Hidden | None:
        """What was answered; None as long as nobody asked."""
        return None if self._text is None else self.hidden

    def _ask(self) -> str:
        if self._text is None and self._secret is not None:
            self._text = self._secret()
        return self._text or ""

    def __repr__(self) -> str:
        return "<a PIN>"


class AtMost:
    """A PIN that can be sent so many times until a login is accepted, and no more."""

    def __init__(self, times: int, secret: Hidden | None) -> None:
        self._times = self._left = times
        self._secret = secret
        self.hidden = None if secret is None else hidden(self._ask)

    def accepted(self) -> None:
        """A login was accepted: the PIN is right, and can be sent as often as it is asked for."""
        self._left = -1

    def _ask(self) -> str:
        if not self._left:
            raise TokenError(
                f"the token answered {self._times} logins by an error that may mean a refused PIN,"
                " so it is not sent again: look at the token, then run the same again"
            )
        self._left -= self._left > 0
        return "" if self._secret is None else self._secret()


def pin_source_of(key: str) -> Hidden | None:
    """The PIN in the file that a URI names; None when it names none, or is a key file's path.

    Raises: InputError when the URI can't be read.
    """
    if not is_pkcs11_uri(key):
        return None
    source = Pkcs11Uri.parse(key).pin_source
    return None if source is None else pin_file(source)


def read_pin(secret: Hidden) -> bytes:
    """The PIN in UTF-8.

    Raises: PinError when it is empty; InputError when it isn't text.
    """
    text = secret()
    if not isinstance(text, str):
        del text
        raise InputError("the function that asks for the PIN must return text (str)")
    data = text.encode("utf-8", errors="ignore")
    exact = data.decode("utf-8") == text
    del text
    if not exact:
        del data
        raise InputError("the PIN holds characters that UTF-8 can't hold; nothing was sent")
    if not data:
        raise PinError("the PIN is empty; nothing was sent: give the token's user PIN")
    return data


class RefusedPins:
    """PINs that a token has refused, so that none is sent to it twice.

    What is kept does not tell the PIN: an HMAC under a key of this process.
    """

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._refused: set[bytes] = set()

    def add(self, serial: bytes, pin: bytes) -> None:
        """Remember that the token with this serial number refused a PIN."""
        self._refused.add(self._mark(serial, pin))

    def has(self, serial: bytes, pin: bytes) -> bool:
        """Whether it refused this very PIN before."""
        return self._mark(serial, pin) in self._refused

    def _mark(self, serial: bytes, pin: bytes) -> bytes:
        return hmac.digest(self._key, serial + b"\0" + pin, "sha256")


def pin_file(source: str) -> Hidden:
    """The PIN in the file that a URI's pin-source names (RFC 7512 §2.4).

    Args:
        source: ``file:/path``, ``file:///path`` or ``/path``. A command (``|…``) is refused: a
            key's description must not be able to start programs.
    Raises: InputError for anything else; PinError, when the PIN is asked for, if the file can't
        be read. One newline at its end is not part of the PIN.
    """
    parts = urlsplit(source)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        path = Path(unquote(parts.path))
    else:
        path = Path(source)
    if not path.is_absolute():
        raise InputError("pin-source must be file:/path or /path to a file that holds the PIN")
    return Hidden(lambda: _read_pin_file(path))


def _read_pin_file(path: Path) -> str:
    try:
        data = read_secret_file(path, "PIN file", _MAX_PIN_FILE)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PinError(f"the PIN file {str(path)!r} (pin-source): {reason}") from error
    text = data.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", errors="replace")
    if "\ufffd" in text:
        del data, text
        raise PinError(f"the PIN file {str(path)!r} (pin-source) is not UTF-8 text")
    return text
