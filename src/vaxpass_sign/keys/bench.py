"""What the library takes of a token's time: its signer against a bare loop on the same key.

By default the key is one of the session, made for this and gone with it; so nothing that is on the
token is used, and nothing is left there. The bare loop is C_SignInit and C_Sign through ctypes,
over 32 bytes and nothing else.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any, Final, Literal

from pkcs11.constants import Attribute, MechanismFlag
from pkcs11.exceptions import PKCS11Error
from pkcs11.mechanisms import KeyType

from vaxpass_sign.errors import InputError, PinError, TokenStalledError
from vaxpass_sign.keys import PATIENCE_S
from vaxpass_sign.keys.pin import AskedOnce, hidden
from vaxpass_sign.keys.proof import PROOF_MESSAGE
from vaxpass_sign.keys.session import TokenSession, open_session
from vaxpass_sign.keys.token import fault
from vaxpass_sign.keys.token_signer import Pkcs11Signer
from vaxpass_sign.keys.uri import Pkcs11Uri
from vaxpass_sign.keys.watch import watched

__all__ = ["Rates", "bench"]

_P256: Final = bytes.fromhex("06082a8648ce3d030107")
_RSA_BITS: Final = 2048
_LABEL: Final = "vaxpass-sign bench"


@dataclass(frozen=True, slots=True)
class Rates:
    """Signatures a second, medians of rounds that ran in turn; ``ratio`` is library over bare."""

    key: str
    """The key in words."""
    library: float
    bare: float
    ratio: float


def bench(  # noqa: PLR0913 (each is a part of what is measured)
    uri: str,
    pin: str | Callable[[], str] | None = None,
    *,
    kind: Literal["ec", "rsa"] = "ec",
    this_key: bool = False,
    seconds: float = 1.0,
    rounds: int = 5,
    final_try: bool = False,
) -> Rates:
    """Measure one session of a token in this process.

    Args:
        uri: the token; with ``this_key`` a private key on it.
        pin: as for :func:`vaxpass_sign.keys.open_signer`; asked for once.
        kind: of the key that is made: P-256, or RSA of 2048 bits.
        this_key: sign with the URI's key instead; the message can't be a credential.
        seconds: of each round and side.
        final_try: send the PIN even when a wrong one would lock the token.
    Raises: InputError for a key that can't be measured; and as ``open_signer`` does.
    """
    asked = AskedOnce(hidden(pin))
    del pin
    parsed = Pkcs11Uri.parse(uri)
    opened = ExitStack()
    try:
        session = opened.enter_context(open_session(parsed, asked.hidden, final_try=final_try))
        if not this_key:
            make = partial(_session_key, session, parsed, kind)
            parsed = watched(make, "making a key of the session", session.where)
        signer = opened.enter_context(Pkcs11Signer(parsed, asked.hidden))
        measure = partial(_measure, signer, seconds, rounds)
        patience_s = PATIENCE_S + 3 * rounds * seconds
        return watched(measure, "measuring", session.where, patience_s=patience_s)
    except TokenStalledError:
        opened.pop_all()  # closing would wait as well
        raise
    finally:
        opened.close()


def _measure(signer: Pkcs11Signer, seconds: float, rounds: int) -> Rates:
    if signer.always_authenticates:
        raise InputError(
            f"{signer.name} wants its PIN for each signature: there is no rate to measure"
        )
    batch = _batch(signer)
    found = [_round(signer, batch, seconds, turned=bool(n % 2)) for n in range(rounds + 1)][1:]
    return Rates(
        signer.name,
        median(library for library, _ in found),
        median(bare for _, bare in found),
        median(library / bare for library, bare in found),
    )


def _session_key(session: TokenSession, uri: Pkcs11Uri, kind: str) -> Pkcs11Uri:
    """Make a key pair that is gone with the session; its URI."""
    if not session.logged_in:
        raise PinError(f"{session.where} makes keys only after a login: give the PIN")
    ident = secrets.token_bytes(8)
    is_ec = kind == "ec"
    opened: Any = session.session
    private = {
        Attribute.TOKEN: False,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        Attribute.SIGN: True,
    }
    try:
        opened.generate_keypair(
            KeyType.EC if is_ec else KeyType.RSA,
            None if is_ec else _RSA_BITS,
            id=ident,
            label=_LABEL,
            store=False,
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            public_template={Attribute.TOKEN: False}
            | ({Attribute.EC_PARAMS: _P256} if is_ec else {}),
            private_template=private,
        )
    except PKCS11Error as error:
        raise fault("making a key of the session", session.where, error) from error
    return replace(uri, object=_LABEL, id=ident, type=None)


def _batch(signer: Pkcs11Signer) -> int:
    """Messages that take about a tenth of a second."""
    began = time.perf_counter()
    signer.sign([PROOF_MESSAGE] * 2)
    return max(1, int(0.2 / max(time.perf_counter() - began, 1e-6)))


def _round(
    signer: Pkcs11Signer, batch: int, seconds: float, *, turned: bool
) -> tuple[float, float]:
    """The library's rate and the bare loop's, one right after the other."""
    messages = [PROOF_MESSAGE] * batch

    def library() -> float:
        return _rate(lambda: signer.sign(messages), batch, seconds)

    def bare() -> float:
        return _rate(lambda: signer.sign_bare(batch), batch, seconds)

    if turned:
        second = bare()
        return library(), second
    return library(), bare()


def _rate(call: Callable[[], object], batch: int, seconds: float) -> float:
    began, count = time.perf_counter(), 0
    while (took := time.perf_counter() - began) < seconds:
        call()
        count += batch
    return count / took
