"""Delete what is no longer needed, so that its absence is no finding.

The order is that of a commit turned round: first the ledger says that the files are gone, then they
are deleted. If we stop in between, the next purge deletes them.
"""

from __future__ import annotations

from collections.abc import Callable

from vaxpass_sign.campaign.commit import recover
from vaxpass_sign.campaign.layout import Layout
from vaxpass_sign.campaign.ledger import Ledger
from vaxpass_sign.campaign.state import State
from vaxpass_sign.durable import cannot_write, sync_directory

__all__ = ["purge_rejected"]


def purge_rejected(layout: Layout, *, clock: Callable[[], float]) -> int:
    """Delete every file of rejected/; how many were there.

    Clean rows, credentials and the ledger stay: they are what an audit needs.

    Raises: CampaignError, LedgerError; InputError when a file can't be deleted.
    """
    with layout.locked(alone=True), Ledger.open(layout.ledger) as ledger:
        layout.make()
        state = State.of(ledger.rows)
        recover(layout, ledger, state.purged)
        names = sorted(state.rejected.keys() - state.purged)
        if names:
            ledger.append("purge", {"at": int(clock()), "names": names})
        here = [layout.of(name) for name in state.rejected if layout.of(name).exists()]
        for path in here:
            try:
                path.unlink()
            except OSError as error:
                raise cannot_write(path, error) from error
        try:
            sync_directory(layout.of("rejected"))
        except OSError as error:
            raise cannot_write(layout.of("rejected"), error) from error
    return len(here)
