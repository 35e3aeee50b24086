"""The devices of all modules, as fixtures: skipped by name where a module is missing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from foreign import missing
from tokens.device import Device
from tokens.devices import Devices, Missing
from tokens.findings import Findings


@pytest.fixture(scope="session")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Findings]:
    """What was found with each module; a module is looked at when a test first asks for it."""
    # A short name: a unix socket's path has room for 107 bytes.
    devices = Devices(tmp_path_factory.mktemp("t"))
    yield Findings(devices)
    devices.close()


def get(findings: Findings, name: str) -> Device:
    """The device of that name; without its module the test is skipped, or failed where CI is set."""
    try:
        return findings.devices.get(name)
    except Missing as error:
        missing(str(error))
        raise
