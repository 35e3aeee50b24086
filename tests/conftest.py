"""Fixtures that tests of every room share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tokens.softhsm import SoftHsm, find_softhsm, make_softhsm


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
