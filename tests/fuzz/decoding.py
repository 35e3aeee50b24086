"""Fuzzes what a verifier does with a text: verify with every policy (and a loose one), inspect,
BatchVerifier.

The first byte of an input says at which layer the rest of it stands; the layers outside of it are
put around it, and what has to be signed is signed, so that each step is reached:

=========  =====================================================================================
text       UTF-8, what is none of it as lone surrogates
stream     zlib, to be put into base45
message    COSE, to be put into zlib
payload    claims in CBOR, after a byte for the key and one for the header
header     a protected header in CBOR, after a byte for the key; the claims are good ones
=========  =====================================================================================

Held of each input: nothing is raised but what is promised; the Verdict of many at once is that of
one; ``inspect`` refuses what steps 1 to 4 refuse, with the same word; each text for a person is
lines that can be printed; and valid is only what was signed here with a key that is trusted for it,
while it was valid.
"""

from __future__ import annotations

import tempfile
import zlib
from datetime import timedelta
from pathlib import Path
from random import Random

import base45
import cbor2

from fuzz.material import AT, NOW, TRUST, dsc, sign, trust
from fuzz.trees import Mutate, change_cbor
from vaxpass_sign import inspect, verify
from vaxpass_sign.check import POLICIES, Demand, MissingExp, Policy, Revocations, Step, Verdict
from vaxpass_sign.check.many import BatchVerifier
from vaxpass_sign.check.revocation import HashType, Scope, write_allow_list, write_store
from vaxpass_sign.check.revocation.hashes import hash_uci
from vaxpass_sign.check.sentences import LANGUAGES, sentence
from vaxpass_sign.check.trust import TrustStore
from vaxpass_sign.errors import HcertError

__all__ = ["GOOD_PAYLOAD", "KINDS", "TEXTS", "mutate", "one", "seeds"]

KINDS = ("text", "stream", "message", "payload", "header")

_SIGNERS = (*TRUST, "stranger", "forger")
"""Keys by name. The stranger's DSC is not trusted; the forger signs under a kid that is."""
_FORGED = "dsc"
_HEADERS = 8
_STORED_AT_MOST = 2800  # bytes that fit into a text without compression

REVOKED = "URN:UVCI:01:VN:REVOKED#1"


def _revocations() -> Revocations:
    """A store that revokes one UVCI of the country, and the allow-list of a key that was stolen."""
    end = AT + timedelta(days=1)
    times = {"expires_at": end, "created_at": NOW}
    hashes = ((HashType.UCI, hash_uci(REVOKED)), (HashType.COUNTRYCODEUCI, bytes(16)))
    more = [(Scope(HashType.SIGNATURE, "VN", dsc("dsc").kid), [bytes(16)])]
    with tempfile.TemporaryDirectory() as folder:
        store, allowed = Path(folder, "a.vxrev"), Path(folder, "b.vxrev")
        entries = [(Scope(kind, "VN"), [hash_]) for kind, hash_ in hashes]
        write_store(store, entries + more, **times)
        write_allow_list(allowed, dsc(_STOLEN).kid, [bytes(32)], **times)
        return Revocations.open([store, allowed])  # mapped, so that the files may go


_STOLEN = "rsa"
_REVOCATIONS = _revocations()

_CASES: list[tuple[Policy, TrustStore, Revocations | None]] = [
    (policy, trust(anchored=True), _REVOCATIONS if policy.name == "strict" else None)
    for policy in POLICIES.values()
]
_LOOSE = Policy(
    "loose",
    csca=Demand.OFF,
    validity=Demand.OPTIONAL,
    within_dsc=Demand.OFF,
    key_usage=Demand.OFF,
    schema=Demand.OFF,
    missing_exp=MissingExp.DSC_END,
)
"""What no verifier should ask so little as."""
_CASES += [
    (POLICIES["eu"], trust(anchored=False), _REVOCATIONS),
    (POLICIES["strict"], trust(anchored=False), None),
    (_LOOSE, trust(anchored=False), None),
]
_BATCHES = [BatchVerifier(store, AT, policy, known) for policy, store, known in _CASES]

_signed: dict[bytes, set[str]] = {}
"""What was signed by trusted keys in this process: Sig_structure → the keys' names."""
_TURNS = 4096


# --- making texts ---------------------------------------------------------------------------


def text_of(message: bytes) -> str:
    """A message as a text; without compression where that fits."""
    level = 0 if len(message) <= _STORED_AT_MOST else 9
    return "HC1:" + base45.b45encode(zlib.compress(message, level)).decode()


def message_of(
    payload: bytes, signer: str, header: int = 0, protected: bytes | None = None
) -> bytes:
    """A COSE message whose signature is right; ``header`` chooses where alg and kid stand."""
    kid = (TRUST.get(signer) or dsc(_FORGED if signer == "forger" else signer)).kid
    alg = -37 if signer == "rsa" else -7
    forms: tuple[tuple[dict, dict], ...] = (
        ({1: alg, 4: kid}, {}),
        ({}, {1: alg, 4: kid}),
        ({1: alg}, {4: kid}),
        ({1: -7, 4: bytes(8)}, {4: kid}),
        ({1: -44 - alg, 4: kid}, {}),  # the other one
        ({1: alg, 4: kid, 2: [4]}, {99: "x"}),
        ({1: alg, 4: kid, 2: [7], 7: 1}, {}),
        ({1: alg, 4: kid}, {4: bytes(8), 1: 0}),
    )
    chosen, unprotected = forms[header % _HEADERS]
    if protected is None:
        protected = cbor2.dumps(chosen) if chosen else b""
    structure = cbor2.dumps(["Signature1", protected, b"", payload])
    if signer in TRUST:
        if len(_signed) > _TURNS:
            _signed.clear()
            _remember_samples()
        _signed.setdefault(structure, set()).add(signer)
    return b"\xd2" + cbor2.dumps([protected, unprotected, payload, sign(signer, structure)])


def _text_of_input(data: bytes) -> str:
    kind, rest = KINDS[data[0] % len(KINDS)] if data else "text", data[1:]
    if kind == "text":
        return rest.decode("utf-8", "surrogateescape")
    if kind == "stream":
        return "HC1:" + base45.b45encode(rest).decode()
    if kind == "message":
        return text_of(rest)
    if kind == "header":
        signer, protected = rest[:1] or b"\0", rest[1:]
        name = _SIGNERS[signer[0] % len(_SIGNERS)]
        return text_of(message_of(_PAYLOADS["v"], name, 0, protected))
    chosen, payload = rest[:2].ljust(2, b"\0"), rest[2:]
    return text_of(message_of(payload, _SIGNERS[chosen[0] % len(_SIGNERS)], chosen[1]))


# --- what is held ---------------------------------------------------------------------------


def one(data: bytes) -> bool:
    """Run one input; whether any policy found it valid.

    Raises: AssertionError when something is not as it must be, and whatever the product raises.
    """
    text = _text_of_input(data)
    verdicts = [verify(text, store, AT, policy, known) for policy, store, known in _CASES]
    for verdict, (_, _, known) in zip(verdicts, _CASES, strict=True):
        _check_words(verdict)
        if verdict.valid:
            _check_valid(verdict)
            assert known is None or _stands(verdict), "valid though it was revoked"
    chosen = zlib.crc32(data) % len(_CASES)  # all of them would take twice the time
    found = _BATCHES[chosen].verify([_GOOD, text])[1]
    assert _facts(found) == _facts(verdicts[chosen]), "many at once give another Verdict"
    _check_inspect(text, verdicts)
    return any(verdicts)


def _facts(verdict: Verdict) -> tuple[object, ...]:
    """All of a Verdict. Claims as text, in which NaN is NaN and 1 is not 1.0 or true."""
    hcert = verdict.hcert
    return (
        *(verdict.reason, verdict.detail, verdict.at, verdict.dsc, verdict.not_checked),
        *(verdict.warnings, verdict.policy, hcert and hcert.sign1, repr(hcert and hcert.claims)),
    )


def _check_words(verdict: Verdict) -> None:
    texts = [verdict.explain(), repr(verdict), repr(verdict.hcert)]
    texts += [sentence(verdict.reason, language) for language in LANGUAGES]
    for text in texts:
        assert all(line.isprintable() for line in text.split("\n")), "a text can't be printed"
        assert len(text) < 4000, "a text without end"
        assert "NGUYEN" not in text, "a text tells a name"


def _check_valid(verdict: Verdict) -> None:
    """Valid is only what a trusted key signed, and the policy's times hold; seen from outside."""
    assert verdict.hcert is not None
    assert verdict.dsc is not None
    sign1 = verdict.hcert.sign1
    structure = cbor2.dumps(["Signature1", sign1.protected, b"", sign1.payload])
    name = next(name for name, certificate in TRUST.items() if certificate == verdict.dsc)
    assert name in _signed.get(structure, ()), "valid, and its DSC's key has not signed it"
    if verdict.policy == _LOOSE.name:
        return
    assert name not in ("csca", "ended", "later"), "valid by a key that may not sign"
    policy = POLICIES[verdict.policy]
    # A date-time under tag 0 stays the text that it is.
    claims = cbor2.loads(sign1.payload, semantic_decoders={0: lambda value, _: value})
    exp, iat, now, skew = claims.get(4), claims.get(6), AT.timestamp(), policy.skew_s
    assert exp is not None or policy.missing_exp is MissingExp.DSC_END, "valid without an end"
    assert exp is None or exp >= now - skew, "valid after its end"
    assert iat is None or iat <= now + skew, "valid before its beginning"


def _stands(verdict: Verdict) -> bool:
    """Whether the one UVCI and the one key that are revoked are others."""
    assert verdict.hcert is not None
    entries = [e for kind in "vtr" for e in (verdict.hcert.payload or {}).get(kind) or ()]
    is_revoked = any(entry.get("ci") == REVOKED for entry in entries)
    return not is_revoked and verdict.hcert.kid != dsc(_STOLEN).kid


def _check_inspect(text: str, verdicts: list[Verdict]) -> None:
    reasons = {verdict.reason for verdict in verdicts if verdict.step <= Step.COSE}
    hcert = None
    try:
        hcert = inspect(text)
    except HcertError as error:
        refused, said = {error.code}, str(error)
    if hcert is None:
        assert reasons == refused, "inspect refuses what verify reads"
        assert said.isprintable(), "a message can't be printed"
        return
    assert not reasons, "inspect reads what verify refuses"
    for verdict in verdicts:
        assert verdict.hcert is not None
        assert repr(verdict.hcert.claims) == repr(hcert.claims), "inspect reads other claims"
    _ = hcert.payload, hcert.kid, hcert.alg, hcert.issuer, hcert.issued_at, hcert.expires_at


# --- the samples ----------------------------------------------------------------------------

_IAT = int(NOW.timestamp())
_NAME = {"fn": "Nguyễn", "gn": "Thị Thí Dụ", "fnt": "NGUYEN", "gnt": "THI<THI<DU"}
_TOP = {"ver": "1.3.0", "dob": "1987-04-12", "nam": _NAME}
_ENTRIES = {
    "v": {
        "tg": "840539006", "vp": "1119349007", "mp": "EU/1/20/1528", "ma": "ORG-100030215",
        "dn": 2, "sd": 2, "dt": "2021-11-20", "co": "VN", "is": "Bộ Y tế", "ci": "URN:UVCI:01:VN:ABCDEFGHIJKL#M",
    },
    "t": {
        "tg": "840539006", "tt": "LP6464-4", "sc": "2021-10-09T12:03:12Z", "tr": "260415000",
        "co": "VN", "is": "Bộ Y tế", "ci": "URN:UVCI:01:VN:ABCDEFGHIJKL#M", "tc": "Trạm", "nm": "PCR",
    },
    "r": {
        "tg": "840539006", "fr": "2021-10-09", "co": "VN", "is": "Bộ Y tế",
        "df": "2021-10-20", "du": "2022-04-09", "ci": "URN:UVCI:01:VN:ABCDEFGHIJKL#M",
    },
}  # fmt: skip


def _claims(dcc: object) -> dict[int, object]:
    return {1: "VN", 4: _IAT + 180 * 86400, 6: _IAT, -260: {1: dcc}}


_PAYLOADS = {
    kind: cbor2.dumps(_claims({kind: [entry], **_TOP}), canonical=True)
    for kind, entry in _ENTRIES.items()
}
"""One good payload of each kind; that of a vaccination is plain."""


def _remember_samples() -> None:
    """Sign the samples: their texts are in the corpus as they stand."""
    for payload in _PAYLOADS.values():
        message_of(payload, "dsc")


_remember_samples()
_GOOD = text_of(message_of(_PAYLOADS["v"], "dsc"))
TEXTS = (_GOOD, *(text_of(message_of(_PAYLOADS[kind], "dsc", 2)) for kind in "tr"))
"""Texts that are valid; the first has its kid in the protected header."""


GOOD_PAYLOAD = bytes((3, 0, 0)) + _PAYLOADS["v"]
"""An input: a vaccination that is signed and valid."""


def seeds() -> list[bytes]:
    """Inputs to begin with, of every kind."""
    vaccination, no_end = _PAYLOADS["v"], _claims({"v": [_ENTRIES["v"]], **_TOP})
    del no_end[4]
    mononym = _claims({"v": [_ENTRIES["v"]], **_TOP, "nam": {"fn": "An", "fnt": "AN"}})
    message = message_of(vaccination, "dsc")
    payloads = [
        *_PAYLOADS.values(),
        cbor2.dumps(no_end),
        cbor2.dumps(mononym, canonical=True),
        cbor2.dumps(_claims({"v": [_ENTRIES["v"] | {"ci": REVOKED}], **_TOP}), canonical=True),
        *(cbor2.dumps(_claims({}) | {4: value}) for value in (float("nan"), _IAT, 1.5)),
        *(cbor2.dumps(value) for value in ({}, [], _claims(None), _claims({"v": [], "r": None}))),
        cbor2.dumps(_claims({"v": [_ENTRIES["v"] | {"mp": "new"}], **_TOP})),
        cbor2.dumps(cbor2.CBORTag(28, [1])),
        b"\xbf" + vaccination[1:] + b"\xff",
        b"\x81" * 40,
        b"\x99\x0b\xb8" + bytes(3000),
        b"\xa2\x01\x61V\x01\x61N",
    ]
    headers = [
        b"",
        b"\xa1\x01\x26",
        b"\x80",
        b"\xa2\x01\x26\x02\x81\x04",
        cbor2.dumps({1: -7, 4: dsc("dsc").kid}),
    ]
    texts = [
        _GOOD,
        text_of(message_of(_PAYLOADS["t"], "dsc")),
        "HC1:",
        "HC2:6BF",
        "HC1:" + "0" * 40,
        "HC1:6bf",
    ]
    streams = [
        zlib.compress(message, 0),
        zlib.compress(message, 9),
        zlib.compress(bytes(70_000)),
        message,
    ]
    messages = [
        message,
        message[1:],
        b"\xd8\x3d" + message,
        message + b"\0",
        message[:-9],
        b"\x84" + bytes(4),
    ]
    return [
        *(b"\0" + text.encode() for text in texts),
        *(b"\1" + stream for stream in streams),
        *(b"\2" + some for some in messages),
        *(bytes((3, 0, 0)) + payload for payload in payloads),
        *(bytes((3, number, 0)) + vaccination for number in range(len(_SIGNERS))),
        *(bytes((3, 0, number)) + vaccination for number in range(_HEADERS)),
        *(bytes((3, number, 0)) + _PAYLOADS["t"] for number in range(3)),
        *(bytes((4, number % 2)) + header for number, header in enumerate(headers)),
    ]


def mutate(data: bytes, rng: Random, by_bytes: Mutate) -> bytes | None:
    """An input with a changed tree; None where bytes are to be changed."""
    begin = {"message": 1, "payload": 3, "header": 2}.get(KINDS[data[0] % len(KINDS)])
    if begin is None:
        return None
    head, tree = data[:begin], data[begin:]
    if KINDS[data[0] % len(KINDS)] == "message":
        return head + (_changed_message(tree, rng, by_bytes) or by_bytes(tree))
    if rng.randrange(8) == 0:
        head = head[:1] + bytes(rng.randrange(16) for _ in head[1:])
    changed = change_cbor(tree, rng, by_bytes)
    return None if changed is None else head + changed


def _changed_message(data: bytes, rng: Random, by_bytes: Mutate) -> bytes | None:
    tag = data[:1] if data[:1] == b"\xd2" else b""
    changed = change_cbor(data[len(tag) :], rng, by_bytes)
    return None if changed is None else tag + changed
