"""The Signer of a private key in a PEM file: for tests, trials and keys that need no token.

Rules that this module keeps: the same keys as on a token (EC P-256, RSA of 2048 to 4096 bits);
a password is asked for only when the file is encrypted; a file that others may read is warned
of. Whoever reads the file has the key: production keys belong on a token.

>>> SoftwareSigner.from_pem(b"-----BEGIN PUBLIC KEY-----\\n-----END PUBLIC KEY-----\\n")
Traceback (most recent call last):
...
vaxpass_sign.errors.InputError: the PEM data holds a PUBLIC KEY, expected a PRIVATE KEY: ...
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from vaxpass_sign.errors import InputError, PinError, TokenError
from vaxpass_sign.files import read_secret_file
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.keys.pin import Hidden, hidden, read_pin
from vaxpass_sign.keys.signer import PublicKey, Signer
from vaxpass_sign.keys.suited import alg_of_curve, alg_of_modulus, unsuited

__all__ = ["SoftwareSigner", "raw_signature"]

_MAX_PEM_BYTES: Final = 65_536
_PEM_TYPE: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")


class SoftwareSigner(Signer):
    """A private key in this process's memory.

    Threads may share it, and sign at the same time. In a forked child it raises TokenError as
    every signer does: open another one there.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, name: str) -> None:
        """Take a key that has been loaded; ``name`` stands for it in messages.

        Raises: TokenError when no HCERT may be signed with such a key.
        """
        self.name = name
        if isinstance(key, ec.EllipticCurvePrivateKey):
            self._alg = alg_of_curve(key.curve.name, name)
        else:
            self._alg = alg_of_modulus(key.key_size, name)
        self._key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = key
        self._public_key: PublicKey = key.public_key()
        self._pid = os.getpid()

    @classmethod
    def from_pem(
        cls,
        pem: str | os.PathLike[str] | bytes,
        password: str | Callable[[], str] | None = None,
    ) -> Self:
        """Load a private key from a PEM file, or from PEM data given as bytes.

        Args:
            password: text or a function that asks for it; needed for an encrypted file only.
        Raises: InputError when it can't be read or holds no private key; PinError when the
            password is missing or wrong; TokenError when the key doesn't suit.
        """
        secret = hidden(password)
        del password
        if isinstance(pem, bytes):
            data, name = pem, "the PEM data"
        else:
            data, name = _read(Path(pem)), f"key file {str(pem)!r}"
        try:
            key = _load(data, secret, name)
        finally:
            del data, pem  # a traceback's frames must not hold a private key
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise unsuited(f"of type {type(key).__name__.removesuffix('PrivateKey')}", name)
        return cls(key, name)

    @property
    def alg(self) -> Alg:
        """The algorithm that this key signs with."""
        return self._alg

    @property
    def public_key(self) -> PublicKey:
        """The public half."""
        return self._public_key

    def sign(self, messages: Sequence[bytes]) -> list[bytes]:
        """Sign each message, in order: see :meth:`vaxpass_sign.keys.signer.Signer.sign`.

        Raises: TokenError when the signer is closed or was opened before a fork.
        """
        if os.getpid() != self._pid:
            raise TokenError(
                f"the signer for {self.name} was opened before this process was forked and can't"
                " be used here: open another one in the child"
            )
        key = self._key
        if key is None:
            raise TokenError(f"the signer for {self.name} is closed: open it again")
        if isinstance(key, rsa.RSAPrivateKey):
            sign_rsa, pss, rsa_hash = key.sign, padding.PSS(padding.MGF1(SHA256()), 32), SHA256()
            return [sign_rsa(message, pss, rsa_hash) for message in messages]
        sign_ec, ecdsa, raw = key.sign, ec.ECDSA(SHA256()), raw_signature
        return [raw(sign_ec(message, ecdsa)) for message in messages]

    def close(self) -> None:
        """Give up the key; a second close does nothing."""
        self._key = None

    def __repr__(self) -> str:
        return f"<SoftwareSigner: {self.name}>"


def raw_signature(der: bytes) -> bytes:
    """r‖s of 64 bytes from the DER that cryptography gives for a P-256 key (RFC 3279 §2.2.3).

    A SEQUENCE of two INTEGERs of 33 bytes at most, so that each length is one byte. Cutting it
    here costs a tenth of what making two Python integers does; it is not for DER from outside.

    >>> raw_signature(bytes.fromhex("3007020200ff020101")).hex().lstrip("0")
    'ff0000000000000000000000000000000000000000000000000000000000000001'
    """
    end_of_r = 4 + der[3]
    r, s = der[4:end_of_r], der[end_of_r + 2 :]
    return r[-32:].rjust(32, b"\0") + s[-32:].rjust(32, b"\0")


def _read(path: Path) -> bytes:
    try:
        return read_secret_file(path, "key file", _MAX_PEM_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"key file {str(path)!r}: {reason}; expected a PEM private key") from error


def _load(data: bytes, secret: Hidden | None, name: str) -> PrivateKeyTypes:
    kinds = [kind.decode() for kind in _PEM_TYPE.findall(data)]
    if not kinds:
        raise InputError(f"{name} is not PEM (no -----BEGIN …-----): expected a PRIVATE KEY")
    if not any(kind.endswith("PRIVATE KEY") for kind in kinds):
        raise InputError(
            f"{name} holds a {kinds[0]}, expected a PRIVATE KEY: give the private key's file"
        )
    try:
        return load_pem_private_key(data, password=None)
    except TypeError:
        pass  # encrypted: the password is asked for below, and only now
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{name} holds a private key that can't be read: expected PKCS#8, EC or RSA in PEM"
        ) from error
    if secret is None:
        raise PinError(
            f"{name} is encrypted: give its password by the prompt, --pin-env NAME or pin="
        )
    password = read_pin(secret)
    try:
        return load_pem_private_key(data, password=password)
    except (ValueError, UnsupportedAlgorithm):
        pass
    finally:
        del password
    raise PinError(f"{name} can't be decrypted: check its password, then try again")
