"""Whatever call of a token fails, and whenever: a TokenError, one login, nothing left open."""

from __future__ import annotations

import pytest

from proxy.proxy import Proxy
from tokens.softhsm import SoftHsm
from vaxpass_sign.errors import TokenError
from vaxpass_sign.keys.token_signer import Pkcs11Signer

FUNCTIONS = (
    "C_GetSlotList",
    "C_GetTokenInfo",
    "C_OpenSession",
    "C_GetAttributeValue",
    "C_FindObjects",
    "C_GetMechanismInfo",
    "C_SignInit",
    "C_Sign",
)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_call_may_fail(proxied: SoftHsm, proxy: Proxy, function: str) -> None:
    """The n-th call of a function fails, for each n that opening and signing make: a TokenError."""
    uri = proxied.uri("ec")
    for at in range(1, 100):
        logins = proxy.counts()["C_Login"]
        fault = proxy.fail(function, "CKR_DEVICE_REMOVED", at=at)
        try:
            with Pkcs11Signer(uri, proxied.pin) as signer:
                assert len(signer.sign([b"a", b"b"])) == 2
        except TokenError as error:
            assert "\n" not in str(error)  # noqa: PT017
        struck = fault.hits
        proxy.clear(fault)
        assert proxy.counts()["C_Login"] - logins <= 1
        with Pkcs11Signer(uri, proxied.pin) as signer:
            assert len(signer.sign([b"a"])) == 1
        if not struck:
            return
    pytest.fail(f"{function} is called more than {at} times")
