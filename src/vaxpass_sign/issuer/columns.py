"""Many records at one moment: columns in, texts out; rows that can't be issued are refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from vaxpass_sign.errors import Violation
from vaxpass_sign.hcert.columns import BLOCK, ColumnEncoder, Columns, TextColumn
from vaxpass_sign.issuer.symbol import Symbol
from vaxpass_sign.record.uvci import wrong_uvcis

__all__ = ["ColumnIssuer", "IssuedColumns", "refuse_future"]


@dataclass(frozen=True, slots=True, repr=False)
class IssuedColumns:
    """What came of columns.

    ``issued``: the "HC1:" texts of the rows that were issued, in order. ``refused``: row number
    (from 0) → why. Times are UTC seconds.
    """

    issued: TextColumn
    refused: dict[int, Violation]
    issued_at_s: int
    expires_at_s: int

    @property
    def texts(self) -> list[str | None]:
        """The text of each row, None for a refused one."""
        issued = iter(self.issued)
        rows = len(self.issued) + len(self.refused)
        return [None if row in self.refused else next(issued) for row in range(rows)]


class ColumnIssuer:
    """Issues columns at one moment; made by :meth:`Issuer.at_one_moment`.

    Threads may share it: while one waits for its signatures another can encode.
    """

    def __init__(  # noqa: PLR0913 (each is a part of what is issued)
        self,
        sign: Callable[[Sequence[bytes]], list[bytes]],
        symbol: Symbol,
        *,
        country: str,
        name: str,
        issued_at_s: int,
        expires_at_s: int,
    ) -> None:
        self.issued_at_s, self.expires_at_s = issued_at_s, expires_at_s
        self._sign = sign
        self._symbol = symbol
        self._surely_fits = self._symbol.surely_fits()
        self._encoder = ColumnEncoder(
            protected=self._symbol.protected,
            country=country,
            issuer_name=name,
            issued_at_s=issued_at_s,
            expires_at_s=expires_at_s,
        )

    def issue(self, columns: Columns) -> IssuedColumns:
        """The texts of the rows; see :meth:`Issuer.issue_columns`."""
        blocks: list[TextColumn] = []
        refused: dict[int, Violation] = {}
        start = 0
        for block in columns.blocks(BLOCK):
            texts, bad = self._issue_block(block)
            blocks.append(texts)
            refused.update((start + row, why) for row, why in bad.items())
            start += len(block)
        return IssuedColumns(
            blocks[0] if len(blocks) == 1 else TextColumn.join(blocks),
            refused,
            self.issued_at_s,
            self.expires_at_s,
        )

    def _issue_block(self, block: Columns) -> tuple[TextColumn, dict[int, Violation]]:
        bad = _refused_rows(block, self.issued_at_s)
        rows = [row for row in range(len(block)) if row not in bad]
        payloads = self._encoder.payloads(block if not bad else block.take(rows))
        if max(map(len, payloads), default=0) > self._surely_fits:
            large = {
                place: why
                for place, payload in enumerate(payloads)
                if (why := self._symbol.refuse(payload))
            }
            bad |= {rows[place]: why for place, why in large.items()}
            rows = [row for place, row in enumerate(rows) if place not in large]
            payloads = [p for place, p in enumerate(payloads) if place not in large]
        signatures = self._sign(self._encoder.sig_structures(payloads))
        texts = self._encoder.texts(payloads, signatures)
        capacity = self._symbol.capacity
        if texts.longest() > capacity:  # a signature that deflates worse than any that was measured
            for row, text in zip(rows, texts, strict=True):
                if len(text) > capacity:
                    bad[row] = self._symbol.too_long(len(text))
            texts = TextColumn.of([text for text in texts if len(text) <= capacity])
        return texts, bad


def _refused_rows(block: Columns, issued_at_s: int) -> dict[int, Violation]:
    """The rows that may not be issued, whatever their size."""
    refused = {
        row: Violation("uvci", "one that may not be written", why)
        for row, why in wrong_uvcis(block.uvci).items()
    }
    latest = _latest_day(issued_at_s)
    if max(block.vaccination_date, default="") > latest:
        late = (row for row, day in enumerate(block.vaccination_date) if day > latest)
        refused |= dict.fromkeys(late, _FUTURE)
    return refused


def _latest_day(issued_at_s: int) -> str:
    """The date that it already is somewhere on earth (UTC+14)."""
    today: date = (datetime.fromtimestamp(issued_at_s, UTC) + timedelta(hours=14)).date()
    return today.isoformat()


_FUTURE = Violation("vaccination_date", "a day in the future", "today or earlier")


def refuse_future(vaccination_date: str, issued_at_s: int) -> Violation | None:
    """Why a vaccination in the future is not issued; None for another one."""
    if vaccination_date > _latest_day(issued_at_s):
        return _FUTURE
    return None
