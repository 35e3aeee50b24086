"""Fixtures that tests of every room share."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings

from proxy.proxy import Proxy, build_library
from tokens.softhsm import SoftHsm, find_softhsm, make_softhsm

# `make test` tries the same examples each time, so that it fails for what changed and not by chance;
# HYPOTHESIS_PROFILE=search looks for new ones, and `make test-long` does.
settings.register_profile("seeded", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "seeded"))


# A shell starts its background jobs with SIGINT ignored, and every child inherits that: tests that
# press Ctrl-C would wait for nothing. With a handler here, children start with the default again.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The notes of refused PINs that tests make are not the user's."""
    folder = tmp_path_factory.mktemp("state")
    before = os.environ.get("XDG_STATE_HOME")
    os.environ["XDG_STATE_HOME"] = str(folder)
    yield folder
    if before is None:
        del os.environ["XDG_STATE_HOME"]
    else:
        os.environ["XDG_STATE_HOME"] = before


@pytest.fixture(autouse=True)
def no_refused_pins(state_home: Path) -> Iterator[None]:
    """Each test's wrong PINs are its own."""
    yield
    (state_home / "vaxpass-sign" / "refused-pins.json").unlink(missing_ok=True)


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsm]:
    """A real SoftHSM with one token and two keys, for the whole session.

    SOFTHSM2_CONF is set before the module is initialised in this process. Without SoftHSM the
    test is skipped here, and fails where CI is set: there it must never be left out unseen.
    """
    module = find_softhsm()
    if module is None:
        reason = "SoftHSM is not installed (Debian: apt-get install softhsm2)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    hsm = make_softhsm(tmp_path_factory.mktemp("softhsm"), module)
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(hsm.conf)
    yield hsm
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


@pytest.fixture(scope="session")
def proxy_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled library. Without a C compiler: skipped here, failed where CI is set."""
    if shutil.which("cc") is None:
        reason = "there is no C compiler (Debian: apt-get install gcc libc6-dev)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return build_library(tmp_path_factory.mktemp("p11proxy"))


@pytest.fixture
def proxy(softhsm: SoftHsm, proxy_library: Path, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy before SoftHSM that only forwards; a test sets delays, limits and faults on it.

    After each test: it understood all that it was told, and no file of it holds a PIN.
    """
    directory = tmp_path / "proxy"
    directory.mkdir()
    proxy = Proxy(directory, proxy_library, softhsm.module)
    yield proxy
    proxy.clear()
    assert proxy.complaints() == ""
    for path in directory.iterdir():
        data = path.read_bytes()
        for secret in (softhsm.pin, softhsm.so_pin):
            assert secret.encode() not in data, path.name


@pytest.fixture
def proxied(softhsm: SoftHsm, proxy: Proxy) -> SoftHsm:
    """The SoftHSM with its module's place taken by the proxy: its URIs go through it."""
    return replace(softhsm, module=proxy.path)
