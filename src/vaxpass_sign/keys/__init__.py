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
from typing import TYPE_CHECKING

from vaxpass_sign.keys.pin import hidden
from vaxpass_sign.keys.uri import is_pkcs11_uri

if TYPE_CHECKING:
    from vaxpass_sign.keys.signer import Signer

__all__ = ["open_signer"]


def open_signer(key: str | os.PathLike[str], pin: str | Callable[[], str] | None = None) -> Signer:
    """Open the private key that signs.

    Args:
        key: ``pkcs11:…``, a URI that matches exactly one token and one private key; or the path
            of a PEM file.
        pin: the token's user PIN or the file's password, or a function that asks for it and is
            called only if it is needed. Left out, a URI's pin-source is read.
    Returns: a Signer; close it when done, or use it as a context manager.
    Raises: InputError when the URI or file can't be read; TokenError, and its kinds ModuleError,
        TokenLookupError and PinError, when the token or key can't be used. A PIN is sent once at
        most and never again by itself.
    """
    secret = hidden(pin)
    del pin
    if isinstance(key, str) and is_pkcs11_uri(key):
        from vaxpass_sign.keys.token_signer import Pkcs11Signer

        return Pkcs11Signer(key, secret)
    from vaxpass_sign.keys.software import SoftwareSigner

    return SoftwareSigner.from_pem(key, secret)
