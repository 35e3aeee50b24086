"""What is in a trust store, source by source."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from issuing import AT, dsc
from vaxpass_sign.check.trust import TrustStore
from vaxpass_sign.check.trust.overview import overviews
from vaxpass_sign.errors import InputError
from vaxpass_sign.x509 import pem


def test_many_certificate_files_take_no_longer(tmp_path: Path) -> None:
    """A folder may hold 20,000; each is looked at once, as it is when they are loaded."""
    for number in range(2000):  # each with other last bytes of its signature, which nobody checks
        other = dsc().der[:-2] + number.to_bytes(2, "big")
        (tmp_path / f"{number}.pem").write_bytes(pem(other))
    begun = time.monotonic()
    assert len(TrustStore.load(tmp_path)) == 2000
    loading = time.monotonic() - begun
    assert overviews(tmp_path, AT)[1].dscs == 2000
    assert time.monotonic() - begun - loading < 2 * loading + 0.5


def test_a_moment_without_an_offset(tmp_path: Path) -> None:
    (tmp_path / "dsc.pem").write_bytes(pem(dsc().der))
    with pytest.raises(InputError, match="UTC offset"):
        overviews(tmp_path, AT.replace(tzinfo=None))
