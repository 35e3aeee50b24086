"""The Signer whose key never leaves a PKCS#11 token.

Rules that this module keeps:

* One session and one login from opening to close; signing sends nothing but hashes (or, to a
  token that hashes itself, messages).
* ES256 is CKM_ECDSA over our SHA-256, or CKM_ECDSA_SHA256; PS256 is CKM_RSA_PKCS_PSS over our
  SHA-256, or CKM_SHA256_RSA_PKCS_PSS, with MGF1-SHA256 and a salt of 32 bytes. Nothing else,
  RS256 least of all. Modules take a hash of any length for CKM_ECDSA, so only ours is passed.
* A signature that is not as long as it must be is an error, not a result.

>>> Pkcs11Signer("pkcs11:token=moh;object=dsc?module-path=/nowhere/libtoken.so")
Traceback (most recent call last):
...
vaxpass_sign.errors.ModuleError: PKCS#11 module '/nowhere/libtoken.so' does not exist: ...
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from pkcs11 import mechanisms
from pkcs11.constants import Attribute, MechanismFlag
from pkcs11.exceptions import PKCS11Error
from pkcs11.mechanisms import KeyType
from pkcs11.types import Object, Slot

from vaxpass_sign.errors import TokenError
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.keys.cryptoki import Mechanism, Rv
from vaxpass_sign.keys.objects import (
    attribute,
    curve_name,
    describe_object,
    find_private_key,
    public_half,
)
from vaxpass_sign.keys.pin import hidden
from vaxpass_sign.keys.session import TokenSession, open_session
from vaxpass_sign.keys.signer import PublicKey, Signer
from vaxpass_sign.keys.suited import alg_of_curve, alg_of_modulus, unsuited
from vaxpass_sign.keys.token import TokenInfo, fault, token_calls, token_info
from vaxpass_sign.keys.uri import Pkcs11Uri

__all__ = ["Pkcs11Signer"]

_CKM: Final = mechanisms.Mechanism
_ES256_LENGTH: Final = 64


@dataclass(frozen=True, slots=True)
class _Scheme:
    """How a key signs: the mechanism, who hashes, and how long a signature is."""

    mechanism: Mechanism
    token_hashes: bool
    signature_length: int


class Pkcs11Signer(Signer):
    """A private key on a token.

    Threads may share it; a lock lets one sign at a time, and for more there are more signers or,
    better, processes. In a forked child it raises TokenError: open another one there. Close it
    when done; closing one signer leaves the others on the same token logged in.

    Args:
        uri: an RFC 7512 URI that matches exactly one token and one private key.
        pin: the token's user PIN or a function that asks for it; it is sent once at most, and
            not at all when this process is logged in already.
    Raises: InputError, ModuleError, TokenLookupError, PinError; TokenError when the key can't
        sign an HCERT.
    """

    def __init__(self, uri: str | Pkcs11Uri, pin: str | Callable[[], str] | None = None) -> None:
        secret = hidden(pin)
        del pin
        self.name = "a key not yet found"
        """The key and its token in words, for messages and logs."""
        parsed = uri if isinstance(uri, Pkcs11Uri) else Pkcs11Uri.parse(uri)
        self._lock = Lock()
        self._closed = False
        self._opened = open_session(parsed, secret)
        try:
            self._where = self._opened.where
            key = find_private_key(self._opened, parsed)
            # Reading a key's label asks the token too, and it may be gone by now.
            with token_calls("reading the key", self._where):
                self.name = f"key {describe_object(key)} on {self._where}"
                self._public_key = public_half(self._opened, key)
                self._alg, length = _checked_key(key, self._public_key, self.name)
                self._scheme = _scheme(self._opened.token.slot, self._alg, length, self._where)
            self._session_handle, self._key_handle = _handles(self._opened, key)
        except BaseException:
            self._opened.close()
            raise

    @property
    def alg(self) -> Alg:
        """The algorithm that this key signs with."""
        return self._alg

    @property
    def public_key(self) -> PublicKey | None:
        """The public half, or None when the token doesn't hold it."""
        return self._public_key

    @property
    def token(self) -> TokenInfo:
        """What the token said of itself when it was found."""
        return token_info(self._opened.token)

    def sign(self, messages: Sequence[bytes]) -> list[bytes]:
        """Sign each message, in order: see :meth:`vaxpass_sign.keys.signer.Signer.sign`.

        Raises: TokenError, without any of the batch's signatures.
        """
        # Before the lock: a thread of the parent may have held it when this child was forked.
        self._check_process()
        with self._lock:
            if self._closed:
                raise TokenError(f"the signer for {self.name} is closed: open it again")
            try:
                rv, signatures = self._sign(messages)
            except BaseException:
                # An interrupt may come between C_SignInit and C_Sign; the operation is ended
                # here, because the session could start no other while it is active.
                self._end_operation()
                raise
        if rv != Rv.OK:
            doing = f"signing message {len(signatures) + 1} of {len(messages)}"
            raise fault(doing, self._where, rv)
        return signatures

    def _sign(self, messages: Sequence[bytes]) -> tuple[int, list[bytes]]:
        """Sign until the first failure: its CK_RV, and the signatures before it.

        Everything that the loop needs is a local variable: a token answers in 50 µs, and what
        Python adds to each signature counts.
        """
        length = self._scheme.signature_length
        hash_here = not self._scheme.token_hashes
        sign_init, c_sign = (
            self._opened.module.functions.sign_init,
            self._opened.module.functions.sign,
        )
        session, key = self._session_handle, self._key_handle
        mechanism = ctypes.byref(self._scheme.mechanism)
        buffer = ctypes.create_string_buffer(length)
        written = ctypes.c_ulong(length)
        written_at = ctypes.byref(written)
        signatures: list[bytes] = []
        append, hash_of = signatures.append, sha256
        for message in messages:
            data = hash_of(message).digest() if hash_here else bytes(message)
            written.value = length
            rv = sign_init(session, mechanism, key) or c_sign(
                session, data, len(data), buffer, written_at
            )
            if rv:
                return rv, signatures
            if written.value != length:
                raise TokenError(
                    f"{self._where} gave a signature of {written.value} bytes, expected {length}:"
                    " nothing of this batch is used; its module is at fault"
                )
            append(buffer.raw)
        return Rv.OK, signatures

    def _end_operation(self) -> None:
        spare = ctypes.create_string_buffer(self._scheme.signature_length)
        length = ctypes.c_ulong(len(spare))
        functions = self._opened.module.functions
        functions.sign(self._session_handle, bytes(32), 32, spare, ctypes.byref(length))

    def _check_process(self) -> None:
        if os.getpid() != self._opened.pid:
            raise TokenError(
                f"the signer for {self.name} was opened before this process was forked and can't"
                " be used here: open another one in the child"
            )

    def close(self) -> None:
        """Give up the key; a second close does nothing."""
        if os.getpid() != self._opened.pid:
            self._opened.close()
            return
        with self._lock:
            self._closed = True
            self._opened.close()

    def __repr__(self) -> str:
        return f"<Pkcs11Signer: {self.name}>"


def _handles(opened: TokenSession, key: Object) -> tuple[int, int]:
    """C's handles of a session and a key; python-pkcs11's stubs don't declare them."""
    session: Any = opened.session
    private: Any = key
    return int(session.handle), int(private.handle)


def _checked_key(key: Object, public: PublicKey | None, name: str) -> tuple[Alg, int]:
    """The algorithm of a private key and the length of its signatures in bytes.

    Raises: TokenError when it may not sign, wants its PIN for each signature, or doesn't suit.
    """
    if attribute(key, Attribute.SIGN) is False:
        raise TokenError(f"{name} may not sign (CKA_SIGN is false): use a key made for signing")
    if attribute(key, Attribute.ALWAYS_AUTHENTICATE):
        raise TokenError(
            f"{name} wants its PIN for each signature (CKA_ALWAYS_AUTHENTICATE), which is not"
            " supported: use a key without it"
        )
    kind = attribute(key, Attribute.KEY_TYPE)
    # Some modules keep curve and modulus on the public object only.
    if kind == KeyType.EC:
        params = attribute(key, Attribute.EC_PARAMS)
        known = isinstance(public, EllipticCurvePublicKey) and not params
        return alg_of_curve(
            "secp256r1" if known else curve_name(params or b""), name
        ), _ES256_LENGTH
    if kind == KeyType.RSA:
        bits = int.from_bytes(attribute(key, Attribute.MODULUS) or b"", "big").bit_length()
        if not bits and isinstance(public, RSAPublicKey):
            bits = public.key_size
        return alg_of_modulus(bits, name), (bits + 7) // 8
    raise unsuited(getattr(kind, "name", f"of type {kind}"), name)


def _scheme(slot: Slot, alg: Alg, length: int, where: str) -> _Scheme:
    """The mechanism to sign with: ours to hash if the token takes a hash, else the token's.

    Raises: TokenError when the token has neither.
    """
    offered = slot.get_mechanisms()
    hash_here, token_hashes = (
        (_CKM.ECDSA, _CKM.ECDSA_SHA256)
        if alg is Alg.ES256
        else (_CKM.RSA_PKCS_PSS, _CKM.SHA256_RSA_PKCS_PSS)
    )
    for mechanism in (hash_here, token_hashes):
        if mechanism in offered and _signs(slot, mechanism):
            build = Mechanism.of if alg is Alg.ES256 else Mechanism.pss_sha256
            return _Scheme(build(mechanism.value), mechanism is token_hashes, length)
    raise TokenError(
        f"{where} can't sign {alg.name}: it offers neither CKM_{hash_here.name} nor"
        f" CKM_{token_hashes.name}; use a key of the other kind or another token"
    )


def _signs(slot: Slot, mechanism: mechanisms.Mechanism) -> bool:
    try:
        return bool(slot.get_mechanism_info(mechanism).flags & MechanismFlag.SIGN)
    except PKCS11Error:
        return True  # listed, but not described: C_SignInit will tell
