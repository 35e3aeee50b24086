"""Who signs: a key on a PKCS#11 token by its URI (RFC 7512), or a software key in a PEM file.

Importing this package is cheap: python-pkcs11 and cryptography are imported when a signer is
opened.

>>> open_signer("pkcs11:token=moh;object=dsc?pin-value=1234")
Traceback (most recent call last):
...
vaxpass_sign.errors.InputError: PKCS#11 URI: 'pin-value' is refused, ...
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from vaxpass_sign.errors import InputError
from vaxpass_sign.keys.pin import hidden
from vaxpass_sign.keys.uri import is_pkcs11_uri

if TYPE_CHECKING:
    from vaxpass_sign.keys.signer import Signer

__all__ = ["MAX_SESSIONS", "OUTAGE_S", "PATIENCE_S", "open_signer"]

MAX_SESSIONS = 256
"""Of one key in one process; large HSMs want tens."""

PATIENCE_S = 60.0
"""A smart card that opens a session for each signature took 10 s for one."""

OUTAGE_S = 30.0
"""How long a token that is lost is waited for; a service that is restarted takes some seconds."""


def open_signer(  # noqa: PLR0913 (each is a part of how a key is used)
    key: str | os.PathLike[str],
    pin: str | Callable[[], str] | None = None,
    *,
    sessions: int = 1,
    final_try: bool = False,
    patience_s: float = PATIENCE_S,
    opening: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Signer:
    """Open the private key that signs.

    A token that is lost while it is open is opened again, in bounded time:
    :mod:`vaxpass_sign.keys.lasting`.

    Args:
        key: ``pkcs11:…``, a URI that matches exactly one token and one private key; or the path
            of a PEM file.
        pin: the token's user PIN or the file's password, or a function that asks for it and is
            called only if it is needed. Left out, a URI's pin-source is read.
        sessions: signatures that can be under way at once, 1 to 256, for an HSM that makes several
            at a time; each has a thread. For a token in software, more processes do more.
        final_try: send the PIN even when a wrong one would lock the token.
        patience_s: seconds after which a call into the module that has not returned is given up.
        opening: gives a context in which the key is opened, the first time and again; for
            processes that must do it one after the other.
    Returns: a Signer; close it when done, or use it as a context manager.
    Raises: InputError when the URI or file can't be read; TokenError, and its kinds ModuleError,
        TokenLookupError, PinError and TokenStalledError, when the token or key can't be used. A
        PIN that was refused is never sent again.
    """
    secret = hidden(pin)
    del pin
    if not 1 <= sessions <= MAX_SESSIONS:
        raise InputError(f"sessions: found {sessions}, expected 1 to {MAX_SESSIONS}")
    if isinstance(key, str) and is_pkcs11_uri(key):
        from vaxpass_sign.keys.lasting import LastingSigner

        return LastingSigner(
            key,
            secret,
            sessions=sessions,
            final_try=final_try,
            patience_s=patience_s,
            opening=opening,
        )
    from vaxpass_sign.keys.software import SoftwareSigner

    if sessions > 1:
        raise InputError(f"sessions: found {sessions} for a key file, expected 1: it has no token")
    with opening():
        return SoftwareSigner.from_pem(key, secret)
