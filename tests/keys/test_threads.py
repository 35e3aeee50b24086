"""Four threads, each with a session of its own, on one token: no error, and every signature holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tokens.softhsm import SoftHsm
from vaxpass_sign.hcert.signature import verify_signatures
from vaxpass_sign.keys import open_signer
from vaxpass_sign.keys.signer import Signer
from vaxpass_sign.keys.token_signer import Pkcs11Signer

THREADS = 4
SECONDS = 2.0


def each_its_own(hsm: SoftHsm, closing: ExitStack) -> list[Signer]:
    """A signer for each thread; the first one's login is everybody's."""
    return [closing.enter_context(Pkcs11Signer(hsm.uri("ec"), hsm.pin)) for _ in range(THREADS)]


def one_for_all(hsm: SoftHsm, closing: ExitStack) -> list[Signer]:
    """One signer of four sessions that all threads share."""
    return [closing.enter_context(open_signer(hsm.uri("ec"), hsm.pin, sessions=4))] * THREADS


def sign_for(hsm: SoftHsm, make: Callable[..., list[Signer]], seconds: float) -> int:
    """Sign in all threads for so long, and verify all; how many there were."""
    key = hsm.keys["ec"].public_key()
    failures: list[BaseException] = []
    made: list[int] = []
    end = time.monotonic() + seconds

    def work(number: int, signer: Signer) -> None:
        done = 0
        try:
            while time.monotonic() < end:
                messages = [b"%d of thread %d" % (done + n, number) for n in range(100)]
                signatures = signer.sign(messages)
                assert all(verify_signatures(key, messages, signatures))
                done += len(messages)
            made.append(done)
        except BaseException as error:
            failures.append(error)

    with ExitStack() as closing:
        signers = make(hsm, closing)
        threads = [threading.Thread(target=work, args=pair) for pair in enumerate(signers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert len(made) == THREADS
    return sum(made)


@pytest.mark.parametrize("make", [each_its_own, one_for_all])
def test_four_threads(softhsm: SoftHsm, make: Callable[..., list[Signer]]) -> None:
    """Two seconds here; `make test-long` does two minutes."""
    assert sign_for(softhsm, make, SECONDS) >= 400


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("make", [each_its_own, one_for_all])
def test_four_threads_for_two_minutes(softhsm: SoftHsm, make: Callable[..., list[Signer]]) -> None:
    assert sign_for(softhsm, make, 120) >= 100_000
