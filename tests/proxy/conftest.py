"""Fixtures: the compiled proxy, and a SoftHSM behind one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.proxy import Proxy, build_library
from tokens.softhsm import SoftHsm


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
