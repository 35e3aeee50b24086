"""Framing: zlib, base45, prefix; stored where deflating does not help; bounded when read."""

from __future__ import annotations

import random
import zlib

import base45 as other
import pytest
import zxingcpp
from hypothesis import given
from hypothesis import strategies as st

from vaxpass_sign.errors import HcertError
from vaxpass_sign.hcert import base45, framing
from vaxpass_sign.hcert.faults import Fault
from vaxpass_sign.hcert.qr_capacity import QR_CAPACITY, qr_version


def code_of(text: str) -> str:
    with pytest.raises(HcertError) as caught:
        framing.unframe(text)
    return caught.value.code


@given(st.binary(max_size=1500), st.integers(0, 1500))
def test_read_by_zlib_and_the_base45_package(message: bytes, payload_bytes: int) -> None:
    """What is framed is read by the standard library's zlib and the base45 package."""
    text = framing.frame(message, payload_bytes)
    assert zlib.decompress(other.b45decode(text[4:])) == message
    assert framing.unframe(text) == message


def test_small_payloads_are_stored() -> None:
    """A message with a payload of up to 288 bytes is one stored block, however well it deflates."""
    message = bytes(350)
    assert framing.deflate(message, 288) == framing.stored(message)
    assert len(framing.stored(message)) == 350 + framing.STORED_OVERHEAD


def test_deflated_only_for_a_smaller_symbol() -> None:
    """Whenever deflating was tried and kept, a small saving would have reached a smaller symbol."""
    rng = random.Random(1)
    for size in range(300, 1600):
        payload_bytes = rng.randrange(0, size)
        length = size + framing.STORED_OVERHEAD
        saving = (payload_bytes - framing.SMALL_PAYLOAD) // 4
        reached = saving > 0 and qr_version(framing.text_length(length - saving)) != qr_version(
            framing.text_length(length)
        )
        assert framing.worth_deflating(size, payload_bytes) == reached, (size, payload_bytes)


def test_a_long_payload_deflates() -> None:
    """A payload of repeated text comes out in a smaller QR symbol than stored."""
    message = b"Trung tam Kiem soat benh tat tinh Thai Nguyen, " * 10
    lengths = set()
    for extra in range(60):
        lengths.add(len(framing.deflate(message + bytes(range(extra)), 470 + extra)) < 400)
    assert True in lengths


@pytest.mark.parametrize("level", [0, 9])
def test_bound_on_inflated_size(level: int) -> None:
    """A message of exactly the bound is read, one byte more is not."""
    message = b"vaxpass " * (framing.MAX_MESSAGE_BYTES // 8)
    assert framing.inflate(zlib.compress(message, level)) == message
    with pytest.raises(HcertError) as caught:
        framing.inflate(zlib.compress(message + b"!", level))
    assert caught.value.code == Fault.INFLATED_TOO_LARGE


@given(st.binary(max_size=100), st.integers(0, 110), st.integers(0, 255))
def test_a_stored_block_is_read_as_zlib_reads_it(message: bytes, place: int, byte: int) -> None:
    """A stream of one stored block with any byte changed: the standard library's zlib agrees."""
    data = bytearray(framing.stored(message))
    data[place % len(data)] = byte
    expected = zlib.decompressobj()
    try:
        found = expected.decompress(bytes(data))
    except zlib.error:
        found = None
    if found is not None and expected.eof and not expected.unused_data:
        assert framing.inflate(bytes(data)) == found
    else:
        with pytest.raises(HcertError):
            framing.inflate(bytes(data))


def test_bound_on_a_stored_block() -> None:
    """A stored block of exactly the bound is read, one byte more is not."""
    message = bytes(framing.MAX_MESSAGE_BYTES)
    assert framing.inflate(framing.stored(message)) == message
    with pytest.raises(HcertError) as caught:
        framing.inflate(framing.stored(message + b"!"))
    assert caught.value.code == Fault.INFLATED_TOO_LARGE


def bomb(size: int) -> bytes:
    compressor = zlib.compressobj(9)
    block = bytes(1 << 20)
    return b"".join(compressor.compress(block) for _ in range(size >> 20)) + compressor.flush()


def hc1(data: bytes) -> str:
    return "HC1:" + other.b45encode(data).decode()


GOOD = zlib.compress(b"a message")
HOSTILE = [
    ("nothing", "", Fault.NOT_HC1),
    ("another version", "HC2:" + hc1(GOOD)[4:], Fault.NOT_HC1),
    ("lower case", hc1(GOOD).lower(), Fault.NOT_HC1),
    ("a space before", " " + hc1(GOOD), Fault.NOT_HC1),
    ("the prefix alone", "HC1:", Fault.NOT_COMPRESSED),
    ("base45 cut short", hc1(GOOD)[: -1 if len(GOOD) % 2 else -2], Fault.BASE45),
    ("a character outside", hc1(GOOD) + "abc", Fault.BASE45),
    ("longer than any QR", "HC1:" + "0" * 4293, Fault.TOO_LONG),
    ("not compressed", hc1(b"\xd2\x84plain"), Fault.NOT_COMPRESSED),
    ("gzip instead", hc1(b"\x1f\x8b\x08\x00"), Fault.NOT_COMPRESSED),
    ("raw deflate instead", hc1(GOOD[2:-4]), Fault.NOT_COMPRESSED),
    ("stream cut short", hc1(GOOD[:-5]), Fault.INFLATE),
    ("checksum missing", hc1(GOOD[:-4]), Fault.INFLATE),
    ("checksum wrong", hc1(GOOD[:-1] + bytes((GOOD[-1] ^ 1,))), Fault.INFLATE),
    ("bytes after it", hc1(GOOD + b"more"), Fault.INFLATE),
    ("two streams", hc1(GOOD + GOOD), Fault.INFLATE),
    ("a preset dictionary", hc1(b"\x78\xbb\x00\x00\x00\x01\x00"), Fault.INFLATE),
    ("a bomb of 2 MB in 2 kB", hc1(bomb(2 << 20)), Fault.INFLATED_TOO_LARGE),
    ("a bomb of 2 GB", hc1(bomb(64 << 20) * 32), Fault.TOO_LONG),
]


@pytest.mark.parametrize(("text", "fault"), [h[1:] for h in HOSTILE], ids=[h[0] for h in HOSTILE])
def test_refuses(text: str, fault: Fault) -> None:
    """Refuses hostile text, each with its own fault."""
    assert code_of(text) == fault


def test_a_bomb_is_not_inflated() -> None:
    """A stream that would give 1 GB gives no more than the bound before it is refused."""
    with pytest.raises(HcertError) as caught:
        framing.inflate(bomb(1 << 30))
    assert caught.value.code == Fault.INFLATED_TOO_LARGE


def test_capacities_are_the_real_symbols() -> None:
    """At its capacity the drawn symbol has that version; one character more gives the next."""
    for version, capacity in enumerate(QR_CAPACITY, start=1):
        for length, expected in ((capacity, version), (capacity + 1, version + 1)):
            if expected > 40:
                continue
            barcode = zxingcpp.create_barcode(
                base45.ALPHABET[10] * length, zxingcpp.BarcodeFormat.QRCode, ec_level="Q"
            )
            side = memoryview(barcode.to_image(scale=1, add_quiet_zones=False)).shape[0]
            assert side == 17 + 4 * expected
            assert qr_version(length) == expected
