"""The issuer: what it writes is read by others; what doesn't belong together is refused."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import HealthCheck, given, settings

from foreign import assert_read_by_others
from issuing import (
    AT,
    NOW,
    RECORD,
    clock,
    csca,
    dsc,
    make_issuer,
    private_key,
    sign_dsc,
    signer_of,
    trust,
)
from strategies import records
from vaxpass_sign import Issuer, VaccinationRecord, inspect, open_signer, verify
from vaxpass_sign.errors import CertificateError, InputError, RecordError, TokenError
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.hcert.columns import Columns
from vaxpass_sign.hcert.qr_capacity import QR_CAPACITY
from vaxpass_sign.hcert.signature import verify_signature
from vaxpass_sign.keys.proof import PROOF_MESSAGE
from vaxpass_sign.keys.software import SoftwareSigner
from vaxpass_sign.record.uvci import random_uvci
from vaxpass_sign.sample import records as sample_records
from vaxpass_sign.x509 import pem


@pytest.mark.parametrize("key_name", ["dsc", "rsa dsc"])
def test_issue_is_read_by_others(key_name: str) -> None:
    """pycose, python-cwt and the published schemas accept what is issued, ES256 and PS256."""
    text = make_issuer(key_name).issue(RECORD)
    alg = "ES256" if key_name == "dsc" else "PS256"
    dcc = assert_read_by_others(text, private_key(key_name).public_key(), dsc(key_name).kid, alg)
    assert dcc["nam"] == {
        "fn": "Nguyễn",
        "fnt": "NGUYEN",
        "gn": "Thị Minh Khai",
        "gnt": "THI<MINH<KHAI",
    }
    assert dcc["v"][0]["is"] == "Bộ Y tế"
    assert dcc["v"][0]["co"] == "VN"


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(records)
def test_any_record_is_issued_and_read_by_others(record: VaccinationRecord) -> None:
    """Whatever record there is, its HCERT verifies here and elsewhere and says what it said."""
    text = make_issuer().issue(record)
    dcc = assert_read_by_others(text, private_key("dsc").public_key(), dsc().kid, "ES256")
    assert verify(text, trust(), at=AT).valid
    assert dcc["nam"]["fnt"] == record.fnt
    assert dcc["dob"] == record.birth_date
    assert (dcc["v"][0]["dn"], dcc["v"][0]["sd"]) == (record.dose_number, record.dose_total)


def test_times_and_kid() -> None:
    """iat is now, exp is now and the validity, kid is the DSC's."""
    hcert = inspect(make_issuer(validity=timedelta(days=90)).issue(RECORD))
    assert hcert.issued_at == NOW
    assert hcert.expires_at == NOW + timedelta(days=90)
    assert hcert.kid == dsc().kid
    assert hcert.alg is Alg.ES256


def test_uvci_is_the_callers_or_random() -> None:
    """A given UVCI is written as it is; without one each credential has its own."""
    issuer = make_issuer()
    uvci = random_uvci("VN")
    assert inspect(issuer.issue(RECORD, uvci=uvci)).payload["v"][0]["ci"] == uvci
    first, second = (inspect(issuer.issue(RECORD)).payload["v"][0]["ci"] for _ in range(2))
    assert first != second


def test_bad_uvci_is_refused() -> None:
    """A UVCI with a wrong check character is refused before anything is signed."""
    with pytest.raises(InputError):
        make_issuer().issue(RECORD, uvci="URN:UVCI:01:VN:187/37512422923#A")


def test_a_record_may_name_its_own_issuer_and_country() -> None:
    """v.is and v.co are the record's where it has them; iss stays the issuer's."""
    record = VaccinationRecord(
        surname="An", birth_date="", product="EU/1/20/1528", dose_number=1, dose_total=2,
        vaccination_date="2021-11-20", country="FR", issuer="Sở Y tế Hà Nội",
    )  # fmt: skip
    hcert = inspect(make_issuer().issue(record))
    entry = hcert.payload["v"][0]
    assert (entry["co"], entry["is"], hcert.issuer) == ("FR", "Sở Y tế Hà Nội", "VN")


# --- what doesn't belong together ----------------------------------------------------------

OTHER = ec.generate_private_key(ec.SECP256R1())
MISFITS = [
    ("another key's DSC", {"dsc": dsc("another")}, "is not the certificate of this key"),
    ("an RSA key's DSC", {"dsc": dsc("rsa dsc")}, "is not the certificate of this key"),
    ("the CSCA instead", {"dsc": csca()}, "is no DSC"),
    ("a DSC for tests only", {"dsc": sign_dsc(kinds=("t",))}, "expected one that may sign vacc"),
    (
        "a DSC that has expired",
        {"clock": lambda: (dsc().not_after + timedelta(seconds=1)).timestamp()},
        "check the clock, or use the DSC that is valid now",
    ),
    (
        "a DSC that is not valid yet",
        {"clock": lambda: (dsc().not_before - timedelta(seconds=1)).timestamp()},
        "check the clock",
    ),
    (
        "a DSC whose key may sign no longer",
        {"dsc": sign_dsc(private_key_period=(NOW - timedelta(days=9), NOW - timedelta(days=1)))},
        "the DSC's key may sign from",
    ),
    ("credentials that outlive the DSC", {"validity": timedelta(days=800)}, "shorten the validity"),
]


@pytest.mark.parametrize(
    ("changes", "words"), [m[1:] for m in MISFITS], ids=[m[0] for m in MISFITS]
)
def test_misfits(changes: dict, words: str) -> None:
    """An issuer of parts that don't belong together can't be built."""
    with pytest.raises(CertificateError, match=words):
        make_issuer(**changes)


ARGUMENTS = [
    ("country in small letters", {"country": "vn"}, "two capital letters"),
    ("country of three letters", {"country": "VNM"}, "two capital letters"),
    ("no name", {"name": "  "}, "1 to 80 characters"),
    ("a name of 81 characters", {"name": "x" * 81}, "at most 80"),
    ("a control character", {"name": "Bộ\x01Y tế"}, "control"),
    ("no validity", {"validity": timedelta(0)}, "validity"),
    ("a lone surrogate", {"name": "a\ud800"}, "control or invisible"),
    ("a bidi control", {"name": "a\u202eb"}, "control or invisible"),
    ("a name that is no text", {"name": 5}, "a number"),
    ("a validity of days as a number", {"validity": 365}, "a timedelta"),
    ("a validity for ever", {"validity": timedelta.max}, "at most"),
    ("QR version 41", {"max_qr_version": 41}, "1 to 40"),
    ("a DSC that is no certificate", {"dsc": b"not a certificate"}, "certificate"),
]


@pytest.mark.parametrize(
    ("changes", "words"), [a[1:] for a in ARGUMENTS], ids=[a[0] for a in ARGUMENTS]
)
def test_bad_arguments(changes: dict, words: str) -> None:
    """Bad arguments are InputErrors that name what was expected."""
    with pytest.raises(InputError, match=words):
        make_issuer(**changes)


def test_the_proof_can_be_no_credential() -> None:
    """The message signed to prove the key is no Sig_structure: its first byte is no CBOR array."""
    assert PROOF_MESSAGE[0] >> 5 != 4


class ForgetfulSigner:
    """A real key behind a wrapper that, after the proof, signs something else."""

    alg = Alg.ES256
    public_key = None

    def __init__(self) -> None:
        self.key = signer_of(private_key("dsc"))
        self.calls = 0

    def sign(self, messages):
        self.calls += 1
        return self.key.sign(messages if self.calls == 1 else [m + b"!" for m in messages])


def test_a_wrong_signature_is_not_issued() -> None:
    """A signature that the DSC does not verify never leaves issue()."""
    issuer = make_issuer(signer=ForgetfulSigner())
    with pytest.raises(TokenError, match="nothing was issued"):
        issuer.issue(RECORD)


def test_the_dsc_is_checked_at_each_issue() -> None:
    """An issuer that lives longer than its DSC stops issuing."""
    now = [clock()]
    issuer = make_issuer(clock=lambda: now[0])
    issuer.issue(RECORD)
    now[0] = (dsc().not_after - timedelta(days=364)).timestamp()
    with pytest.raises(CertificateError, match="shorten the validity"):
        issuer.issue(RECORD)


def test_a_vaccination_in_the_future_is_refused() -> None:
    """The day after tomorrow is refused; the day that it is already in the east is not."""
    for days, good in ((0, True), (1, True), (2, False)):  # it is past midnight at UTC+14
        record = VaccinationRecord(
            surname="An", birth_date="", product="EU/1/20/1528", dose_number=1, dose_total=2,
            vaccination_date=(NOW + timedelta(days=days)).date().isoformat(),
        )  # fmt: skip
        if good:
            make_issuer().issue(record)
        else:
            with pytest.raises(RecordError, match="future"):
                make_issuer().issue(record)


# --- the size of the symbol ----------------------------------------------------------------

LONG = VaccinationRecord(
    surname="Nguyễn " * 11 + "A",
    given_name="Trần " * 15,
    birth_date="1987-04-12",
    product="EU/1/20/1528",
    dose_number=2,
    dose_total=2,
    vaccination_date="2021-11-20",
    issuer="Sở Y tế Thái Nguyên, Trung tâm Kiểm soát bệnh tật tỉnh Thái Nguyên",
)


class CountingSigner(SoftwareSigner):
    signed = 0

    def sign(self, messages):
        type(self).signed += len(messages)
        return super().sign(messages)


def test_too_large_is_refused_before_signing() -> None:
    """A text that needs a larger symbol than allowed is an error, and nothing was signed for it."""
    key = signer_of(private_key("dsc"))
    key.__class__ = CountingSigner
    issuer = make_issuer(signer=key, max_qr_version=18)
    before = CountingSigner.signed
    with pytest.raises(RecordError, match="QR version 18"):
        issuer.issue(LONG)
    assert CountingSigner.signed == before


@pytest.mark.parametrize("version", range(16, 27))
def test_whatever_is_issued_fits(version: int) -> None:
    """For each limit every text that is issued fits it, one at a time and by columns."""
    issuer = make_issuer(max_qr_version=version)
    rows = [LONG, RECORD, *sample_records(40, seed=version)]
    # The same UVCIs both ways: how well a payload deflates depends on each of its bytes.
    uvcis = [random_uvci("VN") for _ in rows]
    issued = issuer.issue_columns(Columns.from_records(rows, uvcis))
    capacity = QR_CAPACITY[version - 1]
    for row, record in enumerate(rows):
        text = issued.texts[row]
        assert (text is None) == (row in issued.refused)
        assert text is None or len(text) <= capacity
        try:
            one = issuer.issue(record, uvci=uvcis[row])
        except RecordError:
            assert text is None
        else:
            assert text is not None
            assert len(one) <= capacity


# --- columns -------------------------------------------------------------------------------


def test_columns_are_read_by_others() -> None:
    """What columns give verifies here and elsewhere, row for row."""
    rows = sample_records(150, seed=3)
    uvcis = [random_uvci("VN") for _ in rows]
    issued = make_issuer().issue_columns(Columns.from_records(rows, uvcis))
    assert issued.refused == {}
    for record, uvci, text in zip(rows, uvcis, issued.texts, strict=True):
        dcc = assert_read_by_others(text, private_key("dsc").public_key(), dsc().kid, "ES256")
        assert (dcc["v"][0]["ci"], dcc["nam"]["fnt"]) == (uvci, record.fnt)
        assert verify(text, trust(), at=AT).valid


def test_columns_refuse_rows_and_go_on() -> None:
    """Rows in the future are refused by number, over block borders, and the others are issued."""
    rows = sample_records(4100, seed=4)
    late = VaccinationRecord(
        surname="An", birth_date="", product="EU/1/20/1528", dose_number=1, dose_total=2,
        vaccination_date="2031-01-01",
    )  # fmt: skip
    for place in (0, 1999, 2000, 4099):
        rows[place] = late
    uvcis = [random_uvci("VN") for _ in rows]
    issued = make_issuer().issue_columns(Columns.from_records(rows, uvcis))
    assert set(issued.refused) == {0, 1999, 2000, 4099}
    for number, text in enumerate(issued.texts):
        assert (text is None) == (number in issued.refused)
        if text is not None and number % 97 == 0:
            assert inspect(text).payload["v"][0]["ci"] == uvcis[number]


@pytest.mark.parametrize("uvci", ["no uvci at all", "x" * 1100, None, 5, "URN:UVCI:01:VN:A#A"])
def test_columns_refuse_what_is_no_uvci(uvci: object) -> None:
    """A row whose UVCI may not be written is refused, and the others are issued."""
    uvcis = [random_uvci("VN"), uvci, random_uvci("VN")]
    issued = make_issuer().issue_columns(Columns.from_records(sample_records(3), uvcis))
    assert set(issued.refused) == {1}
    assert [text is None for text in issued.texts] == [False, True, False]


def test_no_rows() -> None:
    """No rows give no texts."""
    assert make_issuer().issue_columns(Columns.from_records([], [])).texts == []


# --- threads, forks, tokens ----------------------------------------------------------------


def test_shared_by_threads() -> None:
    """Eight threads share an issuer; every text verifies and no UVCI comes twice."""
    issuer = make_issuer()
    texts: list[str] = []

    def work() -> None:
        texts.extend(issuer.issue(RECORD) for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 160
    assert all(verify(text, trust(), at=AT) for text in texts)
    assert len({inspect(text).payload["v"][0]["ci"] for text in texts}) == 160


def in_fork(work) -> str:
    """What ``work`` gives in a forked child."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = work()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_on_a_token(softhsm, kind: str) -> None:
    """On a SoftHSM token: issues, is read by others, refuses in a fork, and goes on afterwards."""
    key = softhsm.keys[kind]
    certificate = sign_dsc(f"token {kind}", key.public_key())
    with open_signer(softhsm.uri(kind), pin=softhsm.pin) as signer:
        issuer = Issuer(signer, pem(certificate.der), "VN", "Bộ Y tế", clock=clock)
        text = issuer.issue(RECORD)
        alg = {"ec": "ES256", "rsa": "PS256"}[kind]
        assert_read_by_others(text, key.public_key(), certificate.kid, alg)
        assert in_fork(lambda: issuer.issue(RECORD)).startswith("TokenError")
        assert verify(issuer.issue(RECORD), trust(certificate), at=AT)


def test_the_dsc_of_another_token_key(softhsm) -> None:
    """A DSC that isn't the token key's is refused when the issuer is built."""
    with open_signer(softhsm.uri("ec"), pin=softhsm.pin) as signer, pytest.raises(CertificateError):
        Issuer(signer, dsc(), "VN", "Bộ Y tế", clock=clock)


def test_now_is_the_real_clock() -> None:
    """Without a clock of its own the issuer uses the machine's."""
    recent = sign_dsc(
        not_before=datetime.now(UTC) - timedelta(days=1),
        not_after=datetime.now(UTC) + timedelta(days=500),
    )
    issuer = Issuer(signer_of(private_key("dsc")), recent, "VN", "Bộ Y tế")
    text = issuer.issue(RECORD)
    assert verify(text, trust(recent))
    assert abs((inspect(text).issued_at - datetime.now(UTC)).total_seconds()) < 60


def test_verify_signature_needs_exactly_64_bytes() -> None:
    """A DER signature, or raw ones of other lengths, are not ES256 signatures."""
    key = private_key("dsc")
    der = key.sign(b"m", ec.ECDSA(SHA256()))
    raw = signer_of(key).sign([b"m"])[0]
    assert verify_signature(key.public_key(), b"m", raw)
    for bad in (der, raw[:-1], raw + b"\0", b"", bytes(64), raw[:32] + bytes(32)):
        assert not verify_signature(key.public_key(), b"m", bad)
