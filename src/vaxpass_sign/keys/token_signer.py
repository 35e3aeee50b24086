"""The Signer whose key never leaves a PKCS#11 token.

Rules that this module keeps:

* One session and one login from opening to close; signing sends nothing but hashes (or, to a
  token that hashes itself, messages).
* ES256 is CKM_ECDSA over our SHA-256, or CKM_ECDSA_SHA256; PS256 is CKM_RSA_PKCS_PSS over our
  SHA-256, or CKM_SHA256_RSA_PKCS_PSS, with MGF1-SHA256 and a salt of 32 bytes. Nothing else,
  RS256 least of all. Modules take a hash of any length for CKM_ECDSA, so only ours is passed.
* A signature that is not as long as it must be is an error, not a result.
* A key that wants its PIN for each signature (CKA_ALWAYS_AUTHENTICATE) gets it each time, after one
  that was refused never again.

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
from functools import partial
from hashlib import sha256
from threading import Lock
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from pkcs11.constants import Attribute
from pkcs11.mechanisms import KeyType
from pkcs11.types import Object, Slot

from vaxpass_sign.errors import PinError, TokenError, TokenLostError, TokenStalledError
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.keys import PATIENCE_S
from vaxpass_sign.keys.cryptoki import Mechanism, Rv
from vaxpass_sign.keys.mechanism import HASHES_ITSELF, MECHANISMS, signing_mechanism
from vaxpass_sign.keys.objects import (
    attribute,
    curve_name,
    describe_object,
    find_private_key,
    public_half,
)
from vaxpass_sign.keys.pin import Hidden, hidden, pin_file
from vaxpass_sign.keys.proof import PROOF_MESSAGE
from vaxpass_sign.keys.session import TokenSession, open_session
from vaxpass_sign.keys.signer import PublicKey, Signer
from vaxpass_sign.keys.suited import alg_of_curve, alg_of_modulus, unsuited
from vaxpass_sign.keys.token import TokenInfo, fault, token_calls, token_info
from vaxpass_sign.keys.uri import Pkcs11Uri
from vaxpass_sign.keys.watch import CLOSING_PATIENCE_S, watched

__all__ = ["Pkcs11Signer"]

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

    def __init__(
        self,
        uri: str | Pkcs11Uri,
        pin: str | Callable[[], str] | None = None,
        *,
        final_try: bool = False,
        patience_s: float = PATIENCE_S,
    ) -> None:
        secret = hidden(pin)
        del pin
        self.name = "a key not yet found"
        """The key and its token in words, for messages and logs."""
        parsed = uri if isinstance(uri, Pkcs11Uri) else Pkcs11Uri.parse(uri)
        self._lock = Lock()
        self._closed = False
        self._made = 0
        self._batch: list[bytes] = []
        self._opened = open_session(parsed, secret, final_try=final_try, patience_s=patience_s)
        self.token_name = self._opened.where
        """How messages name the token."""
        try:
            find = partial(self._find, parsed)
            watched(find, "finding the key", self.token_name, patience_s=patience_s)
        except TokenStalledError:
            raise  # closing would wait as well
        except BaseException:
            self._opened.close()
            raise
        try:
            self._each_time = self._pin_for_each(parsed, secret)
        except BaseException:
            self._opened.close()
            raise

    def _pin_for_each(self, uri: Pkcs11Uri, secret: Hidden | None) -> Callable[[], None] | None:
        """What gives the PIN for a signature that was begun; None for a key that doesn't want it.

        Raises: PinError when there is none to give: somebody else may have logged this process in.
        """
        if not self.always_authenticates:
            return None
        if self._opened.pin_pad:
            secret = None
        elif secret is None:
            if uri.pin_source is None:
                raise PinError(
                    f"{self.name} wants its PIN for each signature (CKA_ALWAYS_AUTHENTICATE): give"
                    " it by the prompt, --pin-env NAME or the URI's pin-source"
                )
            secret = pin_file(uri.pin_source)
        return partial(self._opened.authenticate, secret)

    def _find(self, uri: Pkcs11Uri) -> None:
        key = find_private_key(self._opened, uri)
        # Reading a key's label asks the token too, and it may be gone by now.
        with token_calls("reading the key", self.token_name):
            self.name = f"key {describe_object(key)} on {self.token_name}"
            self._public_key = public_half(self._opened, key)
            self._alg, length = _checked_key(key, self._public_key, self.name)
            self._scheme = _scheme(self._opened.token.slot, self._alg, length, self.token_name)
            self.always_authenticates = bool(attribute(key, Attribute.ALWAYS_AUTHENTICATE))
            """Whether the key wants its PIN for each signature."""
        self._session_handle, self._key_handle = _handles(self._opened, key)

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

    @property
    def made(self) -> int:
        """The signatures made so far; it moves while a batch is under way."""
        return self._made + len(self._batch)

    def sign(self, messages: Sequence[bytes]) -> list[bytes]:
        """Sign each message, in order: see :meth:`vaxpass_sign.keys.signer.Signer.sign`.

        Raises: TokenError, without any of the batch's signatures.
        """
        # Before the lock: a thread of the parent may have held it when this child was forked.
        self._check_process()
        with self._lock:
            if self._closed:
                raise TokenError(f"the signer for {self.name} is closed: open it again")
            signatures: list[bytes] = []
            self._batch = signatures
            try:
                rv = self._sign(messages, signatures)
            except TokenStalledError:
                self._closed = True
                raise  # whatever is called now would wait as well
            except PinError:
                # Only closing ends the operation: C_Sign refuses, and leaves it begun.
                self._closed = True
                self._opened.close()
                raise
            except BaseException:
                # An interrupt may come between C_SignInit and C_Sign; the operation is ended
                # here, because the session could start no other while it is active.
                self._end_operation()
                raise
            finally:
                self._made, self._batch = self._made + len(signatures), []
        if rv != Rv.OK:
            doing = f"signing message {len(signatures) + 1} of {len(messages)}"
            raise fault(doing, self.token_name, rv)
        return signatures

    def _sign(self, messages: Sequence[bytes], signatures: list[bytes]) -> int:
        """Sign until the first failure, into ``signatures``; its CK_RV.

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
        each_time = self._each_time
        append, hash_of = signatures.append, sha256
        for message in messages:
            data = hash_of(message).digest() if hash_here else bytes(message)
            written.value = length
            rv = sign_init(session, mechanism, key)
            if each_time is not None and not rv:
                each_time()
            rv = rv or c_sign(session, data, len(data), buffer, written_at)
            if rv:
                return rv
            if written.value != length:
                raise TokenError(
                    f"{self.token_name} gave a signature of {written.value} bytes, expected"
                    f" {length}: nothing of this batch is used; its module is at fault"
                )
            append(buffer.raw)
        return Rv.OK

    def sign_bare(self, count: int) -> None:
        """Make so many signatures by C_SignInit and C_Sign alone: the yardstick of a benchmark.

        Raises: TokenError at the first that fails.
        """
        data = PROOF_MESSAGE if self._scheme.token_hashes else bytes(32)
        functions = self._opened.module.functions
        sign_init, sign, size = functions.sign_init, functions.sign, len(data)
        session, key = self._session_handle, self._key_handle
        mechanism = ctypes.byref(self._scheme.mechanism)
        buffer = ctypes.create_string_buffer(self._scheme.signature_length)
        written = ctypes.c_ulong(len(buffer))
        written_at = ctypes.byref(written)
        for _ in range(count):
            rv = sign_init(session, mechanism, key) or sign(session, data, size, buffer, written_at)
            if rv:
                raise fault("signing in a bare loop", self.token_name, rv)

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
        self._closed = True
        # A batch that is under way is waited for, unless it is stuck.
        if self._lock.acquire(timeout=CLOSING_PATIENCE_S):
            try:
                self._opened.close()
            finally:
                self._lock.release()

    def __repr__(self) -> str:
        return f"<Pkcs11Signer: {self.name}>"


def _handles(opened: TokenSession, key: Object) -> tuple[int, int]:
    """C's handles of a session and a key; python-pkcs11's stubs don't declare them."""
    session: Any = opened.session
    private: Any = key
    return int(session.handle), int(private.handle)


def _checked_key(key: Object, public: PublicKey | None, name: str) -> tuple[Alg, int]:
    """The algorithm of a private key and the length of its signatures in bytes.

    Raises: TokenError when it may not sign, or doesn't suit.
    """
    if attribute(key, Attribute.SIGN) is False:
        raise TokenError(f"{name} may not sign (CKA_SIGN is false): use a key made for signing")
    kind = attribute(key, Attribute.KEY_TYPE)
    if kind is None:  # a token that is busy says so, too
        raise TokenLostError(f"{name} does not show its type: open it again")
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
    mechanism = signing_mechanism(slot, alg)
    if mechanism is None:
        names = " nor ".join(f"CKM_{known.name}" for known in MECHANISMS[alg])
        raise TokenError(
            f"{where} can't sign {alg.name}: it offers neither {names}; use a key of the other"
            " kind or another token"
        )
    build = Mechanism.of if alg is Alg.ES256 else Mechanism.pss_sha256
    return _Scheme(build(mechanism.value), mechanism in HASHES_ITSELF, length)
