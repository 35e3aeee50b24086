"""An HCERT as a pycose Sign1Message and back, for systems that hold COSE objects already.

Nothing is signed or verified here, and no byte that is signed changes on the way. Needs the extra
``interop`` (pycose). pycose's own ``decode`` fails under cbor2 6, so the message is read by
:mod:`vaxpass_sign.hcert.cose`, with its bounds, and handed to pycose part by part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaxpass_sign.errors import HcertError, MissingExtraError
from vaxpass_sign.hcert import cose, framing
from vaxpass_sign.hcert.faults import Fault

if TYPE_CHECKING:
    from pycose.messages.sign1message import Sign1Message

__all__ = ["from_sign1message", "to_sign1message"]


def to_sign1message(text: str) -> Sign1Message:
    """The pycose Sign1Message of an "HC1:" text: headers, payload, signature; no key.

    Set its ``key`` and call ``verify_signature()`` to have pycose verify it.

    Raises: HcertError for a text that is no HCERT; MissingExtraError without pycose.
    """
    try:
        from pycose.exceptions import CoseException
        from pycose.messages.sign1message import Sign1Message
    except ImportError as error:
        raise MissingExtraError("pycose messages", "interop") from error
    message = framing.unframe(text)
    cose.parse(message)
    parts = list(cose.parse_parts(message))
    try:
        return Sign1Message.from_cose_obj(parts, allow_unknown_attributes=True)
    except (CoseException, ValueError, TypeError) as error:
        raise HcertError(
            Fault.COSE, f"found headers that pycose can't hold ({type(error).__name__})"
        ) from error


def from_sign1message(message: Sign1Message) -> str:
    """The "HC1:" text of a signed pycose Sign1Message, with the signature it carries.

    Raises: HcertError when it has no signature or no payload of its own.
    """
    encoded: bytes = message.encode(tag=True, sign=False)
    sign1 = cose.parse(encoded)
    return framing.frame(encoded, len(sign1.payload))
