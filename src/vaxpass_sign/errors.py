"""Every error of the library, grouped by what the caller does next.

* :class:`InputError`: mend what was given (a record, a table, a file, a setting) and call again.
* :class:`TokenError`: look to the token, its module or its PIN; replug, unlock or retry.
* :class:`UntrustedError`: do not believe what was read.

Rules that every message keeps: one line; it names the thing, says what was found, what was
expected and what to do next; never a name, a birth date, a personal number, a payload or a PIN.

>>> issubclass(RecordError, InputError) and issubclass(InputError, VaxpassError)
True
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "CampaignError",
    "CertificateError",
    "HcertError",
    "InputError",
    "LedgerError",
    "MissingExtraError",
    "ModuleError",
    "PinError",
    "RecordError",
    "TokenError",
    "TokenLookupError",
    "TokenLostError",
    "TokenStalledError",
    "TrustError",
    "TrustFault",
    "UntrustedError",
    "VaxpassError",
    "Violation",
]


class VaxpassError(Exception):
    """The root of every error that the library raises on purpose."""


# --- mend what was given -------------------------------------------------------------------


class InputError(VaxpassError):
    """What was given can't be used as it is: mend it and call again."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that a record breaks.

    ``found`` describes the shape of a personal value and never repeats it ("a date written
    99/99/9999"), so that a violation may be logged and kept in a rejects file.
    """

    field: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.field}: found {self.found}, expected {self.expected}"


class RecordError(InputError):
    """A record breaks one or more rules; ``violations`` lists all of them at once."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(map(str, self.violations)))


class CertificateError(InputError):
    """A DSC, CSCA or CSR can't be read, or doesn't fit the key or the task."""


class CampaignError(InputError):
    """A campaign can't go on as it stands: its settings, files, clock or key don't fit together."""


class MissingExtraError(InputError):
    """A part of the library needs an extra that is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"the packages for {what} are not installed: pip install 'vaxpass-sign[{extra}]'"
        )


# --- replug, unlock or retry ---------------------------------------------------------------


class TokenError(VaxpassError):
    """The token, its module or a key on it could not do what was asked."""


class ModuleError(TokenError):
    """A PKCS#11 module is missing, can't be loaded or can't be initialised."""


class TokenLookupError(TokenError):
    """A PKCS#11 URI matches no token or key, or several."""


class TokenLostError(TokenError):
    """The token, its session or its login is gone, or it is busy; it may come back."""


class TokenStalledError(TokenError):
    """A call into the token's module has not returned; this process can't use the token any more.

    The call goes on in a thread of its own and can't be ended: end the process.
    """


class PinError(TokenError):
    """The PIN was refused, or is missing, or the token is locked. It is never sent again."""


# --- do not believe what was read ----------------------------------------------------------


class UntrustedError(VaxpassError):
    """Something from outside must not be believed."""


class HcertError(UntrustedError):
    """A text can't be decoded as an HCERT.

    ``code`` is one of :class:`vaxpass_sign.hcert.faults.Fault`; the same word is the reason of
    a Verdict.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class LedgerError(UntrustedError):
    """A ledger, or a file that it commits, is not what was written: nothing is added to it."""


class TrustFault(StrEnum):
    """Why trust material is refused, in a word."""

    UNREADABLE = "unreadable"
    """It is missing, of another form, or beyond a bound."""
    NO_ANCHOR = "no_anchor"
    """It is signed, and nobody was pinned who may sign it."""
    UNKNOWN_SIGNER = "unknown_signer"
    """Somebody signed it who is not pinned, or may not sign any more."""
    ALTERED = "altered"
    """A signature does not hold: an entry was swapped or changed, or another key signed."""
    EXPIRED = "expired"
    TOO_OLD = "too_old"
    """It was issued longer ago than is allowed."""
    NOT_YET = "not_yet"
    """It was issued in the future."""
    ROLLED_BACK = "rolled_back"
    """It was issued before the one that is there."""
    SHRUNK = "shrunk"
    """It lacks too many of the DSCs of the one that is there."""
    NO_DSC = "no_dsc"
    """Nothing in it can be used."""


class TrustError(UntrustedError):
    """Trust material is missing, can't be read, or isn't what its anchors signed."""

    def __init__(self, message: str, code: TrustFault = TrustFault.UNREADABLE) -> None:
        self.code = code
        super().__init__(message)
