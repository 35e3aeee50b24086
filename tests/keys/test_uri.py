"""PKCS#11 URIs, as RFC 7512 writes them."""

from __future__ import annotations

import contextlib
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaxpass_sign.errors import InputError
from vaxpass_sign.keys.uri import Pkcs11Uri

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=24)
URIS = st.builds(
    Pkcs11Uri,
    token=st.none() | TEXT,
    manufacturer=st.none() | TEXT,
    serial=st.none() | TEXT,
    model=st.none() | TEXT,
    library_manufacturer=st.none() | TEXT,
    library_description=st.none() | TEXT,
    library_version=st.none() | st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3})?", fullmatch=True),
    object=st.none() | TEXT,
    type=st.none() | st.sampled_from(["public", "private", "cert", "secret-key", "data"]),
    id=st.none() | st.binary(max_size=32),
    slot_id=st.none() | st.integers(0, 2**64 - 1),
    slot_manufacturer=st.none() | TEXT,
    slot_description=st.none() | TEXT,
    pin_source=st.none() | TEXT,
    module_name=st.none() | TEXT,
    module_path=st.none() | TEXT,
    x_init_reserved=st.none() | TEXT,
)


@given(URIS)
def test_text_round_trip(uri: Pkcs11Uri) -> None:
    """The text of any URI reads back as the same URI, in printable ASCII."""
    text = str(uri)
    assert Pkcs11Uri.parse(text) == uri
    assert text.isascii()
    assert text.isprintable()


@given(st.text(max_size=200))
def test_any_text_gives_a_uri_or_an_input_error(text: str) -> None:
    """No text makes parsing raise anything but InputError."""
    with contextlib.suppress(InputError):
        Pkcs11Uri.parse("pkcs11:" + text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("pkcs11:", Pkcs11Uri(), id="nothing given"),
        pytest.param("PKCS11:token=a", Pkcs11Uri(token="a"), id="scheme in capitals"),
        pytest.param("pkcs11:token=", Pkcs11Uri(token=""), id="empty value is a value"),
        pytest.param("pkcs11:token=a?", Pkcs11Uri(token="a"), id="empty query"),
        pytest.param(
            "pkcs11:token=Software%20PKCS%2311%20softtoken;manufacturer=Snake%20Oil,%20Inc.;"
            "object=my-certificate;type=cert;id=%69%95%3E%5C%F4%BD%EC%91"
            "?pin-source=file:/etc/token_pin",
            Pkcs11Uri(
                token="Software PKCS#11 softtoken",
                manufacturer="Snake Oil, Inc.",
                object="my-certificate",
                type="cert",
                id=bytes.fromhex("69953e5cf4bdec91"),
                pin_source="file:/etc/token_pin",
            ),
            id="RFC 7512 section 3",
        ),
        pytest.param(
            "pkcs11:slot-description=Sun%20Metaslot;slot-id=327;slot-manufacturer=S",
            Pkcs11Uri(slot_description="Sun Metaslot", slot_id=327, slot_manufacturer="S"),
            id="slot attributes",
        ),
        pytest.param(
            "pkcs11:library-manufacturer=M;library-description=D;library-version=3.1;model=X;serial=0a",
            Pkcs11Uri(
                library_manufacturer="M",
                library_description="D",
                library_version="3.1",
                model="X",
                serial="0a",
            ),
            id="library attributes",
        ),
        pytest.param(
            "pkcs11:id=0%310%00?module-path=/usr/lib/x.so&module-name=x",
            Pkcs11Uri(id=b"010\0", module_path="/usr/lib/x.so", module_name="x"),
            id="id as raw bytes",
        ),
        pytest.param(
            "pkcs11:token=a?x-init-reserved=configdir='sql:/a%20b'%20flags=%20",
            Pkcs11Uri(token="a", x_init_reserved="configdir='sql:/a b' flags= "),
            id="C_Initialize's pReserved",
        ),
        pytest.param(
            "pkcs11:token=B%E1%BB%99%20Y%20t%E1%BA%BF", Pkcs11Uri(token="Bộ Y tế"), id="Vietnamese"
        ),
    ],
)
def test_reads(text: str, expected: Pkcs11Uri) -> None:
    """What RFC 7512 allows is read as it means."""
    assert Pkcs11Uri.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("key.pem", ["starts with 'pkcs11:'"], id="no scheme"),
        pytest.param("pkcs11:" + "a" * 5000, ["5007 characters", "4096"], id="too long"),
        pytest.param("pkcs11:token=a;token=b", ["'token'", "twice"], id="token twice"),
        pytest.param("pkcs11:?module-name=a&module-name=a", ["'module-name'", "twice"], id="twice"),
        pytest.param(
            "pkcs11:colour=red", ["'colour'", "known are token", "pin-source"], id="unknown"
        ),
        pytest.param("pkcs11:x-vendor=1", ["'x-vendor'", "not known"], id="a vendor's attribute"),
        pytest.param("pkcs11:Token=a", ["'Token'", "not known"], id="wrong case"),
        pytest.param("pkcs11:token", ["name=value"], id="no equals sign"),
        pytest.param("pkcs11:token=a;", ["name=value"], id="trailing semicolon"),
        pytest.param("pkcs11:=a", ["name=value"], id="no name"),
        pytest.param("pkcs11:token=a b", ["'token'", "%20"], id="raw space"),
        pytest.param("pkcs11:token=a/b", ["'token'", "%2F"], id="raw slash in the path"),
        pytest.param("pkcs11:token=Bộ", ["'token'", "percent-encoded"], id="raw Vietnamese"),
        pytest.param("pkcs11:token=%4", ["'token'", "percent-encoded"], id="cut escape"),
        pytest.param("pkcs11:token=%zz", ["'token'", "percent-encoded"], id="bad escape"),
        pytest.param("pkcs11:token=%ff", ["'token'", "UTF-8"], id="not UTF-8"),
        pytest.param("pkcs11:token=%00", ["'token'", "NUL"], id="NUL"),
        pytest.param("pkcs11:type=key", ["'type'", "secret-key"], id="unknown type"),
        pytest.param("pkcs11:slot-id=-1", ["'slot-id'"], id="negative slot"),
        pytest.param("pkcs11:slot-id=18446744073709551616", ["'slot-id'"], id="slot too large"),
        pytest.param("pkcs11:library-version=2.", ["'library-version'"], id="bad version"),
        pytest.param("pkcs11:?token=a", ["'token'", "before the '?'"], id="path after ?"),
        pytest.param(
            "pkcs11:module-path=%2Fx", ["'module-path'", "after a '?'"], id="query before ?"
        ),
        pytest.param(
            "pkcs11:x-init-reserved=a", ["'x-init-reserved'", "after a '?'"], id="reserved before ?"
        ),
        pytest.param(
            "pkcs11:?x-init-reserved=a%00", ["'x-init-reserved'", "NUL"], id="reserved with NUL"
        ),
        pytest.param("pkcs11:token=a#b", ["'token'", "percent-encoded"], id="fragment"),
    ],
)
def test_refuses(text: str, words: list[str]) -> None:
    """What RFC 7512 doesn't allow is one line that names the attribute and the remedy."""
    with pytest.raises(InputError) as caught:
        Pkcs11Uri.parse(text)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "text",
    [
        "pkcs11:token=a?pin-value=48151623",
        "pkcs11:token=a;pin-value=48151623",
        "pkcs11:token=a?pin-value=4815%zz1623 48151623",
        "pkcs11:token=a?pin-vaule=48151623",
        "pkcs11:token=a?48151623",
        "pkcs11:token=a;48151623",
        "pkcs11:token=a?module-name=x&48151623%ff",
        "pkcs11:token=48151623%ff",
        "pkcs11:token=48151623;slot-id=48151623x",
    ],
)
def test_never_repeats_a_pin(text: str) -> None:
    """A PIN that was put into a URI comes back in no message, cause or traceback."""
    with pytest.raises(InputError) as caught:
        Pkcs11Uri.parse(text)
    shown = "".join(traceback.format_exception(caught.value))
    assert "48151623" not in shown.replace(repr(text), "")
    assert "48151623" not in f"{caught.value}{caught.value!r}"


def test_pin_value_is_refused_with_advice() -> None:
    """pin-value is answered with the three ways to give a PIN."""
    with pytest.raises(InputError, match="prompt, --pin-env NAME or pin-source"):
        Pkcs11Uri.parse("pkcs11:token=a?pin-value=1234")


def test_a_uri_is_valid_once_built() -> None:
    """A value that no URI can hold is refused by the constructor as well."""
    with pytest.raises(InputError, match="longer than 4096"):
        Pkcs11Uri(token="é" * 1000)
    with pytest.raises(InputError, match="UTF-8"):
        Pkcs11Uri(token="\udc80")
