"""Signing in one process: columns in memory → HC1 texts, against bare loops that only sign.

On a SoftHSM token made on the spot: ``Issuer.issue_columns`` against C_SignInit + C_Sign called
through ctypes on the same key, over a hash of 32 bytes and nothing else; ES256, and PS256 with an
RSA key of 2048 bits. ``signer_vs_bare_loop`` and ``python_pkcs11_vs_bare_loop`` leave the encoding
out: hashing and signing alone, by the library's signer and by python-pkcs11's ``key.sign``. With a
software key: the same against cryptography's own
``private_key.sign(message, ECDSA(SHA256()))`` over the very bytes that are to be signed.

Each side has a fresh process of its own that stays; they sign in turn, never at the same time.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from bare_loop import BareKey
from common import Report, alternate, arguments, median_ratio
from vaxpass_sign import sample
from vaxpass_sign.errors import ModuleError
from vaxpass_sign.hcert import cose
from vaxpass_sign.hcert.columns import ColumnEncoder, Columns
from vaxpass_sign.issuer import Issuer
from vaxpass_sign.keys import open_signer
from vaxpass_sign.keys.listing import list_tokens
from vaxpass_sign.keys.locate import find_module
from vaxpass_sign.keys.module import load_module
from vaxpass_sign.keys.newkey import new_key
from vaxpass_sign.keys.newtoken import init_token
from vaxpass_sign.keys.signer import Signer
from vaxpass_sign.keys.software import SoftwareSigner
from vaxpass_sign.keys.uri import Pkcs11Uri
from vaxpass_sign.record.uvci import random_uvci
from vaxpass_sign.x509 import Certificate, Subject, csca_to_sign, dsc_to_sign

COUNTRY = "VN"
NAME = "Bộ Y tế"
TOKEN = "benchmark"

Side = Callable[[], float]
"""Runs one round and returns signatures a second."""


# --- the bare loops ------------------------------------------------------------------------


def bare_token(module: str, pin: str, label: str, rsa_bytes: int, count: int) -> Side:
    """C_SignInit + C_Sign, ``count`` times."""
    key = BareKey(module, pin, label, rsa_bytes)

    def run() -> float:
        started = time.perf_counter()
        key.sign(count)
        return count / (time.perf_counter() - started)

    return run


def bare_software(pem: bytes, messages: list[bytes]) -> Side:
    """cryptography's own signing of messages of the same length."""
    key = load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)

    def run() -> float:
        sign, ecdsa = key.sign, ec.ECDSA(SHA256())
        started = time.perf_counter()
        for message in messages:
            sign(message, ecdsa)
        return len(messages) / (time.perf_counter() - started)

    return run


# --- the library ---------------------------------------------------------------------------


def library_token(uri: str, pin: str, dsc: bytes, columns: Columns) -> Side:
    """``issue_columns`` with a key on the token."""
    return issuing(open_signer(uri, pin=pin), dsc, columns)


def signer_alone(uri: str, pin: str, messages: list[bytes]) -> Side:
    """The library's signer and nothing else: SHA-256 and the token, for each message."""
    signer = open_signer(uri, pin=pin)

    def run() -> float:
        started = time.perf_counter()
        signer.sign(messages)
        return len(messages) / (time.perf_counter() - started)

    return run


def python_pkcs11(module: str, pin: str, label: str, messages: list[bytes]) -> Side:
    """The same by python-pkcs11's own ``key.sign``: what docs/decisions/0002 compares with."""
    import pkcs11

    # It initialises the module for one thread only, which is what this process has.
    session = pkcs11.lib(module).get_token(token_label=TOKEN).open(user_pin=pin)
    key = session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, label=label)

    def run() -> float:
        sign, mechanism = key.sign, pkcs11.Mechanism.ECDSA
        started = time.perf_counter()
        for message in messages:
            sign(sha256(message).digest(), mechanism=mechanism)
        return len(messages) / (time.perf_counter() - started)

    return run


def library_software(pem: bytes, dsc: bytes, columns: Columns) -> Side:
    """``issue_columns`` with a software key."""
    return issuing(SoftwareSigner.from_pem(pem), dsc, columns)


def issuing(signer: Signer, dsc: bytes, columns: Columns) -> Side:
    issuer = Issuer(signer, dsc, COUNTRY, NAME)

    def run() -> float:
        started = time.perf_counter()
        issued = issuer.issue_columns(columns)
        seconds = time.perf_counter() - started
        if issued.refused or len(issued.texts) != len(columns):
            raise SystemExit("not every record was signed, so that no rate is fair")
        return len(columns) / seconds

    return run


# --- a process for each side ---------------------------------------------------------------


def serve(pipe: Connection, make_side: Callable[..., Side], arguments: tuple[Any, ...]) -> None:
    """A side's process: one round for each message, until the pipe is closed."""
    run = make_side(*arguments)
    pipe.send(0.0)  # ready
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        pipe.send(run())


def start(closing: ExitStack, make_side: Callable[..., Side], *arguments: Any) -> Side:
    """Start a side's process; it ends with ``closing``.

    Returns when it is ready: SoftHSM writes its token's file at a login, and a process that opens
    the token at that moment finds none.
    """
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(theirs, make_side, arguments))
    process.start()
    theirs.close()
    closing.callback(process.join)
    closing.callback(ours.close)

    def ask(question: str) -> float:
        try:
            if question:
                ours.send(question)
            return float(ours.recv())
        except (EOFError, BrokenPipeError):
            raise SystemExit(f"the process of {make_side.__name__} ended; see above") from None

    ask("")
    return lambda: ask("round")


# --- keys and DSCs -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Token:
    """A SoftHSM token with the keys ``ec`` and ``rsa``, and a DSC for each."""

    module: str
    pin: str
    dscs: dict[str, bytes]

    def uri(self, label: str) -> str:
        return f"pkcs11:token={TOKEN};object={label}?module-path={self.module}"


def make_token(directory: Path) -> Token:
    """Make the token; every process started from now on sees this one only.

    Raises: ModuleError when SoftHSM is not installed.
    """
    (directory / "tokens").mkdir()
    conf = directory / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {directory / 'tokens'}\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(conf)
    path = find_module(Pkcs11Uri.parse("pkcs11:?module-name=softhsm2"))
    pin = secrets.token_hex(8)
    with load_module(path) as module:
        (slot,) = (token.slot_id for token in list_tokens(module))
        init_token(module, slot, TOKEN, so_pin=secrets.token_hex(8), user_pin=pin)
    token = Token(str(path), pin, {})
    for label in ("ec", "rsa"):
        made = new_key(Pkcs11Uri.parse(token.uri(label)), pin=pin, kind=label)
        token.dscs[label] = make_dsc(made.public_key)
    return token


def make_dsc(public_key: Any) -> bytes:
    """A DSC (DER) of a CSCA that exists for this call only."""
    csca_signer = SoftwareSigner.from_pem(make_pem())
    now = datetime.now(UTC).replace(microsecond=0)
    begin, end = now - timedelta(hours=1), now + timedelta(days=730)
    subject = Subject(COUNTRY, "vaxpass-sign benchmark", "for this benchmark only")
    draft = csca_to_sign(csca_signer.public_key, subject, not_before=begin, not_after=end)
    csca = Certificate.from_bytes(draft.finish(csca_signer.sign([draft.tbs])[0]))
    subject = Subject(COUNTRY, "vaxpass-sign benchmark", "DSC for this benchmark only")
    draft = dsc_to_sign(public_key, subject, csca=csca, not_before=begin, not_after=end)
    return draft.finish(csca_signer.sign([draft.tbs])[0])


def make_pem() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def to_be_signed(columns: Columns, dsc: Certificate) -> list[bytes]:
    """The Sig_structures of the rows."""
    encoder = ColumnEncoder(
        protected=cose.encode_protected(dsc.alg, dsc.kid),
        country=COUNTRY,
        issuer_name=NAME,
        issued_at_s=int(time.time()),
        expires_at_s=int(time.time()) + 365 * 86_400,
    )
    return encoder.sig_structures(encoder.payloads(columns))


# --- the measuring -------------------------------------------------------------------------


def compare(report: Report, rounds: int, name: str, bare: Side, library: Side) -> None:
    """Let two sides run in turn and enter their medians and their ratio."""
    found = alternate(rounds, {"bare": bare, "library": library})
    report.figures[f"{name}_per_s"] = median(found["library"])
    report.figures[f"{name}_bare_loop_per_s"] = median(found["bare"])
    report.ratios[f"{name}_vs_bare_loop"] = median_ratio(found["library"], found["bare"])


def measure_token(report: Report, rounds: int, columns: Columns) -> None:
    with tempfile.TemporaryDirectory() as directory:
        try:
            token = make_token(Path(directory))
        except ModuleError as error:
            report.notes.append(f"no token, so no token_vs_bare_loop: {error}")
            return
        some = columns[: len(columns) // 20]  # RSA signs that much slower
        for name, label, rsa_bytes, rows in (
            ("token", "ec", 0, columns),
            ("token_ps256", "rsa", 256, some),
        ):
            with ExitStack() as closing:
                bare = start(
                    closing, bare_token, token.module, token.pin, label, rsa_bytes, len(rows)
                )
                library = start(
                    closing, library_token, token.uri(label), token.pin, token.dscs[label], rows
                )
                compare(report, rounds, name, bare, library)
        measure_signer(report, rounds, token, columns)


def measure_signer(report: Report, rounds: int, token: Token, columns: Columns) -> None:
    """What signing alone costs, by the library and by python-pkcs11, against the bare loop."""
    messages = to_be_signed(columns, Certificate.from_bytes(token.dscs["ec"]))
    with ExitStack() as closing:
        sides = {
            "bare": start(closing, bare_token, token.module, token.pin, "ec", 0, len(messages)),
            "signer": start(closing, signer_alone, token.uri("ec"), token.pin, messages),
            "python_pkcs11": start(closing, python_pkcs11, token.module, token.pin, "ec", messages),
        }
        found = alternate(rounds, sides)
    for name in ("signer", "python_pkcs11"):
        report.ratios[f"{name}_vs_bare_loop"] = median_ratio(found[name], found["bare"])


def measure_software(report: Report, rounds: int, columns: Columns) -> None:
    pem = make_pem()
    dsc = Certificate.from_bytes(make_dsc(SoftwareSigner.from_pem(pem).public_key))
    with ExitStack() as closing:
        bare = start(closing, bare_software, pem, to_be_signed(columns, dsc))
        library = start(closing, library_software, pem, dsc.der, columns)
        compare(report, rounds, "software", bare, library)


def main() -> None:
    flags = arguments(__doc__)
    rows, rounds = (3_000, 5) if flags.quick else (10_000, 21)
    records = sample.records(rows)
    columns = Columns.from_records(records, [random_uvci(COUNTRY) for _ in records])
    report = Report("sign", ("cryptography", "python-pkcs11"))
    measure_token(report, rounds, columns)
    measure_software(report, rounds, columns)
    report.show(as_json=flags.json)


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main()
