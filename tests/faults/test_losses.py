"""A token that fails in every way that the table has: nothing lost, doubled, hung or sent twice."""

from __future__ import annotations

import platform
import shutil
from collections import Counter
from pathlib import Path

import pytest

from campaigns import Desk
from faults.crashes import PEOPLE
from faults.losses import losses, summary
from proxy.proxy import Proxy
from tokens.softhsm import SoftHsm

REPORT = Path(__file__).parents[2] / "docs" / "reference" / "token-faults.md"


@pytest.fixture
def desk(tmp_path: Path, proxied: SoftHsm) -> Desk:
    """A cleaned campaign whose key is on SoftHSM behind the proxy."""
    desk = Desk(tmp_path / "desk", token=proxied)
    desk.clean(PEOPLE)
    return desk


@pytest.mark.timeout(900)
def test_faults_of_the_table(desk: Desk, proxy: Proxy) -> None:
    """Thirty of them; `make test-long` does three hundred."""
    found = list(losses(desk, proxy, 30, seed=1))
    ended = Counter(loss.ended for loss in found if loss.struck)
    assert sum(ended.values()) >= 15
    assert ended["done"] >= 5
    assert ended["stopped"] >= 2


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_three_hundred_faults(
    tmp_path: Path, desk: Desk, proxied: SoftHsm, proxy_library: Path, softhsm: SoftHsm
) -> None:
    """Three hundred; what came of them is written to docs/reference/token-faults.md."""
    found = []
    for seed in (2, 3):  # a proxy has 256 faults
        folder = tmp_path / f"proxy{seed}"
        folder.mkdir()
        proxy = Proxy(folder, proxy_library, softhsm.module)
        desk.write_settings(uri=desk.uri.replace(str(proxied.module), str(proxy.path)))
        if (cleaned := desk.folder / "cleaned").exists():
            shutil.copy(desk.root / "campaign.toml", cleaned)
        found += losses(desk, proxy, 150, seed=seed)
    struck = [loss for loss in found if loss.struck]
    assert len(struck) >= 200
    REPORT.write_text("\n".join(_report(found, len(struck))), encoding="utf-8")


def _report(found: list, struck: int) -> list[str]:
    return [
        "# Faults of a token",
        "",
        "Written by `make test-long` (`tests/faults/test_losses.py`). Each run signs a campaign of "
        f"{PEOPLE} people with two workers on SoftHSM behind a PKCS#11 module that lets one call "
        "fail: the n-th call of a function of all processes together, once, or (one run in five) "
        "every time from then on. A token that is gone is waited for 3 s and a call that hangs is "
        "given up after 2 s here, instead of 30 and 60. Then the same command is run again without "
        "the fault, and the campaign is audited.",
        "",
        f"{len(found)} runs, {struck} of them struck. In every one of them: it ended by itself, with "
        "exit code 0 or 2 (or was killed, where the fault kills); a PIN that was refused was not "
        "sent again by any process; the audit afterwards was clean; every part that was committed "
        "was still there with the same bytes; and no (uvci, generation) had two credentials.",
        "",
        *summary(found),
        "",
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}.",
        "",
    ]
