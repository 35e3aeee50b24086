"""Changes to structured data: one node of a JSON, CBOR or DER tree, the lengths around it kept right.

A mutator of bytes seldom leaves such data well-formed, so it seldom gets behind a parser. Here a
tree is taken apart, changed at a place or two, and written again. Whatever can't be taken apart is
left to the mutator of bytes.

>>> dump_der(load_der(bytes.fromhex("3006020101040100"))).hex()
'3006020101040100'
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from random import Random
from typing import Any

import cbor2

__all__ = ["change_cbor", "change_der", "change_json", "der", "dump_der", "load_der", "nested_der"]

Mutate = Callable[[bytes], bytes]
"""The fuzzer's own mutator of bytes."""

_MAX_NODES = 5000
_TEXTS = (
    *("", "\0", "\n", "\x1b[2J", "\u202e", "é" * 90, "A" * 81, "1.3.0", "2021-02-30", "2021-W01-1"),
    *("9999-12-31T23:59:59-23:59", "VN", "XCL", "vn", "UNKNOWN_KID", "did:web:x", "@", "@anchor"),
    *("UCI", "COUNTRYCODEUCI", "SIGNATURE", "DSC", "CSCA", "UPLOAD", "ES256", "PS256", "RS256"),
)
_NUMBERS = (
    *(0, 1, -1, 18, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 2**200, 10**400),
    *(253402300799, 253402300800, -62135596800, 0.5, 1e308, -0.0),
)
_NOT_JSON = (b"", bytes(8), bytes(64), float("nan"), float("inf"))
_KEYS = (
    *(1, 4, 6, -260, 2, 0, -1, "v", "t", "r", "nam", "dob", "ver", "fn", "gn", "fnt", "gnt", "ci"),
    *("co", "dn", "dt", "is", "ma", "mp", "sd", "tg", "vp", "tt", "sc", "tr", "fr", "df", "du"),
    *("kid", "alg", "crit", "b64", "x5c", "iss", "iat", "exp", "keys", "id", "type", "proof"),
)


# --- any tree of dicts, lists and scalars ---------------------------------------------------


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every place below the root: a container, and a key or an index."""
    found: list[tuple[Any, Any]] = []
    waiting = [tree]
    for container in waiting:  # which grows on the way
        if len(found) > _MAX_NODES:
            break
        pairs = container.items() if isinstance(container, dict) else enumerate(container)
        for at, value in pairs:
            found.append((container, at))
            if isinstance(value, dict | list):
                waiting.append(value)
    return found


def _change(tree: Any, rng: Random, mutate: Mutate, *, is_json: bool) -> Any:
    """The tree, changed at one place."""
    root = [tree]
    places = _places(root)
    container, at = rng.choice(places)
    value, kind = container[at], rng.randrange(8)
    if kind == 0 and container is not root:
        del container[at]
    elif kind == 1:
        other, where = rng.choice(places)
        container[at] = _copy(other[where])
    elif kind == 2 and isinstance(container, list) and container is not root:
        container[at:at] = [_copy(value) for _ in range(rng.choice((1, 1, 2, 20)))]
    elif kind == 3 and isinstance(value, dict):
        value[_key(rng, is_json)] = _scalar(rng, is_json)
    elif kind == 4 and isinstance(container, dict):
        container[_key(rng, is_json)] = container.pop(at)
    elif kind == 5:
        for _ in range(rng.choice((1, 2, 20))):
            value = [value] if rng.randrange(2) else {_key(rng, is_json): value}
        container[at] = value
    else:
        container[at] = _changed_scalar(value, rng, mutate, is_json)
    return root[0]


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


def _key(rng: Random, is_json: bool) -> Any:
    key = rng.choice(_KEYS)
    return str(key) if is_json else key


def _scalar(rng: Random, is_json: bool) -> Any:
    choice: list[Any] = [_TEXTS, _NUMBERS, (True, False, None), ([], {})]
    if not is_json:
        choice.append(_NOT_JSON)
    return _copy(rng.choice(rng.choice(choice)))


def _changed_scalar(value: Any, rng: Random, mutate: Mutate, is_json: bool) -> Any:
    kind = rng.randrange(4)
    if kind == 0 or isinstance(value, dict | list | bool | None):
        return _scalar(rng, is_json)
    if isinstance(value, int):
        return value + rng.choice((1, -1, 1 << rng.randrange(64), -(1 << rng.randrange(64))))
    if isinstance(value, bytes):
        return mutate(value)
    if isinstance(value, str):
        inner = _base64(value) if kind == 1 else None
        if inner:
            changed = change_der(inner, rng, mutate) or mutate(inner)
            return base64.b64encode(changed).decode()
        return mutate(value.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")
    return _scalar(rng, is_json)


def _base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (ValueError, binascii.Error):
        return None


# --- JSON, CBOR -----------------------------------------------------------------------------


def change_json(data: bytes, rng: Random, mutate: Mutate) -> bytes | None:
    """JSON, changed at a place or a few; None when it is none."""
    try:
        tree = json.loads(data)
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            tree = _change(tree, rng, mutate, is_json=True)
        return json.dumps(tree, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return None


def change_cbor(data: bytes, rng: Random, mutate: Mutate) -> bytes | None:
    """CBOR, changed at a place or a few; None when it is none."""
    try:
        tree = cbor2.loads(data)
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            tree = _change(tree, rng, mutate, is_json=False)
        return cbor2.dumps(tree)
    # What is inside of a tag is frozen; NaN or a list is no key that it can be changed under.
    except (ValueError, TypeError, OverflowError, RecursionError, cbor2.CBORError):
        return None


# --- DER ------------------------------------------------------------------------------------


def der(tag: int, *parts: bytes) -> bytes:
    """One value of DER (X.690 §8.1): a tag of one byte, the length, the parts."""
    content = b"".join(parts)
    if len(content) < 0x80:
        return bytes((tag, len(content))) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def nested_der(size: int, depth: int) -> bytes:
    """Some ``size`` bytes of empty values, that many levels deep: dear to whoever builds them all."""
    found = der(5) * (size // 2)
    for _ in range(depth):
        found = der(0x30, found)
    return found


def load_der(data: bytes, depth: int = 0) -> list[list[Any]]:
    """Values as [tag, content], where the content of a constructed one is such a list.

    Raises: ValueError when a length leads outside, or a form that is not read here stands there.
    """
    found, at = [], 0
    while at < len(data):
        tag, length, at = data[at], _byte(data, at + 1), at + 2
        if length >= 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        if at + length > len(data) or tag & 0x1F == 0x1F or depth > 40:
            raise ValueError("no DER")
        content: Any = data[at : at + length]
        found.append([tag, load_der(content, depth + 1) if tag & 0x20 else content])
        at += length
    return found


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise ValueError("no DER")
    return data[at]


def dump_der(values: list[list[Any]]) -> bytes:
    """The bytes of what :func:`load_der` gives."""
    return b"".join(
        der(tag, dump_der(content) if isinstance(content, list) else content)
        for tag, content in values
    )


def change_der(data: bytes, rng: Random, mutate: Mutate) -> bytes | None:
    """DER, changed at a place or a few; None when it is none."""
    try:
        values = load_der(data)
    except ValueError:
        return None
    if not values:
        return None
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        _change_der(values, rng, mutate)
    return dump_der(values)


def _change_der(values: list[list[Any]], rng: Random, mutate: Mutate) -> None:
    lists = [values]
    for some in lists:
        lists += [content for _, content in some if isinstance(content, list)]
    lists = [some for some in lists if some]
    if not lists:
        return
    chosen = rng.choice(lists)
    at, kind = rng.randrange(len(chosen)), rng.randrange(6)
    other = rng.choice(lists)
    if kind == 0:
        chosen[at][0] = (
            rng.randrange(31) | rng.choice((0, 0x20, 0x80, 0xA0))
            if rng.randrange(2)
            else (
                rng.choice((1, 2, 3, 4, 5, 6, 10, 12, 19, 22, 23, 24, 30, 0x30, 0x31, 0xA0, 0x80))
            )
        )
    elif kind == 1:
        del chosen[at]
    elif kind == 2:
        chosen.insert(at, _copy(rng.choice(other)))
    elif kind == 3:
        chosen[at] = _copy(rng.choice(other))
    elif isinstance(chosen[at][1], bytes):
        chosen[at][1] = mutate(chosen[at][1])
    else:
        rng.shuffle(chosen[at][1])
