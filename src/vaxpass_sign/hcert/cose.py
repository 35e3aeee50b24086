"""COSE_Sign1 (RFC 9052 §4.2): headers, the bytes that are signed, the message.

Written: alg and kid in the protected header, an empty unprotected one, CBOR tag 18. Read: tag 18,
no tag, or 61(18(…)); alg and kid in either header, the protected one first; other headers are
passed over unless they are declared critical.

>>> protected = encode_protected(Alg.ES256, bytes(8))
>>> sig_structure(protected, b"payload")[:12]
b'\\x84jSignature1'
>>> parse(encode_sign1(protected, b"payload", bytes(64))).kid.hex()
'0000000000000000'
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple

from vaxpass_sign.errors import HcertError
from vaxpass_sign.hcert import cbor
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.hcert.faults import Fault

__all__ = [
    "Sign1",
    "bstr_head",
    "encode_protected",
    "encode_sign1",
    "parse",
    "parse_parts",
    "sig_structure",
]

HEADER_ALG: Final = 1
HEADER_CRIT: Final = 2
HEADER_KID: Final = 4

_TAG_18 = b"\xd2"
_TAG_61_18 = b"\xd8\x3d\xd2"
_MAX_KID = 64


class Sign1(NamedTuple):
    """A COSE_Sign1 as it was read; nothing of it is verified.

    ``alg`` and ``kid`` are what the headers say: any integer or None, 1 to 64 bytes or None.
    ``kid_protected`` tells whether the kid is covered by the signature.
    """

    # A tuple, because one is made for each text: a frozen dataclass takes a microsecond more.
    protected: bytes
    payload: bytes
    signature: bytes
    alg: int | None
    kid: bytes | None
    kid_protected: bool

    @property
    def sig_structure(self) -> bytes:
        """The bytes that were signed (RFC 9052 §4.4)."""
        return sig_structure(self.protected, self.payload)

    def __repr__(self) -> str:
        """Without payload and signature."""
        return f"Sign1(alg={self.alg}, kid={self.kid!r}, kid_protected={self.kid_protected})"


# --- writing -------------------------------------------------------------------------------


def encode_protected(alg: Alg, kid: bytes) -> bytes:
    """The protected header {1: alg, 4: kid} as CBOR, without its bstr wrapping."""
    return cbor.encode({HEADER_ALG: int(alg), HEADER_KID: kid})


def bstr_head(length: int) -> bytes:
    """The head of a CBOR byte string of ``length`` bytes (RFC 8949 §3), shortest form."""
    if length < 24:
        return bytes((0x40 + length,))
    if length < 0x100:
        return bytes((0x58, length))
    if length < 0x10000:
        return b"\x59" + length.to_bytes(2, "big")
    return b"\x5a" + length.to_bytes(4, "big")


def _bstr(data: bytes) -> bytes:
    return bstr_head(len(data)) + data


def sig_structure(protected: bytes, payload: bytes) -> bytes:
    """["Signature1", protected, external_aad = h'', payload] (RFC 9052 §4.4)."""
    return _before_payload(protected) + bstr_head(len(payload)) + payload


@lru_cache(maxsize=256)
def _before_payload(protected: bytes) -> bytes:
    """What stands before the payload in a Sig_structure; the same for all of an issuer's."""
    return b"\x84\x6aSignature1" + _bstr(protected) + b"\x40"


def encode_sign1(protected: bytes, payload: bytes, signature: bytes) -> bytes:
    """18([protected, {}, payload, signature]) (RFC 9052 §4.2)."""
    return b"\xd2\x84" + _bstr(protected) + b"\xa0" + _bstr(payload) + _bstr(signature)


# --- reading -------------------------------------------------------------------------------


def parse_parts(message: bytes) -> tuple[bytes, dict[Any, Any], bytes, bytes]:
    """Protected header, unprotected header, payload and signature as they stand in a message.

    Raises: HcertError with COSE or one of the CBOR faults.
    """
    for tag in (_TAG_18, _TAG_61_18):
        if message.startswith(tag):
            message = message[len(tag) :]
            break
    parts = cbor.decode(message)
    if not isinstance(parts, list) or len(parts) != 4:
        raise _error("something else than an array of four", "a COSE_Sign1 (RFC 9052 §4.2)")
    protected, unprotected, payload, signature = parts
    if not (isinstance(payload, bytes) and isinstance(signature, bytes)):
        raise _error("no byte strings", "a payload and a signature")
    if not isinstance(protected, bytes) or not isinstance(unprotected, dict):
        raise _error("headers of another type", "a byte string and a map")
    return protected, unprotected, payload, signature


def parse(message: bytes) -> Sign1:
    """The parts of a COSE_Sign1 message.

    Raises: HcertError with COSE, COSE_CRITICAL or one of the CBOR faults.
    """
    plain = _plain_parts(message)
    if plain:
        protected, payload, signature = plain
        alg, kid = _protected_headers(protected)
        return Sign1(protected, payload, signature, alg, kid, kid is not None)
    protected, unprotected, payload, signature = parse_parts(message)
    alg, kid = _protected_headers(protected)
    kid_protected = kid is not None
    if alg is None:
        alg = _alg(unprotected)
    if kid is None:
        kid = _kid(unprotected)
    return Sign1(protected, payload, signature, alg, kid, kid_protected)


def _plain_parts(message: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Protected header, payload and signature of a message of the form that most issuers write.

    18([bytes, {}, bytes, bytes]), a protected header of under 24 bytes, and heads of two or three
    bytes before payload and signature: everything stands where the lengths before it say, and
    nothing follows. None for any other form; :func:`parse_parts` reads all of them, and gives the
    same for this one.
    """
    if message[:2] != _TAG_18_ARRAY_OF_4:
        return None
    try:
        unprotected = message[2] - 0x3D  # 3 bytes, then a protected header of message[2] - 0x40
        if not 3 <= unprotected < 3 + 24 or message[unprotected] != 0xA0:
            return None
        begin, end = _long_bytes(message, unprotected + 1)
        signature_begin, signature_end = _long_bytes(message, end)
    except IndexError:
        return None
    if signature_end != len(message):
        return None
    return message[3:unprotected], message[begin:end], message[signature_begin:]


_TAG_18_ARRAY_OF_4 = b"\xd2\x84"


def _long_bytes(message: bytes, at: int) -> tuple[int, int]:
    """Where the byte string whose head of two or three bytes stands at ``at`` begins and ends.

    Raises: IndexError when there is no such head.
    """
    head = message[at]
    if head == 0x58:
        return at + 2, at + 2 + message[at + 1]
    if head == 0x59:
        return at + 3, at + 3 + (message[at + 1] << 8 | message[at + 2])
    raise IndexError


# An issuer's protected header is the same in each of its credentials, so it is parsed once.
@lru_cache(maxsize=256)
def _protected_headers(protected: bytes) -> tuple[int | None, bytes | None]:
    headers = cbor.decode(protected) if protected else {}
    if not isinstance(headers, dict):
        raise _error("a protected header that is no map", "a map (RFC 9052 §3)")
    if HEADER_CRIT in headers:
        _check_critical(headers[HEADER_CRIT])
    return _alg(headers), _kid(headers)


def _check_critical(labels: Any) -> None:
    """Refuse labels that a reader must know and this one does not (RFC 9052 §3.1)."""
    if not isinstance(labels, list) or not labels:
        raise _error("a crit header that is no list", "a list of labels")
    if any(label not in (HEADER_ALG, HEADER_KID) for label in labels):
        raise HcertError(
            Fault.COSE_CRITICAL,
            "found a critical header that this library does not know: do not trust this payload",
        )


def _alg(headers: dict[Any, Any]) -> int | None:
    alg = headers.get(HEADER_ALG)
    if alg is None:
        return None
    if not isinstance(alg, int) or isinstance(alg, bool):
        raise _error("an alg header that is no integer", "-7 (ES256) or -37 (PS256)")
    return alg


def _kid(headers: dict[Any, Any]) -> bytes | None:
    kid = headers.get(HEADER_KID)
    if kid is None:
        return None
    if not isinstance(kid, bytes) or not 0 < len(kid) <= _MAX_KID:
        raise _error("a kid header of another type or length", f"1 to {_MAX_KID} bytes")
    return kid


def _error(found: str, expected: str) -> HcertError:
    return HcertError(Fault.COSE, f"found {found}, expected {expected}")
