"""Signed trust lists for tests, whole or forged; signed with real keys."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import timedelta

from asn1crypto import algos, cms
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from issuing import NOW, csca, private_key, sign_csca
from vaxpass_sign.x509 import Certificate

_HASHES = {"sha1": hashes.SHA1, "sha256": hashes.SHA256, "sha384": hashes.SHA384}

_cache: dict[tuple, Certificate] = {}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def anchor(name: str = "list anchor") -> Certificate:
    """A self-signed CA, the same for the whole session."""
    key = ("anchor", name)
    if key not in _cache:
        _cache[key] = sign_csca(name)
    return _cache[key]


def leaf(
    key_name: str,
    country: str = "VN",
    issuer: str = "csca",
    days: int = 730,
    usage: bool = True,
    public_key=None,
    extended: str | None = None,
) -> Certificate:
    """A certificate that a named CA issued for a named key; ``usage``: for signatures."""
    key = (
        "leaf",
        key_name,
        country,
        issuer,
        days,
        usage,
        public_key and public_key.public_numbers(),
        extended,
    )
    public_key = public_key or private_key(key_name).public_key()
    if key not in _cache:
        ca = csca() if issuer == "csca" else anchor(issuer)
        names = [(NameOID.COUNTRY_NAME, country), (NameOID.COMMON_NAME, f"Leaf {key_name}")]
        ski = x509.SubjectKeyIdentifier(ca.ski)
        built = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(*name) for name in names]))
            .issuer_name(x509.load_der_x509_certificate(ca.der).subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - timedelta(days=30))
            .not_valid_after(NOW + timedelta(days=days))
            .add_extension(
                x509.KeyUsage(usage, False, not usage, False, False, False, False, False, False),
                True,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski), False
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), False)
        )
        if extended is not None:
            oids = [x509.ObjectIdentifier(extended)]
            built = built.add_extension(x509.ExtendedKeyUsage(oids), False)
        built = built.sign(private_key(issuer), hashes.SHA256())
        _cache[key] = Certificate.from_bytes(built.public_bytes(Encoding.DER))
    return _cache[key]


# --- CMS ------------------------------------------------------------------------------------


def sign_cms(
    content: bytes,
    signer: Certificate,
    key_name: str,
    *,
    enclosed: bytes | None = None,
    attributes: bool = True,
    digest: str = "sha256",
    pss: bool = False,
    attribute_digest: bytes | None = None,
    attribute_type: str = "data",
    repeat: str | None = None,
    leave_out: str | None = None,
    by_key_id: bool = False,
    algorithm: str | None = None,
    content_type: str = "data",
) -> bytes:
    """SignedData over ``content``; every keyword after ``pss`` forges one part before signing."""
    key = private_key(key_name)
    values = {
        "content_type": attribute_type,
        "message_digest": attribute_digest or hashlib.new(digest, content).digest(),
    }
    listed = [(name, value) for name, value in values.items() if name != leave_out]
    listed += [(name, value) for name, value in listed if name == repeat]
    attrs = cms.CMSAttributes([{"type": name, "values": [value]} for name, value in listed])
    signed = attrs.dump() if attributes else content
    hash_ = _HASHES[digest]()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        name, signature = f"{digest}_ecdsa", key.sign(signed, ec.ECDSA(hash_))
    elif pss:
        scheme = padding.PSS(padding.MGF1(hash_), hash_.digest_size)
        name, signature = "rsassa_pss", key.sign(signed, scheme, hash_)
    else:
        name, signature = "rsassa_pkcs1v15", key.sign(signed, padding.PKCS1v15(), hash_)
    parameters = {}
    if pss:
        parameters["parameters"] = algos.RSASSAPSSParams(
            {
                "hash_algorithm": {"algorithm": digest},
                "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": {"algorithm": digest}},
                "salt_length": hash_.digest_size,
            }
        )
    if by_key_id:
        sid = cms.SignerIdentifier("subject_key_identifier", signer.ski)
    else:
        read = asn1_x509.Certificate.load(signer.der)
        sid = cms.SignerIdentifier(
            "issuer_and_serial_number",
            cms.IssuerAndSerialNumber({"issuer": read.issuer, "serial_number": read.serial_number}),
        )
    info = {
        "version": "v3" if by_key_id else "v1",
        "sid": sid,
        "digest_algorithm": {"algorithm": digest},
        "signature_algorithm": {"algorithm": algorithm or name} | parameters,
        "signature": signature,
    }
    if attributes:
        info["signed_attrs"] = attrs
    encapsulated = {"content_type": content_type}
    if enclosed is not None:
        encapsulated["content"] = enclosed
    data = {
        "version": "v1",
        "digest_algorithms": [{"algorithm": digest}],
        "encap_content_info": encapsulated,
        "signer_infos": [info],
    }
    return cms.ContentInfo({"content_type": "signed_data", "content": data}).dump()


def item(
    certificate: Certificate, signature: bytes, kind: str = "DSC", **changes: object
) -> dict[str, object]:
    """An item of the gateway's list."""
    return {
        "kid": b64(certificate.kid),
        "timestamp": "2026-01-20T09:54:42.802Z",
        "country": certificate.country,
        "certificateType": kind,
        "thumbprint": hashlib.sha256(certificate.der).hexdigest(),
        "signature": b64(signature),
        "rawData": b64(certificate.der),
    } | changes


# --- JWS ------------------------------------------------------------------------------------


def sign_raw(message: bytes, key_name: str, alg: str) -> bytes:
    key = private_key(key_name)
    if isinstance(key, rsa.RSAPrivateKey):
        scheme = (
            padding.PKCS1v15() if alg == "RS256" else padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        )
        return key.sign(message, scheme, hashes.SHA256())
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def sign_jws(
    payload: bytes, signer: Certificate, key_name: str, alg: str = "ES256", **header
) -> bytes:
    head = {"typ": "JOSE", "alg": alg, "x5c": [b64(signer.der)]} | header
    head = {name: value for name, value in head.items() if value is not None}
    message = f"{b64url(json.dumps(head).encode())}.{b64url(payload)}"
    return f"{message}.{b64url(sign_raw(message.encode(), key_name, alg))}".encode()


def jwk(certificate: Certificate, **changes) -> dict[str, object]:
    """A JWK as lists hold it; ``name=None`` leaves a name out."""
    found: dict[str, object] = {"kid": b64(certificate.kid), "x5c": [b64(certificate.der)]}
    key = certificate.public_key
    if isinstance(key, ec.EllipticCurvePublicKey):
        numbers = key.public_numbers()
        found |= {"kty": "EC", "crv": "P-256"}
        found |= {
            "x": b64url(numbers.x.to_bytes(32, "big")),
            "y": b64url(numbers.y.to_bytes(32, "big")),
        }
    else:
        numbers = key.public_numbers()
        found |= {"kty": "RSA", "n": b64url(numbers.n.to_bytes(256, "big")), "e": "AQAB"}
    return {name: value for name, value in (found | changes).items() if value is not None}


def swedish_payload(*keys: dict, **changes) -> dict[str, object]:
    issued = int(NOW.timestamp())
    eku = {str(key.get("kid")): ["1.3.6.1.4.1.1847.2021.1.2"] for key in keys}
    return {
        "ver": "1.0",
        "iss": "XS Trust Point",
        "iat": issued,
        "exp": issued + 60 * 86400,
        "dsc_trust_list": {"VN": {"eku": eku, "keys": list(keys)}},
    } | changes


# --- DID documents --------------------------------------------------------------------------

CONTEXT = ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/suites/jws-2020/v1"]
TNG_CONTEXT = [*CONTEXT, "https://smart.who.int/trust/tng-context/v1.jsonld"]
LIST = "did:web:lists.example:v2:trustlist:-:VNM"
METHOD = "did:web:keys.example:signing"


def did_entry(certificate: Certificate, use: str = "DSC", **changes) -> dict[str, object]:
    return {
        "id": f"{LIST}:{use}#{b64(certificate.kid)}",
        "type": "JsonWebKey2020",
        "controller": LIST,
        "publicKeyJwk": jwk(certificate),
        "domain": "DCC",
        "participant": "VNM",
        "keyusage": use,
    } | changes


def did_document(*methods: object, id: str = f"{LIST}:DSC", **changes) -> dict[str, object]:
    return {
        "@context": CONTEXT,
        "id": id,
        "controller": LIST,
        "verificationMethod": list(methods),
    } | changes


def sign_did(
    document: dict, key_name: str, *, raw: bool = False, header: object = None, **proof
) -> dict:
    """The document with a proof, whose statements are written here once more, by hand."""
    sec, rdf = "https://w3id.org/security#", "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    lines = {f"<{document['id']}> <{sec}controller> <{document['controller']}> .\n"}
    for method in document["verificationMethod"]:
        if isinstance(method, str):
            lines.add(f"<{document['id']}> <{sec}verificationMethod> <{method}> .\n")
            continue
        own = method["id"]
        text = json.dumps(method["publicKeyJwk"], sort_keys=True, separators=(",", ":"))
        text = text.replace("\\", "\\\\").replace('"', '\\"')
        lines |= {
            f"<{document['id']}> <{sec}verificationMethod> <{own}> .\n",
            f"<{own}> <{rdf}type> <{sec}{method['type']}> .\n",
            f"<{own}> <{sec}controller> <{method['controller']}> .\n",
            f'<{own}> <{sec}publicKeyJwk> "{text}"^^<{rdf}JSON> .\n',
        }
        if document["@context"] == TNG_CONTEXT:
            for name, values in (
                ("domain", "Domains"),
                ("participant", "Participants"),
                ("keyusage", "KeyUsage"),
            ):
                iri = f"https://smart.who.int/trust/ValueSet-{values}.jsonld"
                lines.add(f"<{own}> <{iri}> <{iri}{method[name]['code']}> .\n")
    options = {
        "type": "JsonWebSignature2020",
        "created": "2026-01-20T00:00:00Z",
        "nonce": "HJHMViRGPVxn7KQP",
        "proofPurpose": "assertionMethod",
        "verificationMethod": METHOD,
    } | proof
    date_time = "http://www.w3.org/2001/XMLSchema#dateTime"
    own_lines = [
        f"_:c14n0 <{rdf}type> <{sec}{options['type']}> .\n",
        f'_:c14n0 <{sec}nonce> "{options["nonce"]}" .\n',
        f"_:c14n0 <{sec}proofPurpose> <{sec}{options['proofPurpose']}> .\n",
        f"_:c14n0 <{sec}verificationMethod> <{options['verificationMethod']}> .\n",
        f'_:c14n0 <http://purl.org/dc/terms/created> "{options["created"]}"^^<{date_time}> .\n',
    ]
    alg = "PS256" if key_name.startswith("rsa") else "ES256"
    head = b64url(json.dumps(header or {"b64": False, "crit": ["b64"], "alg": alg}).encode())
    hashed = [
        hashlib.sha256("".join(sorted(part)).encode()).digest() for part in (own_lines, lines)
    ]
    message = head.encode() + b"." + b"".join(hashed)
    key = private_key(key_name)
    if raw or isinstance(key, rsa.RSAPrivateKey):
        signature = sign_raw(message, key_name, alg)
    else:
        signature = key.sign(message, ec.ECDSA(hashes.SHA256()))
    return document | {"proof": options | {"jws": f"{head}..{b64url(signature)}"}}


# --- whole lists ----------------------------------------------------------------------------

TRUST_ANCHOR = "list anchor"


def gateway_list(*dscs: Certificate, cscas: tuple[Certificate, ...] = ()) -> bytes:
    """The EU gateway's list: one country's upload key signed the DSCs, the anchor all else."""
    upload = leaf("upload VN", "VN", TRUST_ANCHOR)

    def by_anchor(certificate: Certificate, kind: str) -> dict[str, object]:
        return item(certificate, sign_cms(certificate.der, anchor(), TRUST_ANCHOR), kind)

    items = [by_anchor(csca, "CSCA") for csca in cscas]
    items += [by_anchor(upload, "UPLOAD")]
    items += [item(dsc, sign_cms(dsc.der, upload, "upload VN")) for dsc in dscs]
    return json.dumps(items).encode()


def list_signer() -> Certificate:
    return leaf("list signer", "SE", TRUST_ANCHOR)


def swedish_list(*dscs: Certificate, issued=NOW, days: int = 60, key: str = "list signer") -> bytes:
    """A DSC-TL of that time."""
    seconds = int(issued.timestamp())
    payload = swedish_payload(*map(jwk, dscs), iat=seconds, exp=seconds + days * 86400)
    return sign_jws(json.dumps(payload).encode(), list_signer(), key)


def gdhcn_list(
    *dscs: Certificate, cscas: tuple[Certificate, ...] = (), issued=NOW, key: str = "did"
) -> bytes:
    """WHO's list of that time."""
    methods = [did_entry(dsc) for dsc in dscs] + [did_entry(csca, "SCA") for csca in cscas]
    document = did_document(*methods, id=f"{LIST}:-")
    return json.dumps(sign_did(document, key, created=f"{issued:%Y-%m-%dT%H:%M:%SZ}")).encode()
