"""Signing on a real SoftHSM: signatures, threads, forks, logins, and closing."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from pkcs11.constants import Attribute, MechanismFlag, ObjectClass
from pkcs11.mechanisms import KeyType

from tokens.softhsm import SoftHsm
from vaxpass_sign.errors import TokenError
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.keys import open_signer
from vaxpass_sign.keys.cryptoki import Functions
from vaxpass_sign.keys.session import TokenSession, open_session
from vaxpass_sign.keys.signer import PublicKey, Signer
from vaxpass_sign.keys.token_signer import Pkcs11Signer
from vaxpass_sign.keys.uri import Pkcs11Uri

MESSAGES = [b"", b"a", b"b" * 350, bytes(100_000)]
P256_PARAMS = bytes.fromhex("06082a8648ce3d030107")


def check(key: PublicKey, message: bytes, signature: bytes) -> None:
    """Verify with cryptography, which is not the token's code."""
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, message, padding.PSS(padding.MGF1(SHA256()), 32), SHA256())
        return
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    key.verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))


def is_idle(hsm: SoftHsm) -> bool:
    """True when nothing in this process has the module initialised any more."""
    library = ctypes.CDLL(str(hsm.module))
    idle = library.C_Initialize(None) == 0
    if idle:
        library.C_Finalize(None)
    return idle


@pytest.fixture
def logins(monkeypatch: pytest.MonkeyPatch) -> list[bytes | None]:
    """The PINs that were really sent to the token, in order."""
    sent: list[bytes | None] = []
    real = Functions.login

    def login(self: Functions, session: int, pin: bytes | None, *, so: bool = False) -> int:
        sent.append(pin)
        return real(self, session, pin, so=so)

    monkeypatch.setattr(Functions, "login", login)
    return sent


@pytest.fixture
def writable(softhsm: SoftHsm) -> Iterator[TokenSession]:
    """A session to make keys in that no URI of the other tests matches."""
    with open_session(Pkcs11Uri.parse(softhsm.uri()), softhsm.pin, writable=True) as session:
        yield session


@pytest.mark.parametrize(
    ("label", "alg", "length"), [("ec", Alg.ES256, 64), ("rsa", Alg.PS256, 256)]
)
def test_signatures_verify(softhsm: SoftHsm, label: str, alg: Alg, length: int) -> None:
    """ES256 is raw r‖s of 64 bytes, PS256 as long as the modulus; both verify elsewhere."""
    with open_signer(softhsm.uri(label), softhsm.pin) as signer:
        assert signer.alg is alg
        signatures = signer.sign(MESSAGES)
        assert signer.sign([]) == []
    assert len(signatures) == len(MESSAGES)
    for message, signature in zip(MESSAGES, signatures, strict=True):
        assert len(signature) == length
        check(softhsm.keys[label].public_key(), message, signature)
        with pytest.raises(InvalidSignature):
            check(softhsm.keys[label].public_key(), message + b"x", signature)


@pytest.mark.parametrize("label", ["ec", "rsa"])
def test_the_public_key_is_the_tokens(softhsm: SoftHsm, label: str) -> None:
    """The public half is read from the token and is the imported key's."""
    with open_signer(softhsm.uri(label), softhsm.pin) as signer:
        assert signer.public_key == softhsm.keys[label].public_key()


def test_a_key_found_by_its_id(softhsm: SoftHsm) -> None:
    """A URI may name the key by its CKA_ID and the token by its serial number."""
    with open_session(Pkcs11Uri.parse(softhsm.uri())) as session:
        serial = session.token.serial.decode()
    uri = f"pkcs11:serial={serial};id=%A1;type=private?module-path={softhsm.module}"
    with open_signer(uri, softhsm.pin) as signer:
        check(softhsm.keys["ec"].public_key(), b"a", signer.sign([b"a"])[0])


def test_the_pin_may_come_from_a_function_or_the_pin_source(softhsm: SoftHsm) -> None:
    """A function is asked once; a pin-source is read."""
    asked: list[int] = []
    with open_signer(softhsm.uri("ec"), lambda: asked.append(1) or softhsm.pin) as signer:
        assert len(signer.sign([b"a"])[0]) == 64
    assert asked == [1]
    path = softhsm.directory / "pin"
    path.touch(0o600)
    path.write_text(softhsm.pin + "\n")
    with open_signer(f"{softhsm.uri('ec')}&pin-source=file:{path}") as signer:
        assert len(signer.sign([b"a"])[0]) == 64


def test_one_signer_closed_the_other_signs_on(softhsm: SoftHsm, logins: list[bytes | None]) -> None:
    """Two signers on one token log in once; closing either leaves the other working."""
    first = open_signer(softhsm.uri("ec"), softhsm.pin)
    second = open_signer(softhsm.uri("rsa"), softhsm.pin)
    third = open_signer(softhsm.uri("ec"))  # the process is logged in: no PIN is needed
    assert logins == [softhsm.pin.encode()]
    first.close()
    first.close()
    check(softhsm.keys["rsa"].public_key(), b"a", second.sign([b"a"])[0])
    second.close()
    check(softhsm.keys["ec"].public_key(), b"b", third.sign([b"b"])[0])
    third.close()
    assert is_idle(softhsm)


def test_a_closed_signer_does_not_sign(softhsm: SoftHsm) -> None:
    """After close, signing is a TokenError that says so, also while another signer is open."""
    with open_signer(softhsm.uri("ec"), softhsm.pin), open_signer(softhsm.uri("ec")) as closed:
        closed.close()
        with pytest.raises(TokenError, match="is closed"):
            closed.sign([b"a"])


@pytest.mark.parametrize("label", ["ec", "rsa"])
def test_four_threads_share_a_signer(softhsm: SoftHsm, label: str) -> None:
    """Four threads with one signer get valid signatures of their own messages."""
    with open_signer(softhsm.uri(label), softhsm.pin) as signer:
        _sign_in_threads(softhsm, label, lambda: signer)


@pytest.mark.parametrize("label", ["ec", "rsa"])
def test_four_threads_with_a_signer_each(softhsm: SoftHsm, label: str) -> None:
    """Four threads that open and close signers of their own don't disturb one another."""
    opened: list[Signer] = []

    def open_one() -> Signer:
        opened.append(open_signer(softhsm.uri(label), softhsm.pin))
        return opened[-1]

    _sign_in_threads(softhsm, label, open_one)
    for signer in opened:
        signer.close()
    assert is_idle(softhsm)


def _sign_in_threads(hsm: SoftHsm, label: str, signer_of: Callable[[], Signer]) -> None:
    key = hsm.keys[label].public_key()
    barrier = threading.Barrier(4)

    def work(number: int) -> int:
        barrier.wait()
        signer = signer_of()
        count = 0
        for start in range(0, 300, 30):
            messages = [f"{number}-{start + i}".encode() for i in range(30)]
            for message, signature in zip(messages, signer.sign(messages), strict=True):
                check(key, message, signature)
                count += 1
        return count

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [300] * 4


def test_threads_open_and_close_in_turn(softhsm: SoftHsm) -> None:
    """Opening and closing in four threads at once never logs a signing thread out."""

    def work(number: int) -> None:
        for i in range(15):
            with open_signer(softhsm.uri("ec"), softhsm.pin) as signer:
                message = f"{number}-{i}".encode()
                check(softhsm.keys["ec"].public_key(), message, signer.sign([message])[0])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert is_idle(softhsm)


def test_a_forked_child_gets_an_error_and_can_open_its_own(softhsm: SoftHsm) -> None:
    """The child can't sign with the parent's signer, opens one, and the parent signs on."""
    with open_signer(softhsm.uri("ec"), softhsm.pin) as signer:
        answer = _in_child(lambda: _child_answer(softhsm, signer))
        assert answer == "TokenError: forked; own signature verifies"
        check(softhsm.keys["ec"].public_key(), b"parent", signer.sign([b"parent"])[0])


def _child_answer(hsm: SoftHsm, signer: Signer) -> str:
    try:
        signer.sign([b"child"])
    except TokenError as error:
        answer = "TokenError: forked" if "forked" in str(error) else str(error)
    else:
        return "signed"
    with open_signer(hsm.uri("ec"), hsm.pin) as own:
        check(hsm.keys["ec"].public_key(), b"own", own.sign([b"own"])[0])
    # What the parent left is given up without touching the parent's session.
    signer.close()
    gc.collect()
    return answer + "; own signature verifies"


def _in_child(work: Callable[[], str]) -> str:
    """Run in a forked child; its answer, or the error that it met."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of forks beside threads; forking is what is tested here.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            answer = work()
        except BaseException as error:  # the parent must hear of everything
            answer = repr(error)
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the child ended with status {status} after {answer!r}"
    return answer


def test_an_interrupt_between_two_calls_leaves_a_working_session(
    softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C after C_SignInit does not block the session for the next batch."""
    with Pkcs11Signer(softhsm.uri("ec"), softhsm.pin) as signer:
        functions = signer._opened.module.functions
        real = functions.sign_init

        def interrupted(*arguments: object) -> int:
            real(*arguments)
            raise KeyboardInterrupt

        functions.sign_init = interrupted
        with pytest.raises(KeyboardInterrupt):
            signer.sign([b"a"])
        functions.sign_init = real
        check(softhsm.keys["ec"].public_key(), b"b", signer.sign([b"b"])[0])


def test_a_message_that_is_not_bytes_spoils_nothing(softhsm: SoftHsm) -> None:
    """Text instead of bytes is a TypeError, and the signer goes on afterwards."""
    with open_signer(softhsm.uri("ec"), softhsm.pin) as signer:
        with pytest.raises(TypeError):
            signer.sign([b"a", "text"])  # type: ignore[list-item]
        check(softhsm.keys["ec"].public_key(), b"b", signer.sign([b"b"])[0])


def test_a_lost_session_is_a_token_error(softhsm: SoftHsm) -> None:
    """When the token ended the session, signing says what was done, where, and what to try."""
    with Pkcs11Signer(softhsm.uri("ec"), softhsm.pin) as signer:
        signer._opened.session.close()
        with pytest.raises(TokenError) as caught:
            signer.sign([b"a", b"b"])
        for word in (
            "message 1 of 2",
            "'vaxpass test'",
            "CKR_SESSION_HANDLE_INVALID",
            "open it again",
        ):
            assert word in str(caught.value)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        pytest.param({Attribute.SIGN: False}, "CKA_SIGN is false", id="not for signing"),
    ],
)
def test_a_key_that_may_not_sign_is_refused(
    softhsm: SoftHsm, writable: TokenSession, template: dict[Attribute, object], words: str
) -> None:
    """A key that can't sign as wanted is refused at opening, by name."""
    public, private = writable.session.generate_keypair(
        KeyType.EC,
        id=b"\xee",
        label="unfit",
        capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
        store=True,
        public_template={Attribute.EC_PARAMS: P256_PARAMS},
        private_template=template,
    )
    try:
        with pytest.raises(TokenError, match=words):
            open_signer(softhsm.uri("unfit"), softhsm.pin)
    finally:
        public.destroy()
        private.destroy()


def test_without_a_public_object_an_ec_key_has_no_public_half(
    softhsm: SoftHsm, writable: TokenSession
) -> None:
    """A private EC key alone signs; its public half is None rather than a guess."""
    public, private = writable.session.generate_keypair(
        KeyType.EC,
        id=b"\xef",
        label="alone",
        capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
        store=True,
        public_template={Attribute.EC_PARAMS: P256_PARAMS},
    )
    public.destroy()
    try:
        with open_signer(softhsm.uri("alone"), softhsm.pin) as signer:
            assert signer.public_key is None
            assert len(signer.sign([b"a"])[0]) == 64
    finally:
        private.destroy()


def test_a_certificate_gives_the_public_half(softhsm: SoftHsm, writable: TokenSession) -> None:
    """Without a public key object, a certificate with the same CKA_ID gives the public key."""
    key = ec.generate_private_key(ec.SECP256R1())
    softhsm.import_key(key, "certified", "ec")
    public = writable.session.get_key(object_class=ObjectClass.PUBLIC_KEY, label="certified")
    public.destroy()
    certificate = writable.session.create_object(
        {
            Attribute.CLASS: ObjectClass.CERTIFICATE,
            Attribute.CERTIFICATE_TYPE: 0,
            Attribute.TOKEN: True,
            Attribute.ID: b"\xec",
            Attribute.LABEL: "another label",
            Attribute.SUBJECT: b"0\0",
            Attribute.VALUE: _certificate(key),
        }
    )
    try:
        with open_signer(softhsm.uri("certified"), softhsm.pin) as signer:
            assert signer.public_key == key.public_key()
    finally:
        certificate.destroy()
        writable.session.get_key(object_class=ObjectClass.PRIVATE_KEY, label="certified").destroy()


def _certificate(key: ec.EllipticCurvePrivateKey) -> bytes:
    from datetime import UTC, datetime

    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
        .sign(key, SHA256())
        .public_bytes(Encoding.DER)
    )
