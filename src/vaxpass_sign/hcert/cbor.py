"""CBOR in and out: deterministic when written, bounded and strict when read.

Written: RFC 8949 §4.2.1 (shortest form, map keys sorted; cbor2 sorts by length first, which for
every map that we write is the same order, as a test holds). Read: at most ``MAX_DEPTH`` levels and
``MAX_ELEMENTS`` elements; a key that a map names twice is refused (RFC 8949 §5.6); of all tags only
0 (a date-time as text) is taken, and it yields its text; nothing may follow the first item.
Indefinite lengths are read, because published credentials have them.

The element bound holds although it is counted after decoding: an element takes at least one
byte of an input whose size is bounded before.

>>> encode({4: 2, 1: "VN"}).hex()
'a20162564e0402'
>>> decode(bytes.fromhex("a20162564e0402"))
{1: 'VN', 4: 2}
>>> decode(bytes.fromhex("d81c8101"))
Traceback (most recent call last):
vaxpass_sign.errors.HcertError: found CBOR tag 28, expected none but 0: do not trust this payload
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, NoReturn

import cbor2

from vaxpass_sign.errors import HcertError
from vaxpass_sign.hcert.faults import Fault

__all__ = ["MAX_DEPTH", "MAX_ELEMENTS", "decode", "decode_pairs", "encode"]

MAX_DEPTH = 16
"""Levels of nesting that are read; an EU DCC inside a COSE_Sign1 needs 6."""

MAX_ELEMENTS = 2048
"""Elements (map keys included) that are read; the largest published payload has under 100."""


_KEY_TYPES = frozenset({int, str, bytes})
"""true would count as 1 and 1.0 as 1; and a container as a key could hide its elements."""


_CONTAINERS = frozenset({dict, list, tuple})
"""What cbor2 makes of maps and arrays."""


class _RefusedTagError(ValueError):
    def __init__(self, tag: int) -> None:
        self.tag = tag
        super().__init__(tag)


def _refuse_unknown_tag(tag: Any, _immutable: bool) -> NoReturn:
    raise _RefusedTagError(tag.tag)


def _keep_text(value: Any, _immutable: bool) -> str:
    if not isinstance(value, str):
        raise _RefusedTagError(0)
    return value


def _refuser(tag: int) -> Any:
    def refuse(_value: Any, _immutable: bool) -> NoReturn:
        raise _RefusedTagError(tag)

    return refuse


# cbor2 decodes these by itself; anything else reaches the tag hook. 28 and 29 would build cyclic
# objects, 2 to 5 and 30 numbers of any size. A test walks every tag to see that none is missing.
_BUILT_IN_TAGS = (
    *range(1, 6), 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799,
)  # fmt: skip
_SEMANTIC_DECODERS: dict[int, Any] = {tag: _refuser(tag) for tag in _BUILT_IN_TAGS}
_SEMANTIC_DECODERS[0] = _keep_text

_STRICT: dict[str, Any] = {
    "tag_hook": _refuse_unknown_tag,
    "semantic_decoders": _SEMANTIC_DECODERS,
    "max_depth": MAX_DEPTH,
    "allow_duplicate_keys": False,
}

_OPEN_MAP = b"\xbf"
_BREAK = b"\xff"


def encode(value: Any) -> bytes:
    """CBOR of ``value`` in deterministic order (RFC 8949 §4.2.1)."""
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes) -> Any:
    """The one CBOR item that ``data`` holds.

    Returns: dict, list, str, bytes, int, float, bool, None and cbor2's undefined and simple values.
    Raises: HcertError with CBOR, CBOR_TOO_DEEP, CBOR_TOO_MANY, CBOR_TAG or CBOR_DUPLICATE_KEY.
    """
    stream = BytesIO(data)
    decoder = cbor2.CBORDecoder(stream, **_STRICT)
    try:
        value = decoder.decode()
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        # Without its cause: cbor2's messages repeat keys and text of the payload.
        raise _as_fault(error) from None
    rest = len(data) - stream.tell()
    if rest:
        raise HcertError(
            Fault.CBOR, f"found {rest} bytes after the CBOR item, expected none: do not trust it"
        )
    if len(data) > MAX_ELEMENTS:
        _count(value)
    else:  # An element takes at least one byte, so there can't be too many.
        _check_keys(value)
    return value


def decode_pairs(pairs: bytes) -> Any:
    """The map of which ``pairs`` are exactly the pairs: whole ones, and nothing after the last.

    Faster than :func:`decode`, and for most maps only: whatever has a byte FF is refused,
    and so is an item of indefinite length. The caller must look at every map's keys.

    Raises: HcertError with CBOR, CBOR_TOO_DEEP, CBOR_TAG or CBOR_DUPLICATE_KEY.
    """
    # A map of indefinite length ends with FF, "break" (RFC 8949 §3.2.1). The one FF here is the
    # last byte: when it ends the map nothing follows, and when it ends anything else the map is
    # left without an end.
    if _BREAK in pairs:
        raise HcertError(Fault.CBOR, "found a byte FF, expected none in these pairs")
    try:
        return cbor2.loads(_OPEN_MAP + pairs + _BREAK, **_STRICT)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise _as_fault(error) from None


def _as_fault(error: Exception) -> HcertError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, _RefusedTagError):
            return HcertError(
                Fault.CBOR_TAG,
                f"found CBOR tag {cause.tag}, expected none but 0: do not trust this payload",
            )
        cause = cause.__cause__
    # cbor2 has one class for all of these; a test holds its wording, and another wording would
    # still be refused, as plain CBOR.
    text = str(error)
    if "nesting depth" in text:
        return HcertError(
            Fault.CBOR_TOO_DEEP, f"found CBOR nested deeper than {MAX_DEPTH} levels: do not trust"
        )
    if "Duplicate map key" in text:
        return HcertError(
            Fault.CBOR_DUPLICATE_KEY,
            "found a CBOR map that names a key twice, expected each once: do not trust it",
        )
    return HcertError(
        Fault.CBOR, "found bytes that are not well-formed CBOR (RFC 8949): scan or copy it again"
    )


def _check_keys(value: Any) -> None:
    """Refuse a map key of another type than ``_KEY_TYPES``."""
    waiting = [value]
    for item in waiting:  # which grows on the way
        if isinstance(item, dict):
            _check_keys_of(item)
            waiting += [inner for inner in item.values() if type(inner) in _CONTAINERS]
        elif isinstance(item, (list, tuple)):
            waiting += [inner for inner in item if type(inner) in _CONTAINERS]


def _check_keys_of(mapping: dict[Any, Any]) -> None:
    if not _KEY_TYPES.issuperset(map(type, mapping)):
        raise HcertError(
            Fault.CBOR, "found a map key that is no integer, text or bytes: do not trust it"
        )


def _count(value: Any) -> None:
    """Refuse more than MAX_ELEMENTS; walks with a list of its own, so depth costs no stack."""
    waiting, seen = [value], 0
    while waiting:
        item = waiting.pop()
        seen += 1
        if isinstance(item, dict):
            _check_keys_of(item)
            seen += len(item)
            waiting.extend(item.values())
        elif isinstance(item, (list, tuple)):
            waiting.extend(item)
        if seen + len(waiting) > MAX_ELEMENTS:
            raise HcertError(
                Fault.CBOR_TOO_MANY, f"found more than {MAX_ELEMENTS} CBOR elements: do not trust"
            )
