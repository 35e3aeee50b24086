"""DSC → CSCA: each DSC is held against the CSCA that it names."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from issuing import csca, dsc, sign_csca, sign_dsc
from signed_lists import anchor, leaf
from vaxpass_sign.check.trust.issued import sift

FOREIGN = leaf("of another", issuer="another csca")


@pytest.mark.parametrize("required", [False, True])
def test_what_its_csca_issued(required: bool) -> None:
    """Its own CSCA is found among many, in whatever order."""
    cscas = [anchor("another csca"), csca(), sign_csca("third csca")]
    for order in (cscas, cscas[::-1]):
        sifted = sift([dsc(), FOREIGN], order, required=required)
        assert sifted.anchored == (dsc(), FOREIGN)
        assert (sifted.not_anchored, sifted.refused) == ((), {})


def test_a_name_that_no_csca_bears() -> None:
    """Kept when no CSCA is required, else refused."""
    sifted = sift([FOREIGN], [csca()], required=False)
    assert (sifted.anchored, sifted.not_anchored, sifted.refused) == ((), (FOREIGN,), {})
    sifted = sift([FOREIGN], [csca()], required=True)
    assert (sifted.anchored, sifted.not_anchored) == ((), ())
    assert "another csca, expected one of the 1 CSCAs" in sifted.refused[FOREIGN.kid]


def test_a_csca_of_the_same_name() -> None:
    """Another key in the CSCA's name has issued nothing; beside the right one it does no harm."""
    namesake = replace(sign_csca("stranger"), subject_der=csca().subject_der)
    for required in (False, True):
        sifted = sift([dsc()], [namesake], required=required)
        assert (sifted.anchored, sifted.not_anchored) == ((), ())
        assert "names the issuer key" in sifted.refused[dsc().kid]
        assert sift([dsc()], [namesake, csca()], required=required).anchored == (dsc(),)


def test_a_csca_certified_anew() -> None:
    """One key may have several certificates; the one that was valid then counts."""
    later = replace(csca(), der=b"later", not_before=csca().not_after)
    assert sift([dsc()], [later, csca()], required=True).anchored == (dsc(),)
    assert "begins" in sift([dsc()], [later], required=True).refused[dsc().kid]


def test_many_cscas_of_one_name_take_no_longer() -> None:
    """A list may hold ten thousand; a DSC is held against a few of them."""
    many = [replace(csca(), der=b"%d" % number) for number in range(10_000)]
    begun = time.monotonic()
    sifted = sift([sign_dsc() for _ in range(20)], many, required=True)
    assert len(sifted.refused) == 20
    assert time.monotonic() - begun < 5
