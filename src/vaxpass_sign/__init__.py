"""Vaccination records as EU-DCC credentials, signed on PKCS#11 tokens and verified offline.

The names below are the public surface; each is imported when it is first used, so that
``import vaxpass_sign`` is cheap and needs no extra.

>>> from vaxpass_sign import inspect
>>> inspect("HC2:not one of ours")
Traceback (most recent call last):
vaxpass_sign.errors.HcertError: found no "HC1:" at the beginning, expected an EU-style credential
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vaxpass_sign.check.trust import TrustStore
    from vaxpass_sign.check.verdict import Verdict
    from vaxpass_sign.check.verify import verify
    from vaxpass_sign.errors import VaxpassError
    from vaxpass_sign.hcert.codec import Hcert
    from vaxpass_sign.hcert.codec import decode as inspect
    from vaxpass_sign.issuer import Issuer
    from vaxpass_sign.keys import open_signer
    from vaxpass_sign.record.model import VaccinationRecord

__all__ = [
    "Hcert",
    "Issuer",
    "TrustStore",
    "VaccinationRecord",
    "VaxpassError",
    "Verdict",
    "inspect",
    "open_signer",
    "verify",
]

__version__ = "0.1.0"

_HOME = {
    "Hcert": ("vaxpass_sign.hcert.codec", "Hcert"),
    "Issuer": ("vaxpass_sign.issuer", "Issuer"),
    "TrustStore": ("vaxpass_sign.check.trust", "TrustStore"),
    "VaccinationRecord": ("vaxpass_sign.record.model", "VaccinationRecord"),
    "VaxpassError": ("vaxpass_sign.errors", "VaxpassError"),
    "Verdict": ("vaxpass_sign.check.verdict", "Verdict"),
    "inspect": ("vaxpass_sign.hcert.codec", "decode"),
    "open_signer": ("vaxpass_sign.keys", "open_signer"),
    "verify": ("vaxpass_sign.check.verify", "verify"),
}


def __getattr__(name: str) -> object:
    try:
        module, attribute = _HOME[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
