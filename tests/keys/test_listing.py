"""What tokens say is listed within bounds, and what can't be read hides nothing else."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from pkcs11.constants import MechanismFlag
from pkcs11.exceptions import MechanismInvalid
from pkcs11.mechanisms import Mechanism

from proxy.proxy import Proxy
from tokens.softhsm import SoftHsm
from vaxpass_sign.errors import ModuleError, TokenError, TokenStalledError
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.keys import listing
from vaxpass_sign.keys.listing import list_tokens, read_module
from vaxpass_sign.keys.mechanism import signing_mechanism
from vaxpass_sign.keys.module import load_module
from vaxpass_sign.keys.token import TokenInfo
from vaxpass_sign.keys.watch import stuck


@pytest.mark.parametrize(
    ("name", "words"),
    [("MAX_OBJECTS", "more than 1 objects"), ("MAX_SLOTS", "slots, expected 1 at most")],
)
def test_no_more_is_read_than_can_be_looked_through(
    softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    """Beyond a bound the rest is left out, and an error says so."""
    with load_module(softhsm.module) as module:
        before = list_tokens(module)
    monkeypatch.setattr(listing, name, 1)
    found = read_module(softhsm.module)
    tokens = [item for item in found if isinstance(item, TokenInfo)]
    errors = [item for item in found if isinstance(item, TokenError)]
    assert any(words in str(error) for error in errors)
    if name == "MAX_SLOTS":
        assert len(tokens) == 1
    else:
        assert len(tokens) == len(before)
        kinds = [[key.kind for key in token.keys] for token in tokens]
        assert all(len(kinds) == len(set(kinds)) for kinds in kinds)


def test_what_can_not_be_is_an_error(softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A count or value that no memory or type holds is a TokenError, and the token is shown."""

    def absurd(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(listing, "signing_mechanism", absurd)
    found = read_module(softhsm.module)
    errors = [item for item in found if isinstance(item, TokenError)]
    assert {"MemoryError" in str(error) for error in errors} == {True}
    assert softhsm.token in {item.label for item in found if isinstance(item, TokenInfo)}


def test_a_slot_that_hangs(proxied: SoftHsm, proxy: Proxy) -> None:
    """What was listed before a call that does not return is given, with the error."""
    whole = read_module(proxied.module)
    fault = proxy.fail("C_GetTokenInfo", "hang", at=2)
    found = read_module(proxied.module, patience_s=0.5)
    assert len(found) == 2
    assert found[0] in whole or isinstance(found[0], TokenInfo)
    assert isinstance(found[1], TokenStalledError)
    fault.clear()
    give_up_at = time.monotonic() + 20
    while stuck() and time.monotonic() < give_up_at:
        time.sleep(0.02)
    assert not stuck()


def test_a_module_that_is_none(tmp_path) -> None:
    """What can't be loaded is one error in the list."""
    [error] = read_module(tmp_path / "none.so")
    assert isinstance(error, ModuleError)


class FakeSlot:
    """A slot that offers these mechanisms, each with these flags, or without an answer (None)."""

    def __init__(self, offered: dict[Mechanism, MechanismFlag | None]) -> None:
        self.offered = offered

    def get_mechanisms(self) -> set[Mechanism]:
        return set(self.offered)

    def get_mechanism_info(self, mechanism: Mechanism) -> Any:
        flags = self.offered[mechanism]
        if flags is None:
            raise MechanismInvalid
        return SimpleNamespace(flags=flags)


SIGN, VERIFY = MechanismFlag.SIGN, MechanismFlag.VERIFY
M = Mechanism


@pytest.mark.parametrize(
    ("offered", "alg", "chosen"),
    [
        pytest.param({M.ECDSA: SIGN, M.ECDSA_SHA256: SIGN}, Alg.ES256, M.ECDSA, id="both"),
        pytest.param({M.ECDSA_SHA256: SIGN}, Alg.ES256, M.ECDSA_SHA256, id="the token hashes"),
        pytest.param(
            {M.ECDSA: VERIFY, M.ECDSA_SHA256: SIGN}, Alg.ES256, M.ECDSA_SHA256, id="verifies only"
        ),
        pytest.param({M.ECDSA: None}, Alg.ES256, M.ECDSA, id="not described"),
        pytest.param({M.ECDSA: SIGN}, Alg.PS256, None, id="EC only"),
        pytest.param({M.SHA256_RSA_PKCS: SIGN, M.RSA_PKCS: SIGN}, Alg.PS256, None, id="RS256 only"),
        pytest.param(
            {M.SHA256_RSA_PKCS_PSS: SIGN}, Alg.PS256, M.SHA256_RSA_PKCS_PSS, id="PSS, token hashes"
        ),
        pytest.param({}, Alg.ES256, None, id="nothing"),
    ],
)
def test_the_mechanism_that_signs(
    offered: dict[Mechanism, MechanismFlag | None], alg: Alg, chosen: Mechanism | None
) -> None:
    """Of what a token offers for signing, ours to hash comes first, and RS256 never."""
    assert signing_mechanism(FakeSlot(offered), alg) is chosen  # type: ignore[arg-type]
