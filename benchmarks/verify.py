"""Verifying HC1 texts on one core, against a bare loop that only verifies signatures.

The bare loop is ``public_key.verify(der_signature, sig_structure, ECDSA(SHA256()))`` of the package
cryptography with arguments that are ready. Against it, over the same texts: ``verify``, one text
at a time, and ``BatchVerifier``, all of them in one call. Both do all ten steps, from the text to
the Verdict with the claims in it. Against python-cwt's ``decode`` with base45 and zlib, in
.venv-cwt, text by text: from the text to the claims, its signature and its times checked. The texts
are those of one signing run with a software key; all
must be valid, and both sides' Verdicts equal.

The sides run in turn in one process. What the set-up made is kept out of the garbage collector's
sight: it would walk through it again and again, in the library's rounds only.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from statistics import median

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from common import Report, alternate, arguments, median_ratio
from peer import NO_PEER, PEER_PYTHON, open_peer
from vaxpass_sign import inspect, sample
from vaxpass_sign.check.many import BatchVerifier
from vaxpass_sign.check.trust import TrustStore
from vaxpass_sign.check.verify import verify
from vaxpass_sign.hcert.columns import Columns
from vaxpass_sign.issuer import Issuer
from vaxpass_sign.keys.software import SoftwareSigner
from vaxpass_sign.record.uvci import random_uvci
from vaxpass_sign.x509 import Certificate, Subject, csca_to_sign, dsc_to_sign

COUNTRY = "VN"
PEER_TEXTS = 2_000


def make_pem() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def make_issuer() -> Issuer:
    """An issuer with keys and a DSC that exist for this call only."""
    csca_signer, signer = (SoftwareSigner.from_pem(make_pem()) for _ in range(2))
    now = datetime.now(UTC).replace(microsecond=0)
    begin, end = now - timedelta(hours=1), now + timedelta(days=730)
    subject = Subject(COUNTRY, "vaxpass-sign benchmark", "for this benchmark only")
    draft = csca_to_sign(csca_signer.public_key, subject, not_before=begin, not_after=end)
    csca = Certificate.from_bytes(draft.finish(csca_signer.sign([draft.tbs])[0]))
    subject = Subject(COUNTRY, "vaxpass-sign benchmark", "DSC for this benchmark only")
    draft = dsc_to_sign(signer.public_key, subject, csca=csca, not_before=begin, not_after=end)
    return Issuer(signer, draft.finish(csca_signer.sign([draft.tbs])[0]), COUNTRY, "Bộ Y tế")


def signed_texts(issuer: Issuer, count: int) -> list[str]:
    columns = Columns.from_records(
        sample.records(count), [random_uvci(COUNTRY) for _ in range(count)]
    )
    texts = list(issuer.issue_columns(columns).texts)
    if len(texts) != count:
        raise SystemExit("not every record was signed, so that no rate is fair")
    return texts


def bare_arguments(texts: list[str]) -> list[tuple[bytes, bytes]]:
    """The DER signature and the Sig_structure of each text."""
    ready = []
    for text in texts:
        sign1 = inspect(text).sign1
        r, s = sign1.signature[:32], sign1.signature[32:]
        der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
        ready.append((der, sign1.sig_structure))
    return ready


def main() -> None:
    flags = arguments(__doc__)
    count, rounds = (2_000, 7) if flags.quick else (10_000, 31)
    issuer = make_issuer()
    texts, dsc, at = signed_texts(issuer, count), issuer.dsc, datetime.now(UTC)
    ready, trust = bare_arguments(texts), TrustStore([dsc])
    batch = BatchVerifier(trust, at)
    some = texts[: count // 5]
    if batch.verify(some) != [verify(text, trust, at) for text in some]:
        raise SystemExit("the two ways differ, so that no rate is fair")

    def bare() -> None:
        verify_signature, ecdsa = dsc.public_key.verify, ec.ECDSA(SHA256())
        for der, signed in ready:
            verify_signature(der, signed, ecdsa)

    def one() -> None:
        check_valid([verify(text, trust, at).valid for text in texts])

    def many() -> None:
        # Block by block, as an audit does: nobody holds the Verdicts of millions at once.
        for start in range(0, count, 2000):
            check_valid([verdict.valid for verdict in batch.verify(texts[start : start + 2000])])

    def timed(work: Callable[[], None]) -> Callable[[], float]:
        def run() -> float:
            started = time.perf_counter()
            work()
            return count / (time.perf_counter() - started)

        return run

    gc.collect()
    gc.freeze()
    sides = {"bare": timed(bare), "one": timed(one), "many": timed(many)}
    report = Report("verify", ("cbor2", "cryptography", "numpy", "zlib-ng"))
    if PEER_PYTHON.exists():
        with peer_rounds(texts[:PEER_TEXTS], dsc) as theirs:
            found = alternate(rounds, sides | {"python_cwt": theirs})
        report.figures["python_cwt_per_s"] = median(found["python_cwt"])
        report.ratios["one_vs_python_cwt"] = median_ratio(found["one"], found["python_cwt"])
    else:
        found = alternate(rounds, sides)
        report.notes.append(NO_PEER)
    for name in ("one", "many"):
        report.figures[f"{name}_per_s"] = median(found[name])
        report.ratios[f"{name}_vs_bare_verify"] = median_ratio(found[name], found["bare"])
    report.figures["bare_verify_per_s"] = median(found["bare"])
    for name in ("one", "many"):
        ours, theirs = median(found[name]), median(found["bare"])
        report.figures[f"{name}_overhead_us"] = 1e6 / ours - 1e6 / theirs
    report.show(as_json=flags.json)


@contextmanager
def peer_rounds(texts: list[str], dsc: Certificate) -> Iterator[Callable[[], float]]:
    """The peer's round, a rate, after a look at what it reads in the first texts."""
    with open_peer("peer_cwt_verify.py") as peer:
        pem = dsc.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        said = peer.ask({"texts": texts, "pem": pem.decode(), "kid": dsc.kid.hex()})
        for text, theirs in zip(texts, said, strict=False):
            claims = inspect(text).claims
            ours = {"iss": claims[1], "exp": claims[4], "iat": claims[6], "dcc": claims[-260][1]}
            if ours != theirs:
                raise SystemExit("the two sides read different claims, so that no rate is fair")
        yield lambda: len(texts) / peer.ask("a round")


def check_valid(valid: list[bool]) -> None:
    if not all(valid):
        raise SystemExit("not every text is valid, so that no rate is fair")


if __name__ == "__main__":
    main()
