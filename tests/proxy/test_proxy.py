"""The PKCS#11 proxy, before a real SoftHSM and behind the library's own signer."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.proxy import Call, Ckr, Proxy, most_at_once
from tokens.leaks import assert_shows_no
from tokens.softhsm import SoftHsm
from vaxpass_sign.errors import ModuleError, PinError, TokenError, TokenLookupError, TokenLostError
from vaxpass_sign.keys.cryptoki import Rv
from vaxpass_sign.keys.listing import list_tokens
from vaxpass_sign.keys.module import load_module
from vaxpass_sign.keys.signer import Signer
from vaxpass_sign.keys.token import TokenInfo
from vaxpass_sign.keys.token_signer import Pkcs11Signer

WORKER = Path(__file__).with_name("worker.py")
PATIENCE_S = 60
"""How long to wait for what must happen; nothing that passes takes as long."""


def check(hsm: SoftHsm, label: str, message: bytes, signature: bytes) -> None:
    """Verify with cryptography and the key that was imported, not with the token."""
    key = hsm.keys[label].public_key()
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, message, padding.PSS(padding.MGF1(SHA256()), 32), SHA256())
        return
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    key.verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))


def sign_one(hsm: SoftHsm, signer: Signer, message: bytes = b"a") -> None:
    """A signature by the key ``ec``, which must verify."""
    check(hsm, "ec", message, signer.sign([message])[0])


def until(happened: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < give_up, "what was waited for did not happen"
        time.sleep(0.002)


@contextmanager
def worker(hsm: SoftHsm, count: int) -> Iterator[subprocess.Popen[str]]:
    """A process that has opened its signer and signs ``count`` times; it is killed at the end.

    Workers are opened one after the other: while one process logs in, SoftHSM 2.6.1 has the
    token's file empty for a moment, and another process that starts just then finds no token.
    """
    command = [sys.executable, str(WORKER), hsm.uri("ec"), str(count)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(hsm.pin + "\n")
            process.stdin.flush()
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            yield process
        finally:
            process.kill()


def rest_of(process: subprocess.Popen[str]) -> list[str]:
    """The lines that a worker wrote until it ended."""
    assert process.stdout is not None
    # Not communicate(), which does not see what readline() has read ahead.
    lines = process.stdout.read().splitlines()
    process.wait(PATIENCE_S)
    return lines


def check_output(hsm: SoftHsm, process: subprocess.Popen[str], count: int) -> None:
    """A worker's signatures, which must all be there and verify."""
    signatures = rest_of(process)
    assert (process.returncode, len(signatures)) == (0, count), signatures[-1:]
    for number, signature in enumerate(signatures):
        check(hsm, "ec", str(number).encode(), bytes.fromhex(signature))


@pytest.fixture
def background() -> Iterator[Callable[..., Future[Any]]]:
    """Run calls in threads of their own."""
    with ThreadPoolExecutor(16) as pool:
        yield pool.submit


# --- forwarding ----------------------------------------------------------------------------


@pytest.mark.parametrize(("label", "length"), [("ec", 64), ("rsa", 256)])
def test_signatures_through_it_verify(proxied: SoftHsm, label: str, length: int) -> None:
    """ES256 and PS256 signatures made through the proxy verify with the imported key."""
    messages = [b"", b"a", bytes(100_000)]
    with Pkcs11Signer(proxied.uri(label), proxied.pin) as signer:
        assert signer.public_key == proxied.keys[label].public_key()
        for message, signature in zip(messages, signer.sign(messages), strict=True):
            assert len(signature) == length
            check(proxied, label, message, signature)


def test_it_shows_the_same_tokens(softhsm: SoftHsm, proxied: SoftHsm) -> None:
    """Slots, tokens and public objects are the real module's."""

    def shown(path: Path) -> set[TokenInfo]:
        # SoftHSM lists a token's objects in another order each time; keys' URIs name the module.
        with load_module(path) as module:
            tokens = list_tokens(module)
        return {
            replace(i, keys=tuple(sorted((replace(k, uri=None) for k in i.keys), key=str)))
            for i in tokens
        }

    assert shown(proxied.module) == shown(softhsm.module)


def test_it_has_a_module_of_its_own_function_list(proxied: SoftHsm) -> None:
    """Before C_Initialize every call says so, and only C_GetFunctionList is exported."""
    library = ctypes.CDLL(str(proxied.module))
    pointer = ctypes.POINTER(ctypes.c_void_p)()
    assert library.C_GetFunctionList(ctypes.byref(pointer)) == 0
    version = ctypes.cast(pointer, ctypes.POINTER(ctypes.c_ubyte))
    assert (version[0], version[1]) == (2, 40)
    functions = [pointer[1 + place] for place in range(68)]
    assert all(functions)
    assert len(set(functions)) == 68
    call = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_ulong, ctypes.c_void_p)
    for place in (2, 5, 6, 15):  # C_GetInfo, C_GetSlotInfo, C_GetTokenInfo, C_GetSessionInfo
        assert call(functions[place])(0, None) == Ckr.CRYPTOKI_NOT_INITIALIZED
    assert not hasattr(library, "C_Sign")


def test_a_session_that_never_was(proxied: SoftHsm) -> None:
    """An unknown session handle gets the real module's own answer."""
    with load_module(proxied.module) as module:
        for handle in (0, 1, 4097, 2**64 - 1):
            size = ctypes.c_ulong(64)
            rv = module.functions.sign(handle, bytes(32), 32, None, ctypes.byref(size))
            assert rv == Ckr.SESSION_HANDLE_INVALID


def test_two_proxies_in_one_process(
    softhsm: SoftHsm, proxy: Proxy, proxied: SoftHsm, proxy_library: Path, tmp_path: Path
) -> None:
    """Each copy has its own settings and counters, also when both are used at the same time."""
    other = Proxy(tmp_path, proxy_library, softhsm.module)
    fault = other.fail("C_Sign", "CKR_DEVICE_ERROR")
    beside = replace(proxied, module=other.path)
    with Pkcs11Signer(proxied.uri("ec"), proxied.pin) as one, Pkcs11Signer(beside.uri("ec")) as two:
        sign_one(proxied, one)
        with pytest.raises(TokenError, match="CKR_DEVICE_ERROR"):
            two.sign([b"a"])
        sign_one(proxied, one)
    assert fault.hits == 1
    assert (proxy.counts()["C_Sign"], other.counts()["C_Sign"]) == (2, 1)


def test_its_numbers_are_the_librarys() -> None:
    """Two tables of CK_RV that were written apart agree."""
    for code in Ckr:
        assert Rv.__members__.get(code.name, code) == code


@pytest.mark.parametrize(
    ("settings_text", "complaint"),
    [
        pytest.param("module {real}\nsign_ms 5\n", "settings line 2", id="unknown setting"),
        pytest.param("module {real}\nat_once many\n", "settings line 2", id="not a number"),
        pytest.param("module {real}\nfault 0 C_Sgin 1 1 all kill\n", "line 2", id="no function"),
        pytest.param("module {real}\nfault 0 C_Sign 0 1 all kill\n", "line 2", id="0th call"),
        pytest.param("module {real}\nfault 0 C_Sign 1 1 all rv\n", "line 2", id="no CKR"),
        pytest.param("module {real}\nfault 0 C_Sign 1 1 all rv 0x3g\n", "line 2", id="bad CKR"),
        pytest.param("module {real}\nfault 0 C_Sign 1 1 some kill\n", "line 2", id="no scope"),
        pytest.param("module {real}\nfault 256 C_Sign 1 1 all kill\n", "line 2", id="256 faults"),
        pytest.param("module softhsm.so\n", "settings line 1", id="relative path"),
        pytest.param("module /nowhere/token.so\n", "can't be loaded", id="no module"),
        pytest.param("", "can't be loaded", id="empty"),
    ],
)
def test_settings_that_make_no_sense(
    softhsm: SoftHsm, proxy_library: Path, tmp_path: Path, settings_text: str, complaint: str
) -> None:
    """C_Initialize fails with CKR_GENERAL_ERROR, and the log says why."""
    proxy = Proxy(tmp_path, proxy_library, softhsm.module)
    (tmp_path / "settings").write_text(settings_text.format(real=softhsm.module))
    with pytest.raises(ModuleError, match="CKR_GENERAL_ERROR"):
        load_module(proxy.path)
    assert complaint in proxy.complaints()


# --- counts --------------------------------------------------------------------------------


def test_two_signers_log_in_once(proxy: Proxy, proxied: SoftHsm) -> None:
    """Two signers on one token: one C_Login, two sessions, one C_Sign for each signature."""
    with Pkcs11Signer(proxied.uri("ec"), proxied.pin) as one:
        with Pkcs11Signer(proxied.uri("rsa"), proxied.pin) as two:
            one.sign([b"a", b"b", b"c"])
            two.sign([b"d"])
        counts = proxy.counts()
        assert (counts["C_Login"], counts["C_OpenSession"]) == (1, 2)
        assert (counts["C_SignInit"], counts["C_Sign"]) == (4, 4)
    counts = proxy.counts()
    assert counts["C_CloseSession"] == 2
    assert counts["C_Logout"] == 0
    assert (counts["C_Initialize"], counts["C_Finalize"]) == (1, 1)


def test_counts_are_of_all_processes(proxy: Proxy, proxied: SoftHsm) -> None:
    """The calls of every process that uses the proxy are in the same counters."""
    with worker(proxied, 3) as one, worker(proxied, 5) as two:
        check_output(proxied, one, 3)
        check_output(proxied, two, 5)
    assert proxy.counts()["C_Sign"] == 8
    assert proxy.counts()["C_Login"] == 2


def test_the_trace_names_each_call(proxy: Proxy, proxied: SoftHsm) -> None:
    """With trace, each call is a line with its process, times and return value, in order."""
    with Pkcs11Signer(proxied.uri("ec"), proxied.pin) as signer:
        signer.sign([b"untraced"])
        proxy.set(trace=True)
        signer.sign([b"a", b"b"])
        proxy.fail("C_Sign", "0x30")
        with pytest.raises(TokenError):
            signer.sign([b"c"])
        proxy.set(trace=False)
    calls = proxy.calls()
    assert [call.function for call in calls] == ["C_SignInit", "C_Sign"] * 3
    assert [call.rv for call in calls] == [0, 0, 0, 0, 0, Ckr.DEVICE_ERROR]
    assert len({(call.process, call.thread) for call in calls}) == 1
    assert all(call.called_ns <= call.served_ns <= call.ended_ns for call in calls)


# --- slow and busy -------------------------------------------------------------------------


def test_each_signature_takes_its_time(proxy: Proxy, proxied: SoftHsm) -> None:
    """A signature takes sign_ms at least, fractions included; nothing else does."""
    proxy.set(sign_ms=2.5, trace=True)
    with Pkcs11Signer(proxied.uri("ec"), proxied.pin) as signer:
        signer.sign([b"a"] * 20)
    took = [call.ended_ns - call.served_ns for call in proxy.calls("C_Sign")]
    assert len(took) == 20
    assert min(took) >= 2_500_000


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), max_size=12))
@settings(deadline=None)
def test_most_at_once(spans: list[tuple[int, int]]) -> None:
    """The reckoning of overlaps is right: compared with looking at every instant."""
    calls = [Call(1, 1, "C_Sign", 0, start, start + length, 0) for start, length in spans]
    longer = [call for call in calls if call.ended_ns > call.served_ns]
    each = [sum(c.served_ns <= now < c.ended_ns for c in longer) for now in range(41)]
    assert most_at_once(longer) == max(each)


@pytest.mark.parametrize("limit", [1, 3, 8])
def test_no_more_at_once_than_the_limit(
    proxy: Proxy, proxied: SoftHsm, background: Callable[..., Future[Any]], limit: int
) -> None:
    """Ten threads and two processes share the token's places, and use them all."""
    # Long enough for all places to be taken, on a slow machine too.
    proxy.set(sign_ms=4 * limit, at_once=limit, trace=True)

    def sign_ten(signer: Signer) -> None:
        for _ in range(10):
            sign_one(proxied, signer)

    with ExitStack() as closing:
        uri, pin = proxied.uri("ec"), proxied.pin
        signers = [closing.enter_context(Pkcs11Signer(uri, pin)) for _ in range(10)]
        workers = [closing.enter_context(worker(proxied, 10)) for _ in range(2)]
        done = [background(sign_ten, s) for s in signers]
        for future in done:
            future.result(PATIENCE_S)
        for process in workers:
            check_output(proxied, process, 10)
    calls = proxy.calls("C_Sign")
    assert len(calls) == 120
    assert len({call.process for call in calls}) == 3
    assert most_at_once(calls) == limit
    assert proxy.held() == 0


def test_two_processes_share_one_place(proxy: Proxy, proxied: SoftHsm) -> None:
    """A token that does one thing at a time does so for two processes together, in turns."""
    proxy.set(sign_ms=20, at_once=1, trace=True)
    with worker(proxied, 15) as one, worker(proxied, 15) as two:
        check_output(proxied, one, 15)
        check_output(proxied, two, 15)
    calls = proxy.calls("C_Sign")
    assert len({call.process for call in calls}) == 2
    assert most_at_once(calls) == 1


def test_nobody_is_overtaken_for_ever(
    proxy: Proxy, proxied: SoftHsm, background: Callable[..., Future[Any]]
) -> None:
    """Whoever waits for a place gets one, however fast the others come back."""
    proxy.set(sign_ms=3, at_once=1)
    stop = threading.Event()

    def without_rest(signer: Signer) -> None:
        while not stop.is_set():
            signer.sign([b"a"])

    with ExitStack() as closing:
        uri, pin = proxied.uri("ec"), proxied.pin
        signers = [closing.enter_context(Pkcs11Signer(uri, pin)) for _ in range(3)]
        busy = [background(without_rest, signer) for signer in signers]
        closing.callback(stop.set)
        with worker(proxied, 5) as process:
            check_output(proxied, process, 5)
        stop.set()
        for future in busy:
            future.result(PATIENCE_S)


def test_a_killed_process_gives_its_place_back(proxy: Proxy, proxied: SoftHsm) -> None:
    """After a SIGKILL in the middle of a signature, the next in the queue gets the place."""
    proxy.set(sign_ms=3_600_000, at_once=1)
    with worker(proxied, 1) as killed:
        until(lambda: proxy.held() == 1)
        with worker(proxied, 1) as waiting:
            until(lambda: proxy.counts()["C_Sign"] == 2)
            proxy.set(sign_ms=0)
            assert proxy.held() == 1
            killed.kill()
            check_output(proxied, waiting, 1)
    assert proxy.held() == 0


# --- failing -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "action", "error", "words"),
    [
        ("C_Initialize", "CKR_GENERAL_ERROR", ModuleError, "could not be initialised"),
        ("C_Initialize", "CKR_CANT_LOCK", ModuleError, "can't be used by threads"),
        ("C_GetInfo", "CKR_DEVICE_ERROR", ModuleError, "gives no information"),
        ("C_GetSlotList", "CKR_GENERAL_ERROR", TokenLostError, "listing the tokens"),
        ("C_GetSlotInfo", "CKR_DEVICE_ERROR", TokenLostError, "listing the tokens"),
        ("C_GetTokenInfo", "CKR_DEVICE_ERROR", TokenLostError, "listing the tokens"),
        ("C_OpenSession", "CKR_SESSION_COUNT", TokenLostError, "close what else uses it"),
        ("C_OpenSession", "0x30", TokenLostError, "opening a session"),
        ("C_OpenSession", "0x80001234", TokenError, "80001234"),
        ("C_Login", "CKR_PIN_LOCKED", PinError, "is locked"),
        ("C_Login", "CKR_PIN_EXPIRED", PinError, "has expired"),
        ("C_Login", "CKR_DEVICE_REMOVED", TokenLostError, "logging in"),
        pytest.param(
            *("C_FindObjectsInit", "CKR_DEVICE_ERROR", TokenLostError, "searching for keys"),
            # python-pkcs11 ends the search that never began, in a destructor.
            marks=pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
        ),
        ("C_FindObjects", "CKR_DEVICE_REMOVED", TokenLostError, "searching for keys"),
        ("C_GetMechanismList", "CKR_DEVICE_ERROR", TokenLostError, "reading the key"),
    ],
)
def test_opening_fails(
    proxy: Proxy, proxied: SoftHsm, function: str, action: str, error: type[Exception], words: str
) -> None:
    """A fault while a signer is opened is the library's error of its group; the next one opens."""
    fault = proxy.fail(function, action)
    with pytest.raises(TokenError, match=words) as caught:
        Pkcs11Signer(proxied.uri("ec"), proxied.pin)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert_shows_no(caught.value, proxied.pin)
    assert fault.hits == 1
    assert proxy.counts()["C_Login"] <= 1
    with Pkcs11Signer(proxied.uri("ec"), proxied.pin) as signer:
        sign_one(proxied, signer)


def test_a_pin_is_refused(proxy: Proxy, softhsm: SoftHsm, proxied: SoftHsm) -> None:
    """A refused PIN is a PinError after one C_Login, and the real token never saw that try.

    In a process of its own, because the library remembers a refused PIN for as long as it runs.
    """
    fault = proxy.fail("C_Login", "CKR_PIN_INCORRECT", times=None)
    command = [sys.executable, str(WORKER), proxied.uri("ec"), "1"]
    done = subprocess.run(command, input=proxied.pin + "\n", capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout.startswith("PinError: the PIN was refused")
    assert proxied.pin not in done.stdout + done.stderr
    assert (fault.hits, proxy.counts()["C_Login"]) == (1, 1)
    with load_module(softhsm.module) as module:
        assert not any("wrong PIN before" in info.flags for info in list_tokens(module))


@pytest.mark.parametrize("function", ["C_SignInit", "C_Sign"])
@pytest.mark.parametrize(
    "action",
    [
        "CKR_DEVICE_ERROR",
        "CKR_DEVICE_REMOVED",
        "CKR_DEVICE_MEMORY",
        "CKR_FUNCTION_FAILED",
        "CKR_GENERAL_ERROR",
        "CKR_HOST_MEMORY",
        "CKR_KEY_HANDLE_INVALID",
        "CKR_SESSION_HANDLE_INVALID",
        "CKR_TOKEN_NOT_PRESENT",
        "CKR_USER_NOT_LOGGED_IN",
    ],
)
def test_signing_fails(proxy: Proxy, proxied: SoftHsm, function: str, action: str) -> None:
    """The n-th signature is a TokenError that names its place and code; the next ones verify."""
    with Pkcs11Signer(proxied.uri("ec"), proxied.pin) as signer:
        fault = proxy.fail(function, action, at=3)
        with pytest.raises(TokenError, match=f"message 3 of 5.*{action}") as caught:
            signer.sign([b"a"] * 5)
        assert type(caught.value) is TokenLostError
        sign_one(proxied, signer)
    assert (fault.hits, proxy.counts()["C_Login"]) == (1, 1)


@pytest.mark.parametrize(
    ("at", "times", "failed"),
    [
        (1, 1, [1]),
        (2, 3, [2, 3, 4]),
        (4, None, [4, 5, 6]),
        (6, 1, [6]),
        (7, None, []),
    ],
)
def test_when_a_fault_strikes(
    proxy: Proxy, proxied: SoftHsm, at: int, times: int | None, failed: list[int]
) -> None:
    """It strikes at the n-th call since it was set: once, so many times, or from then on."""
    with Pkcs11Signer(proxied.uri("ec"), proxied.pin) as signer:
        signer.sign([b"before"] * 4)
        fault = proxy.fail("C_Sign", "CKR_DEVICE_ERROR", at=at, times=times)
        assert [n for n in range(1, 7) if not signs(signer)] == failed
        assert fault.hits == len(failed)
        fault.clear()
        assert signs(signer)


def signs(signer: Signer) -> bool:
    try:
        signer.sign([b"a"])
    except TokenError:
        return False
    return True


@pytest.mark.parametrize(("each_process", "hits"), [(False, 1), (True, 3)])
def test_whose_calls_are_counted(
    proxy: Proxy, proxied: SoftHsm, each_process: bool, hits: int
) -> None:
    """The third call of all processes fails in one of them; of each process, in each."""
    fault = proxy.fail("C_Sign", "CKR_DEVICE_ERROR", at=3, each_process=each_process)
    with worker(proxied, 4) as one, worker(proxied, 4) as two, worker(proxied, 4) as three:
        processes = [one, two, three]
        for process in processes:
            rest_of(process)
    assert fault.hits == hits
    assert sum(process.returncode == 2 for process in processes) == hits


def test_several_faults_at_once(proxy: Proxy, proxied: SoftHsm) -> None:
    """Each fault counts for itself; of two that strike the same call the first one does."""
    with Pkcs11Signer(proxied.uri("ec"), proxied.pin) as signer:
        first = proxy.fail("C_Sign", "CKR_DEVICE_ERROR", at=2)
        second = proxy.fail("C_Sign", "CKR_HOST_MEMORY", at=2, times=2)
        sign_one(proxied, signer)
        for code in ("CKR_DEVICE_ERROR", "CKR_HOST_MEMORY"):
            with pytest.raises(TokenError, match=code):
                signer.sign([b"a"])
        sign_one(proxied, signer)
    assert (first.hits, second.hits) == (1, 1)


def test_a_hang_lasts_until_it_is_taken_away(
    proxy: Proxy, proxied: SoftHsm, background: Callable[..., Future[Any]]
) -> None:
    """A hanging call does not return and stops no other; taken away, it signs."""
    uri, pin = proxied.uri("ec"), proxied.pin
    with Pkcs11Signer(uri, pin) as hanging, Pkcs11Signer(uri, pin) as other:
        fault = proxy.fail("C_Sign", "hang")
        done = background(sign_one, proxied, hanging)
        until(lambda: fault.hits == 1)
        sign_one(proxied, other)
        with pytest.raises(TimeoutError):
            done.result(0.3)
        fault.clear()
        done.result(PATIENCE_S)


def test_a_hang_of_so_many_seconds(proxy: Proxy, proxied: SoftHsm) -> None:
    """The call returns late, and is well."""
    proxy.fail("C_SignInit", "hang:0.25")
    with Pkcs11Signer(proxied.uri("ec"), proxied.pin) as signer:
        started = time.monotonic()
        sign_one(proxied, signer)
        assert time.monotonic() - started >= 0.25


def test_a_hanging_process_can_be_killed(proxy: Proxy, proxied: SoftHsm) -> None:
    """SIGKILL ends a process that hangs in the token, and others sign on."""
    fault = proxy.fail("C_Sign", "hang", at=2)
    with worker(proxied, 3) as process:
        until(lambda: fault.hits == 1)
        process.kill()
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
    with worker(proxied, 3) as process:
        check_output(proxied, process, 3)


def test_a_fault_may_kill_the_process(proxy: Proxy, proxied: SoftHsm) -> None:
    """The process that makes the n-th call is killed in it; what it had signed before stands."""
    fault = proxy.fail("C_Sign", "kill", at=5)
    with worker(proxied, 9) as process:
        signatures = rest_of(process)
    assert process.returncode == -signal.SIGKILL
    assert len(signatures) == 4
    assert (fault.hits, proxy.counts()["C_Sign"]) == (1, 5)


# --- a token that goes and comes -----------------------------------------------------------


def test_a_token_pulled_out_and_put_back(proxy: Proxy, proxied: SoftHsm) -> None:
    """While it is out nothing works; afterwards old signers are dead and a new login signs."""
    uri, pin = proxied.uri("ec"), proxied.pin
    with Pkcs11Signer(uri, pin) as old, Pkcs11Signer(uri) as idle:
        proxy.fail("C_Sign", "remove", at=3)
        with pytest.raises(TokenError, match=r"message 3 of 4.*CKR_DEVICE_REMOVED"):
            old.sign([b"a"] * 4)
        for signer in (old, idle):
            with pytest.raises(TokenError, match="CKR_DEVICE_REMOVED"):
                signer.sign([b"a"])
        with pytest.raises(TokenLookupError, match=r"no token in .* matches the URI"):
            Pkcs11Signer(uri, pin)
        with load_module(proxied.module) as module:
            there = [info.label for info in list_tokens(module)]
            present = module.lib.get_slots(token_present=True)
            assert proxied.token not in there
            assert len(present) == len(there)
            assert len(module.lib.get_slots()) == len(present) + 1
        proxy.plug_in()
        for signer in (old, idle):
            with pytest.raises(TokenError, match="CKR_SESSION_HANDLE_INVALID"):
                signer.sign([b"a"])
        with pytest.raises(PinError):
            Pkcs11Signer(uri)  # the login went with the token
        with Pkcs11Signer(uri, pin) as new:
            sign_one(proxied, new)
            old.close()
            idle.close()
            sign_one(proxied, new)
    assert proxy.counts()["C_Login"] == 2


def test_a_token_comes_back_by_itself(proxy: Proxy, proxied: SoftHsm) -> None:
    """Removed for a time, the token can be opened again after it, and not before."""
    uri, pin = proxied.uri("ec"), proxied.pin
    with Pkcs11Signer(uri, pin) as old:
        started = time.monotonic()
        proxy.fail("C_SignInit", "remove:0.3")
        assert not signs(old)

    def opens() -> bool:
        try:
            Pkcs11Signer(uri, pin).close()
        except TokenLookupError:
            return False
        return True

    until(opens)
    assert time.monotonic() - started >= 0.3


def test_a_daemon_restarted(proxy: Proxy, proxied: SoftHsm) -> None:
    """Removed for no time at all: every session is invalid, and a new one opens at once."""
    uri, pin = proxied.uri("ec"), proxied.pin
    with Pkcs11Signer(uri, pin) as one, Pkcs11Signer(uri) as two:
        proxy.fail("C_Sign", "remove:0")
        for signer in (one, two):
            with pytest.raises(TokenError, match="CKR_SESSION_HANDLE_INVALID"):
                signer.sign([b"a"])
        with Pkcs11Signer(uri, pin) as new:
            sign_one(proxied, new)


def test_all_processes_lose_the_token(proxy: Proxy, proxied: SoftHsm) -> None:
    """Pulled out during one process's call, the token is gone for the others too."""
    with Pkcs11Signer(proxied.uri("ec"), proxied.pin) as signer:
        with worker(proxied, 10**6) as process:
            assert process.stdout is not None
            assert len(process.stdout.readline()) == 129
            proxy.fail("C_GetSessionInfo", "remove")
            with pytest.raises(TokenError):
                Pkcs11Signer(proxied.uri("ec"), proxied.pin)
            assert "CKR_DEVICE_REMOVED" in rest_of(process)[-1]
            assert process.returncode == 2
        assert not signs(signer)
        proxy.plug_in()
        with worker(proxied, 2) as process:
            check_output(proxied, process, 2)


def test_the_other_slots_token_stays(proxy: Proxy, proxied: SoftHsm) -> None:
    """Pulling one token out leaves a token in another slot as it is."""
    proxied.add_token("beside")
    proxied.import_key(proxied.keys["ec"], "ec", "b1", token="beside")
    beside = replace(proxied, token="beside")
    with (
        Pkcs11Signer(proxied.uri("ec"), proxied.pin) as gone,
        Pkcs11Signer(beside.uri("ec"), beside.pin) as stays,
    ):
        proxy.fail("C_Sign", "remove")
        assert not signs(gone)
        sign_one(beside, stays)
        proxy.plug_in()
        sign_one(beside, stays)
        assert not signs(gone)


def test_pulled_out_while_threads_sign(
    proxy: Proxy, proxied: SoftHsm, background: Callable[..., Future[Any]]
) -> None:
    """Twenty times in a row, under four signing threads: each ends, and new ones work."""
    uri, pin = proxied.uri("ec"), proxied.pin

    def sign_until_it_fails(signer: Signer) -> str:
        for number in range(10**9):
            message = str(number).encode()
            try:
                [signature] = signer.sign([message])
            except TokenError as error:
                return str(error)
            check(proxied, "ec", message, signature)
        return "never"

    for _ in range(20):
        with ExitStack() as closing:
            signers = [closing.enter_context(Pkcs11Signer(uri, pin)) for _ in range(4)]
            proxy.fail("C_Sign", "remove:0", at=30)
            working = [background(sign_until_it_fails, signer) for signer in signers]
            for future in working:
                assert "CKR_SESSION_HANDLE_INVALID" in future.result(PATIENCE_S)
    assert proxy.counts()["C_Login"] == 20


# --- sessions and logins that end ----------------------------------------------------------


def test_a_session_expires(proxy: Proxy, proxied: SoftHsm) -> None:
    """The session of the n-th call is closed; others, and the login, live on."""
    uri, pin = proxied.uri("ec"), proxied.pin
    with Pkcs11Signer(uri, pin) as expired, Pkcs11Signer(uri) as other:
        proxy.fail("C_SignInit", "expire", at=2)
        sign_one(proxied, expired)
        for _ in range(2):
            with pytest.raises(TokenError, match="CKR_SESSION_HANDLE_INVALID"):
                expired.sign([b"a"])
        sign_one(proxied, other)
        with Pkcs11Signer(uri) as new:
            sign_one(proxied, new)
            expired.close()
            sign_one(proxied, new)


def test_a_login_is_lost(proxy: Proxy, proxied: SoftHsm) -> None:
    """Logged out behind its back, every signer fails; a new one sends the PIN and signs."""
    uri, pin = proxied.uri("ec"), proxied.pin
    with Pkcs11Signer(uri, pin) as one, Pkcs11Signer(uri) as two:
        proxy.fail("C_SignInit", "logout")
        assert not signs(one)
        assert not signs(two)
        with Pkcs11Signer(uri, pin) as new:
            sign_one(proxied, new)
    assert proxy.counts()["C_Login"] == 2
