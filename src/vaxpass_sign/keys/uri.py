"""PKCS#11 URIs (RFC 7512): which key, on which token, through which module.

Rules that this module keeps:

* The grammar of RFC 7512 §2.3 is kept strictly: each attribute at most once, values
  percent-encoded UTF-8, ``id`` any bytes, 4,096 characters at most.
* An attribute that is not known is refused, a vendor's ``x-…`` included. It may be the very one
  that tells two keys apart, and a key must not be chosen by ignoring half of its description. The
  one that is known is ``x-init-reserved``, named as in p11-kit's module files (pkcs11.conf(5)):
  NSS softokn can't be opened without it.
* ``pin-value`` is refused and never repeated: a URI ends up in process lists, logs and settings.
  So neither a Pkcs11Uri nor its text holds a PIN.

>>> uri = Pkcs11Uri.parse("pkcs11:token=moh%20vn;object=dsc;id=%01%ff?module-name=softhsm2")
>>> uri.token, uri.object, uri.id, uri.module_name
('moh vn', 'dsc', b'\\x01\\xff', 'softhsm2')
>>> str(uri)
'pkcs11:token=moh%20vn;object=dsc;id=%01%FF?module-name=softhsm2'
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Final, Self
from urllib.parse import quote, unquote_to_bytes

from vaxpass_sign.errors import InputError

__all__ = ["Pkcs11Uri"]

_MAX_CHARS: Final = 4096
_SCHEME: Final = "pkcs11:"
_QUERY: Final = ("pin-source", "module-name", "module-path", "x-init-reserved")
_TYPES: Final = ("public", "private", "cert", "secret-key", "data")
_MAX_SLOT_ID: Final = 2**64 - 1

# What RFC 7512 §2.3 lets stand unencoded: RFC 3986's unreserved characters and these.
_UNRESERVED: Final = r"A-Za-z0-9\-._~"
_PATH_VALUE: Final = re.compile(rf"(?:[{_UNRESERVED}:\[\]@!$'()*+,=&]|%[0-9A-Fa-f]{{2}})*")
_QUERY_VALUE: Final = re.compile(rf"(?:[{_UNRESERVED}:\[\]@!$'()*+,=/?|]|%[0-9A-Fa-f]{{2}})*")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")


@dataclass(frozen=True, slots=True)
class Pkcs11Uri:
    """One PKCS#11 URI; an attribute that is None was not given, and so matches anything.

    Raises: InputError when a value can't stand in a PKCS#11 URI.
    """

    token: str | None = None
    manufacturer: str | None = None
    serial: str | None = None
    model: str | None = None
    library_manufacturer: str | None = None
    library_description: str | None = None
    library_version: str | None = None
    """``major`` or ``major.minor`` in decimal digits."""
    object: str | None = None
    type: str | None = None
    """One of public, private, cert, secret-key, data."""
    id: bytes | None = None
    slot_id: int | None = None
    slot_manufacturer: str | None = None
    slot_description: str | None = None
    pin_source: str | None = None
    """Where the PIN is, never the PIN."""
    module_name: str | None = None
    module_path: str | None = None
    x_init_reserved: str | None = None
    """What goes into C_Initialize's pReserved, for a module that wants it."""

    def __post_init__(self) -> None:
        if self.type is not None and self.type not in _TYPES:
            raise InputError(f"PKCS#11 URI: 'type' must be one of {', '.join(_TYPES)}")
        version = self.library_version
        if version is not None and not re.fullmatch(r"[0-9]+(\.[0-9]+)?", version):
            raise InputError("PKCS#11 URI: 'library-version' must be written 2 or 2.40")
        if self.slot_id is not None and not 0 <= self.slot_id <= _MAX_SLOT_ID:
            raise InputError("PKCS#11 URI: 'slot-id' must be a number from 0 to 2^64 - 1")
        for name, value in self._given():
            if isinstance(value, str):
                _check_text(name, value)
        if len(str(self)) > _MAX_CHARS:
            raise InputError(f"PKCS#11 URI: longer than {_MAX_CHARS} characters")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a PKCS#11 URI.

        Raises: InputError that names the attribute and what is wrong; it repeats no value.
        """
        if not is_pkcs11_uri(text):
            raise InputError(f"a PKCS#11 URI starts with {_SCHEME!r}, this text does not")
        if len(text) > _MAX_CHARS:
            raise InputError(f"PKCS#11 URI: {len(text)} characters, expected {_MAX_CHARS} at most")
        path, _, query = text[len(_SCHEME) :].partition("?")
        values: dict[str, str | bytes | int] = {}
        for part, separator, in_query in ((path, ";", False), (query, "&", True)):
            for attribute in part.split(separator) if part else ():
                name, value = _attribute(attribute, separator, in_query=in_query)
                if name in values:
                    raise InputError(f"PKCS#11 URI: {name!r} is given twice; give it once")
                values[name] = value
        return cls(**{name.replace("-", "_"): value for name, value in values.items()})  # type: ignore[arg-type]  # _attribute gives each field its type

    def __str__(self) -> str:
        """The URI's text; ``Pkcs11Uri.parse`` of it gives an equal URI."""
        path: list[str] = []
        query: list[str] = []
        for name, value in self._given():
            if isinstance(value, bytes):
                # RFC 7512 §2.3 asks for every byte of an id to be percent-encoded.
                path.append(f"{name}=" + "".join(f"%{byte:02X}" for byte in value))
            elif name in _QUERY:
                query.append(f"{name}={quote(str(value), safe='/:@+,')}")
            else:
                path.append(f"{name}={quote(str(value), safe=':@+,')}")
        return _SCHEME + ";".join(path) + ("?" + "&".join(query) if query else "")

    def _given(self) -> list[tuple[str, str | bytes | int]]:
        """The attributes that are not None, named as in the URI."""
        pairs = ((f.name.replace("_", "-"), getattr(self, f.name)) for f in fields(self))
        return [(name, value) for name, value in pairs if value is not None]


def is_pkcs11_uri(text: str) -> bool:
    """True when the text claims to be a PKCS#11 URI; the scheme's case does not matter.

    >>> is_pkcs11_uri("PKCS11:token=a"), is_pkcs11_uri("dsc-key.pem")
    (True, False)
    """
    return text[: len(_SCHEME)].lower() == _SCHEME


def _check_text(name: str, value: str) -> None:
    """Refuse text that no token, file or module can bear."""
    if "\0" in value:
        raise InputError(f"PKCS#11 URI: {name!r} holds a NUL character")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"PKCS#11 URI: {name!r} is not text that UTF-8 can hold") from error


def _attribute(text: str, separator: str, *, in_query: bool) -> tuple[str, str | bytes | int]:
    """Read one ``name=value``; no message repeats the value, which may be a misplaced PIN."""
    name, equals, value = text.partition("=")
    if name == "pin-value":
        raise InputError(
            "PKCS#11 URI: 'pin-value' is refused, because URIs are seen in process lists and"
            " logs: use the prompt, --pin-env NAME or pin-source=file:/path instead"
        )
    if not equals or not _NAME.fullmatch(name):
        raise InputError(
            f"PKCS#11 URI: between {separator!r} there must be name=value, found something else"
        )
    _check_known(name, in_query=in_query)
    if not (_QUERY_VALUE if in_query else _PATH_VALUE).fullmatch(value):
        raise InputError(
            f"PKCS#11 URI: {name!r} holds a character that must be percent-encoded"
            " (a space is %20, '/' is %2F, '%' is %25; other letters as the bytes of their UTF-8)"
        )
    raw = unquote_to_bytes(value)
    if name == "id":
        return name, raw
    if name == "slot-id":
        if not re.fullmatch(rb"[0-9]{1,20}", raw):
            raise InputError("PKCS#11 URI: 'slot-id' must be decimal digits")
        return name, int(raw)
    try:
        return name, raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    # Raised out here, so that the chain does not carry the value in its cause.
    raise InputError(f"PKCS#11 URI: {name!r} is not percent-encoded UTF-8")


def _check_known(name: str, *, in_query: bool) -> None:
    known = [f.name.replace("_", "-") for f in fields(Pkcs11Uri)]
    path = [attribute for attribute in known if attribute not in _QUERY]
    if name not in known:
        raise InputError(
            f"PKCS#11 URI: attribute {name!r} is not known; known are {', '.join(path)},"
            f" and after '?' {', '.join(_QUERY)}"
        )
    if in_query and name in path:
        raise InputError(f"PKCS#11 URI: {name!r} belongs before the '?'")
    if not in_query and name not in path:
        raise InputError(f"PKCS#11 URI: {name!r} belongs after a '?'")
