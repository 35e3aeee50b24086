"""Where everything of a campaign is: one directory, the same names in each.

::

    campaign.toml   the operator's settings
    ledger.sqlite   what is committed; the only truth
    clean/          who gets a credential, and what it says   (immutable, append-only)
    rejected/       input rows that can't be certified, with reasons
    staging/        work in progress. Leave it alone: after a stop it may hold a file that is
                    committed and not yet in its folder; the next run moves that one and removes
                    the rest
    signed/         credentials
    reports/        what audit and report wrote

The directories are made with mode 0700 and files with 0600: all of them hold personal data.

>>> Layout(Path("thai-nguyen")).of("signed/part-000001.parquet").as_posix()
'thai-nguyen/signed/part-000001.parquet'
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vaxpass_sign.durable import make_directory
from vaxpass_sign.errors import CampaignError

__all__ = ["Layout"]

KEPT = ("clean", "rejected", "signed")
"""The folders whose files the ledger commits."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one campaign; nothing is opened or made before it is asked for."""

    root: Path

    @property
    def settings(self) -> Path:
        """campaign.toml."""
        return self.root / "campaign.toml"

    @property
    def ledger(self) -> Path:
        """ledger.sqlite."""
        return self.root / "ledger.sqlite"

    @property
    def staging(self) -> Path:
        """Where files are written before they are committed."""
        return self.root / "staging"

    @property
    def reports(self) -> Path:
        """What audit and report wrote."""
        return self.root / "reports"

    def of(self, name: str) -> Path:
        """The place of a committed file, by the name that the ledger has for it: clean/… ."""
        return self.root / name

    def make(self) -> None:
        """Make every directory that is missing.

        Raises: InputError when one can't be made.
        """
        for name in (*KEPT, "staging", "reports"):
            make_directory(self.root / name)

    def committed_names(self) -> Iterator[str]:
        """Every file that is in clean/, rejected/ or signed/, by its name in the ledger."""
        for folder in KEPT:
            for path in sorted((self.root / folder).glob("*")):
                yield f"{folder}/{path.name}"

    @contextmanager
    def locked(self, *, alone: bool) -> Iterator[None]:
        """Hold the campaign for as long as the block runs: ``alone`` to write, else with readers.

        The kernel frees the lock of a process that was killed.

        Raises: CampaignError when another program holds it, or there is no such directory.
        """
        try:
            descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise CampaignError(
                f"{self.root}: {error.strerror}; expected a campaign's directory with a "
                "campaign.toml in it"
            ) from error
        try:
            try:
                kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            except OSError as error:
                raise CampaignError(
                    f"{self.root} is in use: another program is cleaning, signing or auditing "
                    "this campaign; wait until it is done, or stop it"
                ) from error
            yield
        finally:
            os.close(descriptor)
