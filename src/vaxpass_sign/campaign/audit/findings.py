"""What an audit can find.

>>> print(Finding("ledger", "row 7", "was changed after it was written", "restore the ledger"))
ledger: row 7: was changed after it was written; restore the ledger
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: its kind, where it is, what it is, and what to do next.

    Kinds: ledger, file, count, plan, duplicate, credential. No personal data.
    """

    kind: str
    where: str
    what: str
    next_step: str = ""

    def __str__(self) -> str:
        advice = f"; {self.next_step}" if self.next_step else ""
        return f"{self.kind}: {self.where}: {self.what}{advice}"
