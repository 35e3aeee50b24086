"""A PIV smart card in software, as slow as a real one: keys, PIN and APDUs of NIST SP 800-73-4.

It holds P-256 in 9A, P-256 in 9C, which wants its PIN for each signature, and RSA 2048 in 9D. What
middleware asks a card for that signs is there, and nothing else: no card management, no making of
keys. As a program it serves vsmartcard's vpcd driver on the loopback interface:

    python piv_card.py FOLDER PORT DELAY_S

In FOLDER it writes the public keys (``9a.pem``, …) and then ``ready``.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PIN: Final = "471147"
MAX_TRIES: Final = 3

# A YubiKey 5's: OpenSC 0.23 offers EC keys for PIV cards that it knows, and not for others.
ATR: Final = bytes.fromhex("3bfd1300008131fe158073c021c057597562694b657940")
FIRMWARE: Final = bytes((5, 4, 3))
AID: Final = bytes.fromhex("a000000308000010000100")

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

SLOTS: Final = {0x9A: "5fc105", 0x9C: "5fc10a", 0x9D: "5fc10b"}
"""The data object that holds each key's certificate (part 1, table 3)."""
PIN_ALWAYS: Final = 0x9C

# Status words of ISO/IEC 7816-4.
OK: Final = 0x9000
MORE_DATA: Final = 0x6100
WRONG_PIN: Final = 0x63C0
NOT_ALLOWED: Final = 0x6982
LOCKED: Final = 0x6983
WRONG_DATA: Final = 0x6A80
NOT_FOUND: Final = 0x6A82
NO_SUCH_KEY: Final = 0x6A88
NO_SUCH_COMMAND: Final = 0x6D00


def tlv(tag: str, value: bytes) -> bytes:
    """A BER-TLV data object; the tag in hexadecimal digits."""
    size = len(value)
    if size < 0x80:
        length = bytes((size,))
    elif size < 0x100:
        length = bytes((0x81, size))
    else:
        length = b"\x82" + size.to_bytes(2, "big")
    return bytes.fromhex(tag) + length + value


def parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The objects with tags of one byte that follow one another in ``data``."""
    at = 0
    while at < len(data):
        tag, size, at = data[at], data[at + 1], at + 2
        if size & 0x80:
            width = size & 0x7F
            size, at = int.from_bytes(data[at : at + width], "big"), at + width
        yield tag, data[at : at + size]
        at += size


def certificate(key: PrivateKey, name: str) -> bytes:
    """A certificate of the key by itself: middleware reads the public key and its use from it."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    uses = dict.fromkeys(
        "key_encipherment data_encipherment key_agreement key_cert_sign crl_sign".split(), False
    )
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=True,
        encipher_only=False,
        decipher_only=False,
        **uses,
    )
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(begin).not_valid_after(begin + timedelta(days=3650))
    signed = builder.add_extension(usage, critical=True).sign(key, SHA256())
    return signed.public_bytes(Encoding.DER)


class Card:
    """The card: ``answer`` takes a command APDU and gives the response APDU.

    Args:
        delay_s: how long each signature takes.
    """

    atr = ATR

    def __init__(self, delay_s: float = 0) -> None:
        self.delay_s = delay_s
        self.tries = MAX_TRIES
        self.keys: dict[int, PrivateKey] = {
            slot: rsa.generate_private_key(65537, 2048)
            if slot == 0x9D
            else ec.generate_private_key(ec.SECP256R1())
            for slot in SLOTS
        }
        self.objects = {
            SLOTS[slot]: tlv("70", certificate(key, f"PIV {slot:02X}"))
            + bytes.fromhex("710100fe00")
            for slot, key in self.keys.items()
        }
        # CHUID: FASC-N, card's UUID, expiry, no signature (part 1, §3.1.2).
        self.objects["5fc102"] = (
            tlv("30", bytes.fromhex("d4e739da739ced39ce739d836858210842108421c84210c3eb"))
            + tlv("34", b"vaxpass-testcard")
            + tlv("35", b"20361231")
            + bytes.fromhex("3e00fe00")
        )
        self.reset()

    def reset(self) -> None:
        """The card was plugged in, or its power was switched: its PIN is to be given again."""
        self.verified = self.just_verified = False
        self.begun = self.rest = b""

    def answer(self, command: bytes) -> bytes:
        """The response to one command."""
        data, status = self._answer(command)
        if len(data) > 0x100:
            data, self.rest = data[:0x100], data[0x100:]
            status = MORE_DATA | (len(self.rest) if len(self.rest) < 0x100 else 0)
        return data + status.to_bytes(2, "big")

    def _answer(self, command: bytes) -> tuple[bytes, int]:  # noqa: PLR0911 (one for each command)
        chained, instruction, p1, p2 = command[0] & 0x10, *command[1:4]
        body = command[5 : 5 + command[4]] if len(command) > 5 else b""
        if chained:
            self.begun += body
            return b"", OK
        body, self.begun = self.begun + body, b""
        match instruction:
            case 0xA4:
                return self._select(body)
            case 0xC0:
                rest, self.rest = self.rest, b""
                return rest, OK
            case 0xCB:
                return self._get_data(body)
            case 0x20:
                return self._verify(p2, body)
            case 0x87:
                return self._authenticate(p1, p2, body)
            case 0xFD:
                return FIRMWARE, OK
        return b"", NO_SUCH_COMMAND

    def _select(self, name: bytes) -> tuple[bytes, int]:
        if not name.startswith(AID[:5]):
            return b"", NOT_FOUND
        return tlv("61", tlv("4f", AID[5:]) + tlv("79", tlv("4f", AID[:5]))), OK

    def _get_data(self, body: bytes) -> tuple[bytes, int]:
        tag = body[2 : 2 + body[1]].hex()
        if tag == "7e":  # the discovery object: the application's PIN and no other
            return tlv("7e", tlv("4f", AID) + tlv("5f2f", b"\x40\x00")), OK
        if tag not in self.objects:
            return b"", NOT_FOUND
        return tlv("53", self.objects[tag]), OK

    def _verify(self, reference: int, pin: bytes) -> tuple[bytes, int]:
        if reference != 0x80:
            return b"", NO_SUCH_KEY
        if not self.tries:
            return b"", LOCKED
        if not pin:  # how many tries are left, without making one
            return b"", OK if self.verified else WRONG_PIN | self.tries
        right = pin.rstrip(b"\xff") == PIN.encode()
        self.tries = MAX_TRIES if right else self.tries - 1
        self.verified = self.just_verified = right
        if right:
            return b"", OK
        return b"", WRONG_PIN | self.tries if self.tries else LOCKED

    def _authenticate(self, algorithm: int, slot: int, body: bytes) -> tuple[bytes, int]:
        """GENERAL AUTHENTICATE with a challenge, which is how a PIV card signs."""
        key = self.keys.get(slot)
        if key is None:
            return b"", NO_SUCH_KEY
        if not (self.just_verified if slot == PIN_ALWAYS else self.verified):
            return b"", NOT_ALLOWED
        self.just_verified = False
        template = dict(parts(body)).get(0x7C, b"")
        challenge = dict(parts(template)).get(0x81, b"")
        time.sleep(self.delay_s)
        if algorithm == 0x11 and isinstance(key, ec.EllipticCurvePrivateKey):
            signature = key.sign(challenge, ec.ECDSA(Prehashed(SHA256())))
        elif algorithm == 0x07 and isinstance(key, rsa.RSAPrivateKey):
            # The padding is the middleware's; the card has the bare RSA operation alone.
            numbers = key.private_numbers()
            modulus = numbers.public_numbers.n
            number = pow(int.from_bytes(challenge, "big"), numbers.d, modulus)
            signature = number.to_bytes(256, "big")
        else:
            return b"", WRONG_DATA
        return tlv("7c", tlv("82", signature)), OK


class Blank:
    """A card of no use, for the reader's second slot."""

    atr: Final = b"\x3b\x00"

    def reset(self) -> None:
        """It has no state."""

    def answer(self, command: bytes) -> bytes:
        """No command is known."""
        return NO_SUCH_COMMAND.to_bytes(2, "big")


def serve(card: Card | Blank, listening: socket.socket) -> None:
    """Serve one slot of vpcd, which connects once and asks for the ATR, or sends APDUs.

    Each message is its length in two bytes and its content; a content of one byte is a control
    code. The driver (vsmartcard 3.3) aborts when its connection ends or gives no ATR, so neither
    slot can be empty, and the card can't be pulled out of the reader alone.
    """
    power_off, reset, atr = 0, 2, 4
    connection, _ = listening.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection, connection.makefile("rb") as stream:
        while header := stream.read(2):
            # The driver sends length and content apart, and Nagle's algorithm holds the second
            # back until the first one is acknowledged.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            message = stream.read(*struct.unpack(">H", header))
            if len(message) > 1:
                response = card.answer(message)
            elif message[0] == atr:
                response = card.atr
            else:
                if message[0] in (power_off, reset):
                    card.reset()
                continue
            connection.sendall(struct.pack(">H", len(response)) + response)


def main(folder: Path, port: int, delay_s: float) -> None:
    card = Card(delay_s)
    for slot, key in card.keys.items():
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / f"{slot:02x}.pem").write_bytes(public)
    # vpcd has two slots, on this port and the next.
    first, second = (socket.create_server(("127.0.0.1", port + n)) for n in range(2))
    (folder / "ready").touch()
    threading.Thread(target=_serve_always, args=(Blank(), second), daemon=True).start()
    _serve_always(card, first)


def _serve_always(card: Card | Blank, listening: socket.socket) -> None:
    """A reader that was restarted connects again; the card keeps its keys and its tries.

    One that is killed in the midst of a message leaves a part of it, or nobody who takes the answer.
    """
    while True:
        with suppress(OSError, struct.error, IndexError):
            serve(card, listening)
        card.reset()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
