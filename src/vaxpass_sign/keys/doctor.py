"""Try a token's key from end to end, in order, and say in plain words what is wrong.

Each step needs the one before it, so the first that fails is the last: URI, module, token, PIN,
key, a signature that is verified, and how fast it goes with more sessions and processes.
The one message that is signed can't be a credential.

>>> [check.state for check in examine("pkcs11:token=moh?module-path=/nowhere/libtoken.so")]
['ok', 'bad']
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, Literal

from pkcs11.constants import Attribute

from vaxpass_sign.errors import InputError, TokenError, TokenStalledError, VaxpassError
from vaxpass_sign.hcert.signature import verify_signature
from vaxpass_sign.keys.locate import find_module
from vaxpass_sign.keys.module import load_module
from vaxpass_sign.keys.objects import attribute, find_private_key
from vaxpass_sign.keys.pin import AskedOnce, hidden
from vaxpass_sign.keys.proof import PROOF_MESSAGE
from vaxpass_sign.keys.rate import signing_rate
from vaxpass_sign.keys.session import open_session
from vaxpass_sign.keys.token import find_token, token_calls, token_info
from vaxpass_sign.keys.token_signer import Pkcs11Signer
from vaxpass_sign.keys.tries import refusals
from vaxpass_sign.keys.uri import Pkcs11Uri
from vaxpass_sign.keys.watch import watched
from vaxpass_sign.x509 import Certificate

__all__ = ["Check", "examine"]

_MOST_SESSIONS: Final = 64
_WORTH: Final = 1.1
"""Doubling the sessions must bring a tenth, or it is not tried further."""

State = Literal["ok", "note", "bad"]
Found = Iterator[tuple[State, str]]


@dataclass(frozen=True, slots=True)
class Check:
    """What one step found. ``note``: it works, and there is something to know."""

    step: str
    state: State
    text: str


def examine(
    uri: str,
    pin: str | Callable[[], str] | None = None,
    *,
    dsc: Certificate | None = None,
    seconds: float = 1.0,
    final_try: bool = False,
) -> Iterator[Check]:
    """Try everything in order; the first ``bad`` is the last.

    Args:
        uri: an RFC 7512 URI of a token, or of a private key on it.
        pin: as for :func:`vaxpass_sign.keys.open_signer`; asked for once.
        dsc: the DSC that belongs to the key, when there is one already.
        seconds: of each measurement; 0 measures nothing.
    """
    asked = AskedOnce(hidden(pin))
    del pin
    examined = _Examination(asked, final_try, dsc, seconds)
    steps: tuple[tuple[str, Callable[[], Found]], ...] = (
        ("URI", lambda: examined.read(uri)),
        ("module", examined.module),
        ("token", examined.token),
        ("PIN", examined.login),
        ("key", examined.key),
        ("signature", examined.signature),
        ("speed", examined.speed),
    )
    with examined.opened:
        for step, run in steps:
            try:
                for state, text in run():
                    yield Check(step, state, text)
            except VaxpassError as error:
                if isinstance(error, TokenStalledError):
                    examined.opened.pop_all()  # closing would wait as well
                yield Check(step, "bad", str(error))
                return


@dataclass
class _Examination:
    """What the steps have found so far."""

    asked: AskedOnce
    final_try: bool
    dsc: Certificate | None
    seconds: float

    def __post_init__(self) -> None:
        self.opened = ExitStack()
        self.uri: Any = None
        self.signer: Any = None

    def read(self, text: str) -> Found:
        self.uri = Pkcs11Uri.parse(text)
        yield "ok", "can be read (RFC 7512)"

    def module(self) -> Found:
        path = find_module(self.uri)
        loaded = watched(
            lambda: load_module(path, self.uri.x_init_reserved), "loading", f"module {path.name!r}"
        )
        self._module = self.opened.enter_context(loaded)
        lib = loaded.lib
        version = ".".join(map(str, lib.library_version))
        yield "ok", f"{path}: {lib.library_description.strip()} {version}, {lib.manufacturer_id}"

    def token(self) -> Found:
        token = watched(
            lambda: find_token(self._module, self.uri), "looking for the token", "the module"
        )
        info = token_info(token)
        flags = ", ".join(flag for flag in info.flags if flag != "initialised")
        yield "ok", f"{info.label!r}, serial {info.serial or 'none'}, slot {info.slot_id}; {flags}"
        for flag, why in (
            ("wrong PIN before", "somebody has sent it a wrong PIN; a right one clears the count"),
            ("final try", "one more wrong PIN locks it"),
            ("PIN to be changed", "it wants another PIN: set it with the token's own tool"),
            ("in error state", "it says that it is broken: see its manual"),
        ):
            if flag in info.flags:
                yield "note", why
        if refused := refusals(info.serial):
            yield "note", f"{refused} wrong PINs in a row were sent to it from this account"

    def login(self) -> Found:
        session = open_session(self.uri, self.asked.hidden, final_try=self.final_try)
        self._session = self.opened.enter_context(session)
        if session.logged_in:
            yield "ok", "logged in"
        else:
            yield "note", "not logged in: no PIN was given, so private keys may stay unseen"

    def key(self) -> Found:
        with token_calls("reading the key", self._session.where):
            key = find_private_key(self._session, self.uri)
            self.signer = self.opened.enter_context(Pkcs11Signer(self.uri, self.asked.hidden))
            yield "ok", f"{self.signer.name}, signs {self.signer.alg.name}"
            for name, wanted, why in (
                (Attribute.NEVER_EXTRACTABLE, True, "it was outside of a token at some time"),
                (Attribute.EXTRACTABLE, False, "it can be taken off the token"),
                (Attribute.SENSITIVE, True, "the token shows it to who asks"),
            ):
                if attribute(key, name) is (not wanted):
                    yield "note", f"CKA_{name.name} is {str(not wanted).lower()}: {why}"
        if self.signer.always_authenticates:
            yield "note", "it wants its PIN for each signature: for issue, and not for a campaign"

    def signature(self) -> Found:
        [signature] = watched(
            lambda: self.signer.sign([PROOF_MESSAGE]), "signing", self.signer.token_name
        )
        public = self.signer.public_key
        if self.dsc is not None:
            if not verify_signature(self.dsc.public_key, PROOF_MESSAGE, signature):
                raise InputError(
                    f"the DSC with kid {self.dsc.kid.hex()} is of another key: give the one that "
                    "was issued for this key"
                )
            yield "ok", "a signature verifies with the DSC's key"
        elif public is None:
            yield "note", "the token shows no public half, so nothing could verify: give the DSC"
        elif verify_signature(public, PROOF_MESSAGE, signature):
            yield "ok", "a signature verifies with the public half on the token"
        else:
            raise TokenError(
                "the signature does not verify with the public half on the token: the two are not "
                "one pair, or the module is at fault"
            )

    def speed(self) -> Found:
        if not self.seconds or self.signer.always_authenticates:
            return
        rates = {(1, 1): self._rate(1, 1)}
        sessions = 1
        while sessions < _MOST_SESSIONS:
            more = sessions * 2
            try:
                rates[1, more] = self._rate(1, more)
            except TokenError as error:
                yield "note", f"{more} sessions: {error}"
                break
            if rates[1, more] < rates[1, sessions] * _WORTH:
                break
            sessions = more
        yield "ok", f"signatures/s of one process: {_shown(rates)}"
        if "removable" in self.signer.token.flags:
            yield "ok", f"use --workers 1 --sessions {sessions} (the token can be pulled out)"
            return
        two = {(2, count): self._rate(2, count) for count in sorted({1, sessions})}
        yield "ok", f"signatures/s of two processes: {_shown(two)}"
        workers, sessions = _cheapest(rates | two)
        more_words = " (or as many workers as cores)" if workers > 1 else ""
        yield "ok", f"use --workers {workers} --sessions {sessions}{more_words}"

    def _rate(self, workers: int, sessions: int) -> float:
        return signing_rate(
            str(self.uri),
            self.asked.hidden,
            workers=workers,
            sessions=sessions,
            seconds=self.seconds,
        )


def _shown(rates: dict[tuple[int, int], float]) -> str:
    return ", ".join(f"{rate:,.1f} with {sessions}" for (_, sessions), rate in rates.items())


def _cheapest(rates: dict[tuple[int, int], float]) -> tuple[int, int]:
    """Workers and sessions that come within a tenth of the fastest, the fewest of them.

    >>> _cheapest({(1, 1): 100, (1, 2): 180, (1, 4): 190, (2, 1): 185})
    (1, 2)
    """
    enough = max(rates.values()) / _WORTH
    fitting = [setting for setting, rate in rates.items() if rate >= enough]
    return min(fitting, key=lambda setting: (setting[0] * setting[1], setting[0]))
