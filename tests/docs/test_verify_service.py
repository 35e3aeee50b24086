"""The service of docs/how-to/verify-in-your-service.md, run by uvicorn as the page runs it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import base45
import httpx
import pytest

from docs.session import blocks
from issuing import RECORD, private_key, signer_of
from running import TODAY, dsc_for_today
from vaxpass_sign import inspect
from vaxpass_sign.check.revocation import HashType, Scope, write_store
from vaxpass_sign.check.revocation.hashes import hashes_of
from vaxpass_sign.check.sentences import sentence
from vaxpass_sign.check.verdict import Reason
from vaxpass_sign.hcert import framing
from vaxpass_sign.issuer import Issuer
from vaxpass_sign.x509 import Certificate, pem

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "verify-in-your-service.md"
EXAMPLE = ROOT / "examples" / "verify_service.py"


def issued(dsc: Certificate, key: str = "dsc", days_ago: int = 1, days: int = 100) -> str:
    then = (TODAY - timedelta(days=days_ago)).timestamp()
    issuer = Issuer(
        *(signer_of(private_key(key)), dsc, "VN", "Bộ Y tế", timedelta(days=days)),
        clock=lambda: then,
    )
    return issuer.issue(RECORD)


def with_wrong_signature(text: str) -> str:
    message = bytearray(framing.unframe(text))
    message[-1] ^= 1
    return "HC1:" + base45.b45encode(zlib.compress(message)).decode()


class Service:
    """uvicorn with the example, on a port of its own choice; its log goes to a file."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.dsc = dsc_for_today()
        self.other = dsc_for_today("other")
        self.valid = issued(self.dsc)
        self.others = issued(self.other, "other")
        self.expired = issued(self.dsc, days_ago=150, days=30)
        self.forged = with_wrong_signature(self.valid)
        self.trust = folder / "trust"
        self.trust.mkdir()
        self.put("dsc.pem", pem(self.dsc.der))
        self.log_file = folder / "log"
        environment = {
            **os.environ,
            "VAXPASS_TRUST": str(self.trust),
            "VAXPASS_RELOAD_SECONDS": "0.1",
            "PYTHONUNBUFFERED": "1",
            **settings,
        }
        command = "-m uvicorn --app-dir examples verify_service:app --host 127.0.0.1 --port 0"
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command.split()],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.port = int(self.wait_for(r"running on http://127\.0\.0\.1:(\d+)")[1])
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_file.read_text("utf-8")

    def wait_for(self, pattern: str, after: int = 0) -> re.Match[str]:
        until = time.monotonic() + 30
        while time.monotonic() < until and self.process.poll() is None:
            if found := re.search(pattern, self.log[after:]):
                return found
            time.sleep(0.02)
        raise AssertionError(f"not in the log: {pattern}\n{self.log}")

    def put(self, name: str, data: bytes) -> None:
        """As the page says: written beside, and renamed."""
        (self.trust / f"{name}.new").write_bytes(data)
        (self.trust / f"{name}.new").replace(self.trust / name)

    def post(self, body: str | bytes, **headers: str) -> httpx.Response:
        return httpx.post(f"{self.url}/verify", content=body, headers=headers)

    def health(self) -> dict:
        return httpx.get(f"{self.url}/health").json()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for the tests that leave it as it was."""
    running = Service(tmp_path_factory.mktemp("service"))
    yield running
    running.end()


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[Service]:
    running = Service(tmp_path)
    yield running
    running.end()


# --- the page ------------------------------------------------------------------------------


def test_the_page_shows_the_example() -> None:
    """The code of the page is examples/verify_service.py, word for word."""
    [code] = [
        content for language, content in blocks(PAGE.read_text("utf-8")) if language == "python"
    ]
    assert code == EXAMPLE.read_text("utf-8")


def test_the_page_shows_a_real_answer(service: Service) -> None:
    """The JSON of the page has the fields that the service answers, and its words."""
    [shown] = [
        content for language, content in blocks(PAGE.read_text("utf-8")) if language == "json"
    ]
    answer = service.post(service.valid, **{"Accept-Language": "vi"}).json()
    example = json.loads(shown)
    assert list(example) == list(answer)
    assert list(example["name"]) == list(answer["name"])
    for field in ("valid", "reason", "step", "advice", "not_checked"):
        assert example[field] == answer[field]


# --- what it answers -----------------------------------------------------------------------


def test_a_valid_one(service: Service) -> None:
    """Its holder's name and birth date are there to be compared, and what was not checked."""
    response = service.post(service.valid + "\r\n")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert response.json() == {
        "valid": True,
        "reason": "valid",
        "step": "done",
        "advice": sentence(Reason.VALID),
        "not_checked": ["holder", "revocation", "rules", "csca"],
        "name": {
            "fn": "Nguyễn",
            "fnt": "NGUYEN",
            "gn": "Thị Minh Khai",
            "gnt": "THI<MINH<KHAI",
        },
        "birth_date": "1987-04-12",
    }


@pytest.mark.parametrize(
    ("which", "reason"),
    [("forged", "signature"), ("expired", "expired"), ("others", "unknown_kid")],
)
def test_one_that_is_not_valid(service: Service, which: str, reason: str) -> None:
    """Why, at which step, what to do, and nothing of what it says."""
    answer = service.post(getattr(service, which)).json()
    assert (answer["valid"], answer["reason"]) == (False, reason)
    assert answer["advice"] == sentence(Reason(reason))
    assert not {"name", "birth_date"} & set(answer)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 200, "not_hc1"),
        (b"HC1:", 200, "inflate|base45|not_compressed"),
        (b"HC1:" + b"A" * 8188, 200, "too_long"),
        (b"HC1:" + b"A" * 8189, 413, "more than 8192 bytes"),
        (b"A" * 5_000_000, 413, "more than 8192 bytes"),
        (b"HC1:\xff\xfe", 400, "in UTF-8"),
        (b"\x89PNG\r\n\x1a\n", 400, "in UTF-8"),
    ],
    ids=["empty", "prefix", "as-long-as-may-be", "a-byte-more", "5-MB", "no-utf8", "a-picture"],
)
def test_bodies_of_another_kind(service: Service, body: bytes, status: int, words: str) -> None:
    """Read within bounds, and answered in JSON."""
    response = service.post(body)
    assert response.status_code == status, response.text
    assert re.search(words, response.text)


def test_a_body_without_length_is_bounded_too(service: Service) -> None:
    """Chunks without an announced length are counted as they come."""

    def chunks() -> Iterator[bytes]:
        for _ in range(10):
            yield b"A" * 1000

    response = httpx.post(f"{service.url}/verify", content=chunks())
    assert response.status_code == 413


@pytest.mark.parametrize(
    ("accept", "said"),
    [
        (None, "en"),
        ("vi", "vi"),
        ("vi-VN,vi;q=0.9,en;q=0.8", "vi"),
        ("en-GB, vi;q=0.5", "en"),
        ("vi;q=0.3, en;q=0.4", "en"),
        ("fr, VI;q=0.1", "vi"),
        ("vi;q=0", "en"),
        ("fr-FR, *;q=0.5", "en"),
        (";;q=,,vi;q=x", "vi"),
        ("q" * 5000, "en"),
    ],
)
def test_the_language_of_the_advice(service: Service, accept: str | None, said: str) -> None:
    """The one that is wanted most of those that there are; else English."""
    headers = {} if accept is None else {"Accept-Language": accept}
    advice = service.post(service.expired, **headers).json()["advice"]
    assert advice == sentence(Reason.EXPIRED, said)


def test_only_in_the_body(service: Service) -> None:
    """A text in the address is not read: addresses are logged."""
    assert httpx.get(f"{service.url}/verify").status_code == 405
    assert httpx.post(f"{service.url}/verify?text=x").json()["reason"] == "not_hc1"


def test_clients_that_stop_in_the_middle(service: Service) -> None:
    """One that is slow is answered after five seconds; one that leaves is no error of the service."""
    head = b"POST /verify HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nHC1:"
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as slow:
        slow.sendall(head)
        with socket.create_connection(("127.0.0.1", service.port), timeout=20) as gone:
            gone.sendall(head)
        assert slow.recv(4096).startswith(b"HTTP/1.1 408 ")
    assert service.post(service.valid).json()["valid"]
    assert "Traceback" not in service.log


# --- many at once, trust that changes, the end ---------------------------------------------


async def ask_all(service: Service, texts: list[str]) -> list[dict]:
    limits = httpx.Limits(max_connections=len(texts))
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:
        asked = (client.post(f"{service.url}/verify", content=text) for text in texts)
        responses = await asyncio.gather(*asked)
    assert {response.status_code for response in responses} == {200}
    return [response.json() for response in responses]


def test_500_at_once(service: Service) -> None:
    """Each of 500 requests gets the answer of its own text."""
    kinds = {service.valid: "valid", service.forged: "signature", service.expired: "expired"}
    texts = [text for _, text in zip(range(500), list(kinds) * 200, strict=False)]
    answers = asyncio.run(ask_all(service, texts))
    assert [answer["reason"] for answer in answers] == [kinds[text] for text in texts]


def test_trust_changes_under_load(own_service: Service) -> None:
    """New DSCs count without a restart, no request fails meanwhile, and bad files change nothing."""
    service = own_service
    counts: list[tuple[str, str]] = []

    async def ask() -> None:
        async with httpx.AsyncClient(timeout=60) as client:
            while not changed.done():
                answers = []
                for text in (service.valid, service.others):
                    response = await client.post(f"{service.url}/verify", content=text)
                    assert response.status_code == 200
                    answers.append(response.json()["reason"])
                counts.append((answers[0], answers[1]))

    async def change() -> None:
        wait = asyncio.to_thread
        while not counts:
            await asyncio.sleep(0.01)
        await wait(service.put, "dsc.pem", pem(service.dsc.der) + pem(service.other.der))
        await wait(service.wait_for, "trust was reloaded: 2 DSCs")
        await wait(service.put, "dsc.pem", b"garbage")
        await wait(service.wait_for, r"the last good one stays: .*dsc\.pem")
        health = await wait(service.health)
        assert health["dscs"] == 2
        assert "dsc.pem" in health["error"]
        await wait(service.put, "dsc.pem", pem(service.other.der))
        await wait(service.wait_for, "trust was reloaded: 1 DSCs")
        await asyncio.sleep(0.3)

    async def both() -> None:
        nonlocal changed
        changed = asyncio.ensure_future(change())
        await asyncio.gather(changed, *(ask() for _ in range(8)))

    changed: asyncio.Future[None]
    asyncio.run(both())
    seen = set(counts)
    assert ("valid", "unknown_kid") in seen
    assert ("valid", "valid") in seen
    assert counts[-1] == ("unknown_kid", "valid")
    assert ("unknown_kid", "unknown_kid") not in seen
    assert service.health()["error"] is None


def test_health(own_service: Service) -> None:
    """How many DSCs, how old the newest file is, and why the last reload failed."""
    service = own_service
    an_hour_ago = time.time() - 3600
    os.utime(service.trust / "dsc.pem", (an_hour_ago, an_hour_ago))
    service.wait_for("trust was reloaded")
    health = service.health()
    assert (health["dscs"], health["error"]) == (1, None)
    assert 3595 < health["age_s"] < 3700
    (service.trust / "dsc.pem").unlink()
    service.wait_for("trust was not reloaded")
    assert service.post(service.valid).json()["valid"]


def test_revocation(tmp_path: Path) -> None:
    """What a store revokes is refused, also when the store came later; when it ends is at /health."""
    stores = tmp_path / "revocation"
    stores.mkdir()
    until = TODAY + timedelta(days=3)

    def publish(*texts: str) -> None:
        hashes = [hashes_of(inspect(text), HashType.UCI)[0] for text in texts]
        scope = Scope(HashType.UCI, "VN", None)
        write_store(stores / "vn.vxrev", [(scope, hashes)] if hashes else [], expires_at=until)

    publish()
    service = Service(tmp_path, VAXPASS_REVOCATION=str(stores))
    try:
        answer = service.post(service.valid).json()
        assert answer["valid"]
        assert answer["not_checked"] == ["holder", "rules", "csca"]
        publish(service.valid)
        ends = time.monotonic() + 30
        while service.post(service.valid).json()["reason"] != "revoked":
            assert time.monotonic() < ends
            time.sleep(0.05)
        assert service.health()["revocation_until"] == until.isoformat()
        (tmp_path / "garbage").write_bytes(b"garbage")
        (tmp_path / "garbage").replace(stores / "vn.vxrev")
        service.wait_for(r"the last good one stays: .*vn\.vxrev")
        assert service.post(service.valid).json()["reason"] == "revoked"
    finally:
        service.end()


def test_no_start_without_trust(tmp_path: Path) -> None:
    """With an empty folder the service ends at once."""
    done = subprocess.run(
        [sys.executable, *"-m uvicorn --app-dir examples verify_service:app --port 0".split()],
        cwd=ROOT,
        env={**os.environ, "VAXPASS_TRUST": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    assert "found no .pem" in done.stderr


def test_the_end(own_service: Service) -> None:
    """SIGTERM: what was asked is answered, and the process ends."""
    service = own_service

    async def ask_and_end() -> list[dict]:
        asked = asyncio.ensure_future(ask_all(service, [service.valid] * 50))
        await asyncio.to_thread(service.wait_for, "valid kid=")
        service.process.send_signal(signal.SIGTERM)
        return await asked

    # Those whose connection was not accepted yet are refused; no answer is a wrong one.
    try:
        assert all(answer["valid"] for answer in asyncio.run(ask_and_end()))
    except httpx.TransportError:
        pass
    assert service.process.wait(timeout=20) in (0, -signal.SIGTERM)
    assert "Application shutdown complete" in service.log
    assert "Traceback" not in service.log


def test_nothing_personal_in_the_log(service: Service) -> None:
    """Reasons and kids are in it; no text, no name, no birth date, for whatever was sent."""
    before = len(service.log)
    for text in (service.valid, service.forged, service.expired, service.valid + "\xff"):
        service.post(text)
    service.wait_for("signature kid=", before)
    assert f"valid kid={service.dsc.kid.hex()}" in service.log
    assert '"POST /verify HTTP/1.1" 200' in service.log
    assert "HC1:" not in service.log
    assert service.valid[40:80] not in service.log
    for word in ("Nguy", "NGUYEN", "Khai", "KHAI", "1987"):
        assert word not in service.log
