"""Campaign: a directory that holds one durable run, cleaned, signed, audited and reported.

Every step can be stopped at any instant and called again: it goes on from what was committed, and
does nothing when all is done. How that holds is told in :mod:`vaxpass_sign.campaign.commit`.

One program at a time may clean or sign a campaign; another one is refused. Reports can be made
meanwhile. The directory must be on a local disk. Signing and cleaning start worker processes by
spawn: a script that calls them needs ``if __name__ == "__main__":``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from vaxpass_sign.campaign.audit.run import AuditReport, audit_campaign
from vaxpass_sign.campaign.cleaning import CleanReport, clean_campaign
from vaxpass_sign.campaign.layout import Layout
from vaxpass_sign.campaign.purge import purge_rejected
from vaxpass_sign.campaign.report.progress import Progress
from vaxpass_sign.campaign.report.reading import campaign_progress
from vaxpass_sign.campaign.signing.coordinator import SignProgress
from vaxpass_sign.campaign.signing.run import SignOptions, SignPlan, SignReport, sign_campaign
from vaxpass_sign.keys.pin import hidden

__all__ = ["Campaign"]


class Campaign:
    """A campaign in a directory with a campaign.toml (:mod:`vaxpass_sign.campaign.settings`).

    It holds nothing open: each method opens what it needs and closes it again.
    """

    def __init__(
        self, directory: str | os.PathLike[str], *, clock: Callable[[], float] = time.time
    ) -> None:
        """``clock``: UTC seconds since 1970."""
        self.layout = Layout(Path(directory))
        self._clock = clock

    def clean(
        self,
        inputs: Sequence[str | os.PathLike[str]],
        *,
        workers: int | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> CleanReport:
        """Clean dose tables: each row becomes part of a clean row, or is rejected with reasons.

        Tables that were cleaned before are passed over. ``workers``: processes that check rows, one
        for each core unless given. ``progress``: called with a stage, what is done and what there
        is.

        Raises: InputError for a table or a setting; CampaignError, LedgerError.
        """
        paths = [Path(path) for path in inputs]
        return clean_campaign(
            self.layout, paths, workers=workers, progress=progress, clock=self._clock
        )

    def sign(  # noqa: PLR0913 (DESIGN's flags)
        self,
        *,
        workers: int | None = None,
        sessions: int = 1,
        limit_rate: float | None = None,
        most: int | None = None,
        renew_before: datetime | None = None,
        pin: str | Callable[[], str] | None = None,
        final_try: bool = False,
        confirm: Callable[[SignPlan], bool] | None = None,
        progress: Callable[[SignProgress], None] | None = None,
    ) -> SignReport:
        """Sign what was never signed; see :class:`SignOptions` for the numbers.

        ``pin``: the token's user PIN, or a function that asks for it, called once. ``confirm``
        is shown the plan before the first signature, and may say no.

        Raises: CampaignError, LedgerError, CertificateError, PinError, TokenError, InputError. What
        was committed before stands; the same call goes on.
        """
        secret = hidden(pin)
        del pin  # no traceback may show it
        options = SignOptions(
            workers=workers,
            sessions=sessions,
            limit_rate=limit_rate,
            most=most,
            renew_before=renew_before,
            final_try=final_try,
        )
        return sign_campaign(
            self.layout, options, pin=secret, confirm=confirm, progress=progress, clock=self._clock
        )

    def audit(
        self,
        *,
        head: str | None = None,
        workers: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> AuditReport:
        """Verify every credential and all the books; see :mod:`vaxpass_sign.campaign.audit.run`.

        Raises: CampaignError when it could not be done; what is wrong is in the report.
        """
        return audit_campaign(self.layout, head=head, workers=workers, progress=progress)

    def report(self) -> Progress:
        """How far it is, by province and facility.

        Raises: CampaignError, LedgerError.
        """
        return campaign_progress(self.layout, clock=self._clock)

    def purge_rejected(self) -> int:
        """Delete the rejected rows for good, and note it in the ledger; how many files went.

        Raises: CampaignError, LedgerError.
        """
        return purge_rejected(self.layout, clock=self._clock)

    def __repr__(self) -> str:
        return f"Campaign({str(self.layout.root)!r})"
