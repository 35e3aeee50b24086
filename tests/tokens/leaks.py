"""Look for a PIN wherever a program might print an error."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path

from pkcs11.exceptions import PKCS11Error

import vaxpass_sign

LIBRARY = str(Path(vaxpass_sign.__file__).parent)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, its causes and its contexts."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _repr(value: object) -> str:
    try:
        return repr(value)
    except PKCS11Error:
        return ""  # a PKCS#11 object asks its module, which has been given up by now


def assert_shows_no(error: BaseException, secret: str) -> None:
    """No message, repr, note, argument, or local variable of the library holds the secret."""
    for link in chain(error):
        assert secret not in f"{link}{link!r}{link.args}{getattr(link, '__notes__', '')}"
        for frame, _ in traceback.walk_tb(link.__traceback__):
            if frame.f_code.co_filename.startswith(LIBRARY):
                for name, value in frame.f_locals.items():
                    place = f"{name} in {frame.f_code.co_qualname}"
                    assert secret not in _repr(value), place
                    assert secret.encode() != value, place
    assert secret not in "".join(traceback.format_exception(error))
