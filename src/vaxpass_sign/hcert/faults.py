"""Why a text can't be decoded: one word for each way, used by HcertError and by the Verdict.

>>> Fault("base45").name
'BASE45'
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Fault"]


class Fault(StrEnum):
    """The ways in which a text fails to be an HCERT, in the order in which they are met."""

    TOO_LONG = "too_long"
    """More characters than any QR symbol holds."""
    NOT_HC1 = "not_hc1"
    """The text does not begin with HC1:."""
    BASE45 = "base45"
    """Not base45 (RFC 9285): a wrong character, a wrong length, a group out of range."""
    NOT_COMPRESSED = "not_compressed"
    """What base45 gave is not a zlib stream."""
    INFLATE = "inflate"
    """The zlib stream is broken, cut short, or followed by other bytes."""
    INFLATED_TOO_LARGE = "inflated_too_large"
    """The zlib stream inflates past the bound."""
    CBOR = "cbor"
    """Not well-formed CBOR, or followed by other bytes."""
    CBOR_TOO_DEEP = "cbor_too_deep"
    """CBOR nested past the bound."""
    CBOR_TOO_MANY = "cbor_too_many"
    """More CBOR elements than the bound."""
    CBOR_TAG = "cbor_tag"
    """A CBOR tag that has no place in an HCERT (shared references among them)."""
    CBOR_DUPLICATE_KEY = "cbor_duplicate_key"
    """A map that names one key twice."""
    COSE = "cose"
    """Not a COSE_Sign1 structure (RFC 9052 §4.2)."""
    COSE_CRITICAL = "cose_critical"
    """A critical header that this library does not know (RFC 9052 §3.1)."""
    CLAIMS = "claims"
    """The payload is not a map of claims, or a claim has the wrong type (RFC 8392 §3)."""
