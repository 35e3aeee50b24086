"""What each reason of a Verdict means for the person at the counter, in one or two sentences.

The English ones are here; those of another language are in ``locale/``, a gettext catalogue (.po,
and its compiled .mo, which is read). A guard is told what to do, and nothing of CBOR.

>>> sentence(Reason.EXPIRED)
'It has expired. Refuse it; its holder can ask the issuer for a new one.'
>>> sentence(Reason.EXPIRED, "vi")
'Chứng nhận đã hết hạn. Không chấp nhận; người mang có thể xin cơ quan cấp bản mới.'
"""

from __future__ import annotations

from functools import cache
from gettext import GNUTranslations, NullTranslations
from importlib.resources import files
from typing import Final

from vaxpass_sign.check.verdict import Reason
from vaxpass_sign.errors import InputError

__all__ = ["LANGUAGES", "SENTENCES", "sentence"]

LANGUAGES: Final = ("en", "vi")
"""ISO 639-1."""

_AGAIN: Final = "The code did not arrive whole. Scan it again; if that does not help, refuse it."
_NOT_STANDARD: Final = "It does not follow the standard. Refuse it."
_HARM: Final = "It is made to mislead or to do harm. Refuse it and report it."
_RENEW: Final = "Refuse it; its holder can ask the issuer for a new one."
_CLOCK: Final = "Check this device's clock; if it is right, refuse the credential."

SENTENCES: Final = {
    Reason.VALID: "It is valid. Compare the name and the date of birth with an identity document.",
    Reason.TOO_LONG: "It is no credential: it is longer than any QR code. Refuse it.",
    Reason.NOT_HC1: "It is another kind of code. Ask for the QR code of the credential.",
    Reason.BASE45: _AGAIN,
    Reason.NOT_COMPRESSED: _NOT_STANDARD,
    Reason.INFLATE: _AGAIN,
    Reason.INFLATED_TOO_LARGE: _HARM,
    Reason.CBOR: _AGAIN,
    Reason.CBOR_TOO_DEEP: _HARM,
    Reason.CBOR_TOO_MANY: _HARM,
    Reason.CBOR_TAG: _HARM,
    Reason.CBOR_DUPLICATE_KEY: _HARM,
    Reason.COSE: _NOT_STANDARD,
    Reason.COSE_CRITICAL: "It needs newer software. Refuse it and tell your supervisor.",
    Reason.CLAIMS: _NOT_STANDARD,
    Reason.NO_KID: "It does not say who signed it. Refuse it.",
    Reason.UNKNOWN_KID: "Its signer is not known here. Ask your supervisor whether the trust list"
    " is up to date; if it is, refuse it.",
    Reason.DSC_UNTRUSTED: "No authority that is trusted here vouches for its signer. Ask your"
    " supervisor whether the trust list is up to date; if it is, refuse it.",
    Reason.NO_ALG: "It does not say how it was signed. Refuse it.",
    Reason.ALG_UNKNOWN: "It was signed in a way that is not allowed. Refuse it.",
    Reason.ALG_MISMATCH: "Its signature does not fit its signer's key. Refuse it and report it.",
    Reason.SIGNATURE: "Its signature is wrong: it was changed or forged. Refuse it and report it.",
    Reason.NO_EXPIRY: "It has no end of validity. " + _RENEW,
    Reason.TIME_UNREADABLE: "Its dates can't be read. Refuse it.",
    Reason.NOT_YET_VALID: "It is not valid yet. " + _CLOCK,
    Reason.EXPIRED: "It has expired. " + _RENEW,
    Reason.DSC_NOT_YET_VALID: "Its signer's certificate is not valid yet. " + _CLOCK,
    Reason.DSC_EXPIRED: "Its signer's certificate has expired. " + _RENEW,
    Reason.BEYOND_DSC: "It reaches beyond its signer's certificate in time. " + _RENEW,
    Reason.DSC_KEY_USAGE: "Its signer may not sign credentials. Refuse it and tell your"
    " supervisor.",
    Reason.DSC_ENTRY_KIND: "Its signer may not sign this kind of credential. Refuse it and report"
    " it.",
    Reason.NO_EU_DCC: "It is genuine, and of a format that is not read here. Refuse it, or read it"
    " with software for its format.",
    Reason.SCHEMA: "It is genuine, and what it says breaks the standard. " + _RENEW,
    Reason.REVOKED: "Its issuer has revoked it. Refuse it; its holder can ask the issuer why.",
    Reason.KEY_REVOKED: "The key that signed it was stolen, and its issuer does not know this"
    " credential. Refuse it and report it.",
    Reason.REVOCATION_UNKNOWN: "Whether it was revoked is not known here. Ask your supervisor"
    " whether the revocation list is up to date; until it is, refuse it.",
}
"""In English, one for each reason; reasons that ask the same of a guard share one."""


def sentence(reason: Reason, language: str = "en") -> str:
    """The sentence of a reason.

    Args:
        language: one of LANGUAGES.
    Raises: InputError for another language.
    """
    return _catalogue(language).gettext(SENTENCES[reason])


@cache
def _catalogue(language: str) -> NullTranslations:
    if language not in LANGUAGES:
        raise InputError(
            f"language: found {language[:20]!r}, expected one of {', '.join(LANGUAGES)}"
        )
    if language == "en":
        return NullTranslations()
    compiled = files("vaxpass_sign") / "locale" / language / "LC_MESSAGES" / "verdicts.mo"
    with compiled.open("rb") as file:
        return GNUTranslations(file)
