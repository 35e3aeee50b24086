"""A DSC is put beside its key and no other, once, and the token shows it byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from asn1crypto.core import Integer
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from pkcs11.constants import Attribute, CertificateType, MechanismFlag, ObjectClass
from pkcs11.mechanisms import KeyType

from issuing import csca, sign_dsc
from proxy.proxy import Proxy
from tokens.leaks import assert_shows_no
from tokens.softhsm import SoftHsm
from vaxpass_sign.errors import CertificateError, PinError, TokenError, TokenLookupError
from vaxpass_sign.keys import certificate, open_signer
from vaxpass_sign.keys.certificate import import_dsc
from vaxpass_sign.keys.csr import signed_csr
from vaxpass_sign.keys.objects import attribute, objects
from vaxpass_sign.keys.proof import PROOF_MESSAGE
from vaxpass_sign.keys.session import TokenSession, open_session
from vaxpass_sign.keys.token_signer import Pkcs11Signer
from vaxpass_sign.keys.uri import Pkcs11Uri
from vaxpass_sign.x509 import Certificate, Subject

TOKEN = "dscs"
numbers = count(0x10)


class Key:
    """A new key on the token, and DSCs for it."""

    def __init__(self, hsm: SoftHsm, *, public_half: bool = True) -> None:
        self.hsm, self.private = hsm, ec.generate_private_key(ec.SECP256R1())
        self.ident = f"{next(numbers):02x}"
        self.label = f"dsc {self.ident}"
        hsm.import_key(self.private, self.label, self.ident, TOKEN)
        self.uri = Pkcs11Uri.parse(hsm.uri(self.label, token=TOKEN))
        if not public_half:
            with self.session() as session:
                for public in objects(session, ObjectClass.PUBLIC_KEY, label=self.label):
                    public.destroy()

    def session(self) -> TokenSession:
        return open_session(self.uri, self.hsm.pin, writable=True)

    def dsc(self) -> Certificate:
        return sign_dsc("token", public_key=self.private.public_key())

    def put(self, dsc: Certificate) -> certificate.ImportedDsc:
        return import_dsc(self.uri, dsc, self.hsm.pin)

    def certificates(self) -> list[bytes]:
        with self.session() as session:
            found = objects(session, ObjectClass.CERTIFICATE, id=bytes.fromhex(self.ident))
            return [item[Attribute.VALUE] for item in found]


@pytest.fixture(scope="module")
def token(softhsm: SoftHsm) -> SoftHsm:
    softhsm.add_token(TOKEN)
    return softhsm


@pytest.fixture
def key(token: SoftHsm) -> Key:
    return Key(token)


def test_the_object_is_the_dsc(key: Key) -> None:
    """Every attribute of the object is the key's or the DSC's, and none can be changed."""
    dsc = key.dsc()
    done = key.put(dsc)
    assert (done.is_new, done.others, done.left_out) == (True, (), ())
    assert f"'{key.label}' (id {key.ident})" in done.key
    read = x509.load_der_x509_certificate(dsc.der)
    expected = {
        Attribute.CERTIFICATE_TYPE: CertificateType.X_509,
        Attribute.TOKEN: True,
        Attribute.PRIVATE: False,
        Attribute.MODIFIABLE: False,
        Attribute.ID: bytes.fromhex(key.ident),
        Attribute.LABEL: key.label,
        Attribute.SUBJECT: read.subject.public_bytes(),
        Attribute.ISSUER: read.issuer.public_bytes(),
        Attribute.SERIAL_NUMBER: Integer(read.serial_number).dump(),
        Attribute.VALUE: dsc.der,
    }
    with key.session() as session:
        [item] = objects(session, ObjectClass.CERTIFICATE, label=key.label)
        assert {name: attribute(item, name) for name in expected} == expected


def test_the_public_half_is_found_in_the_dsc(token: SoftHsm) -> None:
    """Without a public key object a signer knows its public half from the DSC, and only then."""
    key = Key(token, public_half=False)
    with open_signer(str(key.uri), token.pin) as signer:
        assert signer.public_key is None
    key.put(key.dsc())
    with open_signer(str(key.uri), token.pin) as signer:
        assert signer.public_key == key.private.public_key()


def test_twice_is_once(key: Key) -> None:
    """The same DSC again changes nothing, and the answer says so."""
    dsc = key.dsc()
    assert key.put(dsc).is_new
    again = key.put(dsc)
    assert (again.is_new, again.others) == (False, ())
    assert key.certificates() == [dsc.der]


def test_another_certificate_of_that_id_stays(key: Key) -> None:
    """A DSC before this one is named and left; the key's public half is still found."""
    old, new = key.dsc(), key.dsc()
    key.put(old)
    done = key.put(new)
    assert done.is_new
    [other] = done.others
    assert old.kid.hex() in other
    assert sorted(key.certificates()) == sorted([old.der, new.der])
    assert key.put(old).others == (f"{new.subject} (kid {new.kid.hex()}, until 2028-01-15)",)
    with open_signer(str(key.uri), key.hsm.pin) as signer:
        assert signer.public_key == key.private.public_key()


def test_a_certificate_that_is_none_is_named(key: Key) -> None:
    """Bytes on the token that are no certificate are named as that."""
    with key.session() as session:
        session.session.create_object(
            {
                Attribute.CLASS: ObjectClass.CERTIFICATE,
                Attribute.CERTIFICATE_TYPE: CertificateType.X_509,
                Attribute.TOKEN: True,
                Attribute.ID: bytes.fromhex(key.ident),
                Attribute.SUBJECT: b"\x30\x00",
                Attribute.VALUE: b"junk",
            }
        )
    assert key.put(key.dsc()).others == ("4 bytes that are no readable certificate",)


@pytest.mark.parametrize("name", ["another key", "rsa"])
def test_a_dsc_of_another_key_is_refused(key: Key, name: str) -> None:
    """A DSC whose key is not the token's is never put there, whatever its kind."""
    with pytest.raises(CertificateError, match="is for another key") as caught:
        key.put(sign_dsc(name))
    assert_shows_no(caught.value, key.hsm.pin)
    assert key.certificates() == []


def test_what_is_signed_is_no_credential(key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    """One signature is made, over a text that begins as no COSE, certificate or request does."""
    signed: list[bytes] = []
    real = Pkcs11Signer.sign

    def sign(self: Pkcs11Signer, messages: list[bytes]) -> list[bytes]:
        signed.extend(messages)
        return real(self, messages)

    monkeypatch.setattr(Pkcs11Signer, "sign", sign)
    key.put(key.dsc())
    assert signed == [PROOF_MESSAGE]
    assert PROOF_MESSAGE.isascii()
    assert PROOF_MESSAGE[:1].isalpha()


def never() -> str:
    pytest.fail("asked for the PIN")


def test_a_ca_is_no_dsc(key: Key) -> None:
    """A CSCA is refused before the token is opened."""
    with pytest.raises(CertificateError, match="a CA's certificate"):
        import_dsc(key.uri, csca(), never)


def test_it_needs_a_login_and_a_key(key: Key) -> None:
    """Without a PIN, or without such a key, a line says so and nothing is made."""
    with pytest.raises(PinError, match="only after a login"):
        import_dsc(key.uri, key.dsc())
    uri = Pkcs11Uri.parse(key.hsm.uri("nowhere", token=TOKEN))
    with pytest.raises(TokenLookupError, match="no private key"):
        import_dsc(uri, key.dsc(), key.hsm.pin)
    assert key.certificates() == []


def test_a_key_that_wants_its_pin_each_time(token: SoftHsm) -> None:
    """A key with CKA_ALWAYS_AUTHENTICATE makes its request and gets its DSC; the PIN is asked once."""
    uri = Pkcs11Uri.parse(token.uri("each time", token=TOKEN))
    with open_session(uri, token.pin, writable=True) as session:
        session.session.generate_keypair(
            KeyType.EC,
            id=b"\xee",
            label="each time",
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            store=True,
            public_template={Attribute.EC_PARAMS: bytes.fromhex("06082a8648ce3d030107")},
            private_template={Attribute.ALWAYS_AUTHENTICATE: True},
        )
    asked: list[int] = []

    def ask() -> str:
        asked.append(1)
        return token.pin

    with open_signer(str(uri), ask) as signer:
        request = x509.load_der_x509_csr(signed_csr(signer, Subject("VN", "Ministry", "DSC 1")))
    assert asked == [1]
    dsc = sign_dsc("token", public_key=request.public_key())
    assert import_dsc(uri, dsc, ask).is_new
    assert asked == [1, 1]


@pytest.mark.parametrize(
    ("refusals", "left_out"),
    [
        (1, ("CKA_MODIFIABLE",)),
        (2, ("CKA_MODIFIABLE", "CKA_PRIVATE")),
        (3, None),
    ],
)
def test_a_module_that_refuses_an_attribute(
    token: SoftHsm, proxied: SoftHsm, proxy: Proxy, refusals: int, left_out: tuple[str, ...] | None
) -> None:
    """What a module refuses is left out, attribute by attribute, and named; then it is an error."""
    key, attribute_type_invalid = Key(token), "0x12"
    key.uri = Pkcs11Uri.parse(proxied.uri(key.label, token=TOKEN))
    proxy.fail("C_CreateObject", attribute_type_invalid, times=refusals)
    dsc = key.dsc()
    if left_out is None:
        with pytest.raises(TokenError, match=r"making a certificate object .*AttributeTypeInvalid"):
            key.put(dsc)
        assert key.certificates() == []
    else:
        assert key.put(dsc).left_out == left_out
        assert key.certificates() == [dsc.der]


def test_what_differs_is_destroyed(key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the token does not show what was put there, it is destroyed again."""
    real, calls = certificate._certificates, count()

    def once(*arguments: object) -> tuple[bool, list[bytes]]:
        return real(*arguments) if next(calls) == 0 else (False, [])  # type: ignore[arg-type]

    monkeypatch.setattr(certificate, "_certificates", once)
    with pytest.raises(TokenError, match=r"does not show the DSC .* it is destroyed again"):
        key.put(key.dsc())
    assert key.certificates() == []


@pytest.fixture
def faulty(token: SoftHsm, proxied: SoftHsm) -> Iterator[Key]:
    key = Key(token)
    key.uri = Pkcs11Uri.parse(proxied.uri(key.label, token=TOKEN))
    return key


FUNCTIONS = ("C_OpenSession", "C_FindObjects", "C_GetAttributeValue", "C_Sign", "C_CreateObject")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_call_may_fail(faulty: Key, proxy: Proxy, function: str) -> None:
    """Whichever call fails, there is a one-line error and no certificate, or all is done."""
    dsc = faulty.dsc()
    for at in range(1, 100):
        fault = proxy.fail(function, "CKR_DEVICE_ERROR", at=at)
        try:
            faulty.put(dsc)
        except TokenError as error:
            assert "\n" not in str(error)  # noqa: PT017
            assert not getattr(error, "__notes__", ())  # noqa: PT017
            expected = []
        else:
            expected = [dsc.der]
        struck = fault.hits
        proxy.clear(fault)
        assert faulty.certificates() == expected, at
        if not struck:
            return
        with faulty.session() as session:
            for item in objects(session, ObjectClass.CERTIFICATE, label=faulty.label):
                item.destroy()
    pytest.fail(f"{function} is called more than {at} times")
