"""The package's front door is light, and keeps what it opens hidden."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tokens.leaks import assert_shows_no
from vaxpass_sign.errors import InputError
from vaxpass_sign.keys import open_signer

PIN = "4711-0815"


def test_importing_keys_imports_nothing_heavy() -> None:
    """Neither python-pkcs11 nor cryptography is imported with the package."""
    heavy = "('pkcs11', 'cryptography', 'ctypes')"
    code = f"import sys, vaxpass_sign.keys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_uri_with_a_pin_in_it_is_refused() -> None:
    """A URI with pin-value is refused, and the error doesn't repeat the PIN."""
    with pytest.raises(InputError, match="pin-source") as caught:
        open_signer("pkcs11:token=a?pin-value=4711-0815")
    assert "4711-0815" not in str(caught.value)


def test_a_pin_given_beside_a_bad_uri_is_not_shown() -> None:
    """The PIN is hidden before anything can fail."""
    with pytest.raises(InputError) as caught:
        open_signer("pkcs11:colour=red", PIN)
    assert_shows_no(caught.value, PIN)
