"""``token doctor`` and ``token bench`` as a user runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.proxy import Proxy
from running import Done, dsc_for_today, run_program
from tokens.softhsm import PIN, SoftHsm
from vaxpass_sign.x509 import pem


def doctor(uri: str, *arguments: object, pin: str = PIN) -> Done:
    return run_program(
        *("token", "doctor", uri, "--pin-env", "TOKEN_PIN", *arguments), env={"TOKEN_PIN": pin}
    )


def steps(done: Done) -> list[tuple[str, str]]:
    """What it says of each step, in order."""
    return [(line[:4].strip(), line[6:16].strip()) for line in done.out.splitlines()]


def test_all_is_well(proxied: SoftHsm, proxy: Proxy, tmp_path: Path) -> None:
    """Each step is said to be right, and a setting is named."""
    dsc = tmp_path / "dsc.pem"
    dsc.write_bytes(pem(dsc_for_today("dsc", public_key=proxied.keys["ec"].public_key()).der))
    done = doctor(proxied.uri("ec"), "--dsc", dsc, "--seconds", "0.2")
    assert (done.code, done.err) == (0, "")
    # The tests' keys were imported, and the token tells.
    notes = [line for line in done.out.splitlines() if not line.startswith("ok ")]
    assert len(notes) == 1
    assert "CKA_NEVER_EXTRACTABLE is false: it was outside of a token at some time" in notes[0]
    assert list(dict.fromkeys(step for _, step in steps(done))) == [
        *("URI", "module", "token", "PIN", "key", "signature", "speed")
    ]
    assert "signs ES256" in done.out
    assert "verifies with the DSC's key" in done.out
    assert re.search(r"use --workers \d+ --sessions \d+", done.out.splitlines()[-1])


def test_a_slow_hsm_wants_sessions(proxied: SoftHsm, proxy: Proxy) -> None:
    """20 ms a signature, four at once: four sessions of one process are enough."""
    proxy.set(sign_ms=20, at_once=4)
    done = doctor(proxied.uri("ec"), "--seconds", "1")
    assert done.code == 0
    assert "use --workers 1 --sessions 4" in done.out.splitlines()[-1]


@pytest.mark.parametrize(
    ("change", "step", "words"),
    [
        (lambda uri: uri + "&nonsense=1", "URI", "attribute 'nonsense' is not known"),
        (lambda uri: uri.replace("p11proxy.so", "none.so"), "module", "does not exist"),
        (lambda uri: uri.replace("vaxpass", "another"), "token", "no token in"),
        (lambda uri: uri.replace("object=ec", "object=none"), "key", "no private key on"),
    ],
)
def test_what_is_wrong(proxied: SoftHsm, change, step: str, words: str) -> None:
    """The first step that fails is the last, and says what to do."""
    done = doctor(change(proxied.uri("ec")))
    assert done.code == 2
    assert steps(done)[-1] == ("BAD", step)
    assert words in done.out.splitlines()[-1]
    assert "not tried" in done.message
    assert all(state != "BAD" for state, _ in steps(done)[:-1])


def test_a_wrong_pin_is_sent_once(proxied: SoftHsm, proxy: Proxy) -> None:
    done = doctor(proxied.uri("ec"), pin="wrong-for-the-doctor")
    assert done.code == 2
    assert steps(done)[-1] == ("BAD", "PIN")
    assert "wrong-for-the-doctor" not in done.out + done.err
    assert proxy.counts()["C_Login"] == 1
    again = doctor(proxied.uri("ec"), "--seconds", "0")
    assert again.code == 0
    assert "1 wrong PINs in a row were sent to it from this account" in again.out


def test_another_keys_dsc(proxied: SoftHsm, tmp_path: Path) -> None:
    dsc = tmp_path / "dsc.pem"
    dsc.write_bytes(pem(dsc_for_today("another").der))
    done = doctor(proxied.uri("ec"), "--dsc", dsc)
    assert done.code == 2
    assert steps(done)[-1] == ("BAD", "signature")
    assert "is of another key" in done.out.splitlines()[-1]


def test_a_token_that_fails(proxied: SoftHsm, proxy: Proxy) -> None:
    """What the module answered is named, with what to try."""
    proxy.fail("C_Sign", "CKR_DEVICE_ERROR", times=None)
    done = doctor(proxied.uri("ec"))
    assert steps(done)[-1] == ("BAD", "signature")
    assert "CKR_DEVICE_ERROR" in done.out
    assert "plugged in" in done.out


@pytest.mark.parametrize("arguments", [(), ("--rsa",), ("--this-key",)])
def test_bench(proxied: SoftHsm, proxy: Proxy, arguments: tuple[str, ...]) -> None:
    """Library and bare loop in turn; the key of a session leaves nothing on the token."""
    before = doctor(proxied.uri("ec"), "--seconds", "0").out
    done = run_program(
        *("token", "bench", proxied.uri("ec"), "--pin-env", "TOKEN_PIN", "--seconds", "0.1"),
        *arguments,
        env={"TOKEN_PIN": PIN},
    )
    assert (done.code, done.err) == (0, "")
    key, library, bare, ratio = done.out.splitlines()
    assert ("'ec'" in key) == ("--this-key" in arguments)
    rates = [float(line.split()[-2].replace(",", "")) for line in (library, bare)]
    assert all(rate > 100 for rate in rates)
    assert 0.2 < float(ratio.split()[-1]) < 2
    assert doctor(proxied.uri("ec"), "--seconds", "0").out == before
    assert proxy.counts()["C_DestroyObject"] == 0


@pytest.mark.timeout(60)
@pytest.mark.parametrize("function", ["C_GetSlotList", "C_Login", "C_SignInit", "C_Sign"])
def test_the_doctor_does_not_hang(proxied: SoftHsm, proxy: Proxy, function: str) -> None:
    """A call that never returns is found, and the program ends."""
    proxy.fail(function, "hang", times=None)
    code = (
        "import sys\n"
        "from vaxpass_sign import cli\n"
        "from vaxpass_sign.keys import watch\n"
        "watch.watched.__kwdefaults__['patience_s'] = 0.5\n"
        "from vaxpass_sign.keys import doctor, session, token_signer\n"
        "session.open_session.__kwdefaults__['patience_s'] = 0.5\n"
        "token_signer.Pkcs11Signer.__init__.__kwdefaults__['patience_s'] = 0.5\n"
        "sys.argv[0] = 'vaxpass-sign'\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            "token",
            "doctor",
            proxied.uri("ec"),
            "--pin-env",
            "TOKEN_PIN",
        ],
        env={**os.environ, "TOKEN_PIN": PIN},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert "has not returned for 0.5 s" in done.stdout.splitlines()[-1]
    assert PIN not in done.stdout + done.stderr
