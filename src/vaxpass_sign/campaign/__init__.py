"""Many records, one durable run.

>>> from vaxpass_sign.campaign import Campaign
>>> Campaign("thai-nguyen-2026/")
Campaign('thai-nguyen-2026')
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vaxpass_sign.campaign.campaign import Campaign

__all__ = ["Campaign"]


def __getattr__(name: str) -> object:
    # Late: a worker process imports this package and needs no auditor, nor a page.
    if name == "Campaign":
        from vaxpass_sign.campaign.campaign import Campaign

        return Campaign
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
