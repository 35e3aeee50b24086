"""A campaign whose token can be pulled out, or is another one than the key was proven on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from campaigns import Desk, assert_clean
from proxy.proxy import Proxy
from tokens.softhsm import SoftHsm, make_softhsm
from vaxpass_sign.campaign.layout import Layout
from vaxpass_sign.campaign.signing.run import SignOptions, SignPlan, sign_campaign
from vaxpass_sign.errors import TokenError, VaxpassError


@pytest.fixture
def hsm(tmp_path: Path, softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    """A SoftHSM of this test's own that says that it can be pulled out."""
    hsm = make_softhsm(tmp_path / "own", softhsm.module)
    hsm.conf.write_text(hsm.conf.read_text().replace("removable = false", "removable = true"))
    monkeypatch.setenv("SOFTHSM2_CONF", str(hsm.conf))
    return hsm


@pytest.fixture
def desk(tmp_path: Path, hsm: SoftHsm, proxy: Proxy) -> Desk:
    desk = Desk(tmp_path / "desk", token=replace(hsm, module=proxy.path))
    desk.clean(200)
    return desk


@pytest.mark.parametrize("loss", ["hang", "kill", "remove:0.5"])
def test_its_pin_is_not_sent_again(desk: Desk, proxy: Proxy, loss: str) -> None:
    """Not by a new worker either: the run ends, and says so."""
    before = proxy.counts()["C_Login"]
    proxy.fail("C_Sign", loss, at=100)
    options = SignOptions(patience_s=1, part_rows=40)
    with pytest.raises(TokenError, match="can be pulled out, so its PIN is not sent again"):
        sign_campaign(Layout(desk.root), options, pin=desk.pin)
    assert proxy.counts()["C_Login"] - before == 2  # the proof and the worker
    proxy.clear()
    proxy.plug_in()
    desk.sign()
    assert_clean(desk.audit())


def test_another_token_of_that_name(desk: Desk, hsm: SoftHsm, proxy: Proxy) -> None:
    """While the plan is confirmed the token is swapped for one of the same label."""
    before = proxy.counts()["C_Login"]

    def swap(_plan: SignPlan) -> bool:
        shutil.move(hsm.directory / "tokens", hsm.directory / "away")
        (hsm.directory / "tokens").mkdir()
        hsm.add_token(hsm.token)
        return True

    with pytest.raises(VaxpassError, match="no token in"):
        sign_campaign(Layout(desk.root), SignOptions(), pin=desk.pin, confirm=swap)
    assert proxy.counts()["C_Login"] - before == 1  # the proof
