"""Sign what a campaign has to sign: hand out slices, commit what comes back.

The coordinator alone writes the ledger. It keeps each worker busy with one slice and has the next
one waiting there, so that none idles while a part is committed. A slice whose worker died is signed
again by a new one; one that kills two workers ends the run. When anything else fails, or somebody
asks to stop, no new slice is handed out, what the workers have signed is committed, and the run
ends: what was committed stands, and the same command goes on from there.

Time is the coordinator's: a part's iat is when its slice was handed out. A clock that stands before
the last part's iat is waited for if it is seconds behind, and refused if it is more.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vaxpass_sign.campaign.commit import StagedFile, commit
from vaxpass_sign.campaign.layout import Layout
from vaxpass_sign.campaign.ledger import Ledger
from vaxpass_sign.campaign.plan import Selection, Work
from vaxpass_sign.campaign.ranges import count_rows, split_ranges
from vaxpass_sign.campaign.signing.signals import Signals
from vaxpass_sign.campaign.signing.worker import SignedSlice, SignTask, sign_slice
from vaxpass_sign.campaign.state import State, part_name
from vaxpass_sign.errors import CampaignError, TokenError, VaxpassError
from vaxpass_sign.workers import Pool

__all__ = ["CLOSE_AFTER_S", "PART_ROWS", "SignProgress", "Signing"]

PART_ROWS: Final = 20_000
"""Rows of a signed part; a second of SoftHSM's."""

CLOSE_AFTER_S: Final = 30.0
"""A slice is closed after so long, whatever it has: what a crash can cost, per worker."""

_LEAST_ROWS: Final = 1_000
_TRIES: Final = 2
_AHEAD: Final = 2  # slices at a worker: one that is signed and one that waits
_CLOCK_PATIENCE_S: Final = 5
_LOOK_S: Final = 0.25
_DIED: Final = (
    "a worker process died while signing, and so did the one that took its place: look into the "
    "system's log (out of memory?) and at the token's module; what was committed stands, run the "
    "same command again"
)
_PULLED_OUT: Final = (
    "a worker process died or its token did not answer; the token can be pulled out, so its PIN is "
    "not sent again by itself: see that it is plugged in; what was committed stands, run the same "
    "command again"
)
_STALLED: Final = (
    "a call into the token's module did not return, and neither did the next try's: look to the "
    "token, its network and its service; what was committed stands, run the same command again"
)


@dataclass(frozen=True, slots=True)
class SignProgress:
    """How far a run is: records in this run, and what is left of its plan; seconds since it began.

    ``signed`` counts what is committed, ``under_way`` what is signed and not yet committed.
    """

    signed: int
    under_way: int
    refused: int
    left: int
    seconds: float

    @property
    def done(self) -> int:
        """Signed, committed or not."""
        return self.signed + self.under_way

    @property
    def per_second(self) -> float:
        """The rate so far."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long it will take at this rate; None when nothing was signed yet."""
        return self.left / self.per_second if self.done else None


@dataclass
class _Slice:
    """A slice that a worker has."""

    selection: Selection
    worker: int
    number: int
    issued_at_s: int
    tries: int = 1


@dataclass
class Signing:
    """One run. ``workers`` are started and their keys open; ``clock`` gives UTC seconds."""

    layout: Layout
    ledger: Ledger
    state: State
    work: Work
    profile: str
    workers: Pool
    signals: Signals
    run_folder: Path
    removable: bool
    """Whether the token can be pulled out: then no new worker sends its PIN again."""
    clock: Callable[[], float]
    part_rows: int = PART_ROWS
    close_after_s: float = CLOSE_AFTER_S
    progress: Callable[[SignProgress], None] | None = None
    signed: int = 0
    refused: int = 0
    stopping: bool = False
    asked: bool = False
    """Whether the stop was asked for here, and not by a worker whose PIN was refused."""
    _slices: dict[Future[SignedSlice], _Slice] = field(default_factory=dict)
    _again: deque[_Slice] = field(default_factory=deque)
    _failure: VaxpassError | None = None
    _began: float = field(default_factory=time.monotonic)
    _total: int = 0

    def run(self) -> None:
        """Sign until nothing is left, or until :meth:`stop`.

        Raises: TokenError when the key failed, or a worker died twice over one slice; CampaignError
            for a clock that went back; InputError when the disk is full; LedgerError when a clean
            file is not what was committed. What was signed until then is committed.
        """
        self._total = self.work.rows
        try:
            self._loop()
        except BaseException:
            # Nobody waits for slices any more: the workers shall not go on with them.
            self.stop()
            raise
        if self._failure is not None:
            raise self._failure
        if self.signals.stopped and not self.asked:
            raise TokenError(
                "a worker stopped and did not say why: what was committed stands; look at the "
                "token and its PIN, then run the same command again"
            )

    def _loop(self) -> None:
        self._hand_out()
        while self._slices or (not self.stopping and (self._again or self.work.rows)):
            done, _ = wait(self._slices, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
            for future in done:
                self._take_in(future)
            self._hand_out()
            self._tell()
        for piece in self._again:
            self.work.put_back(piece.selection)

    def stop(self) -> None:
        """End at the next commit: workers close their slices now. A signal handler may call it."""
        self.asked = self.stopping = True
        self.signals.stop()

    # --- out -------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        for worker in self._idle_workers():
            try:
                if self.stopping or not self._give(worker):
                    return
            except VaxpassError as error:
                self._fail(error)

    def _idle_workers(self) -> Iterator[int]:
        """Workers that can take another slice, those with nothing to do first."""
        for has in range(_AHEAD):
            for worker in range(len(self.workers)):
                slices = sum(piece.worker == worker for piece in self._slices.values())
                if slices == has:
                    yield worker

    def _give(self, worker: int) -> bool:
        """Give a worker its next slice; False when there is none."""
        if self._again:
            piece = self._again.popleft()
            piece.worker = worker
        elif (selection := self.work.take(self._next_rows())) is not None:
            self.state.last_part += 1
            piece = _Slice(selection, worker, self.state.last_part, 0)
            try:
                piece.issued_at_s = self._now()
            except CampaignError:
                self._again.append(piece)
                raise
        else:
            return False
        part = self.state.clean[piece.selection.clean]
        task = SignTask(
            clean=self.layout.of(part.name),
            clean_sha256=part.sha256,
            ranges=piece.selection.ranges,
            generation=piece.selection.generation,
            profile=self.profile,
            issued_at_s=piece.issued_at_s,
            staged=self._staged(piece),
            close_after_s=self.close_after_s,
        )
        try:
            self._slices[self.workers.submit(worker, sign_slice, task)] = piece
        except BrokenProcessPool:
            self._lost(worker, piece)
        return True

    def _next_rows(self) -> int:
        """How many rows the next slice has: fewer towards the end, so that all end together."""
        share = self.work.rows // (2 * len(self.workers))
        return min(self.part_rows, max(share, _LEAST_ROWS))

    def _now(self) -> int:
        """The moment for the next slice.

        Raises: CampaignError when the clock stands before the last part's iat.
        """
        while (behind := self.state.last_issued_at - int(self.clock())) > 0:
            if behind > _CLOCK_PATIENCE_S:
                raise CampaignError(clock_error(int(self.clock()), self.state.last_issued_at))
            time.sleep(_LOOK_S)
        return int(self.clock())

    # --- in --------------------------------------------------------------------------------

    def _take_in(self, future: Future[SignedSlice]) -> None:
        piece = self._slices.get(future)
        if piece is None:
            return  # lost with its worker, and to be signed again
        try:
            result = future.result()
        except BrokenProcessPool:
            self._lost(piece.worker)
            return
        except VaxpassError as error:
            self._again.append(piece)
            self._fail(error)
        except Exception as error:  # noqa: BLE001 (what others have signed is committed first)
            self._again.append(piece)
            kind = type(error).__name__
            self._fail(TokenError(f"a worker failed ({kind}), which is a fault: report it"))
        else:
            self._commit(piece, result)
        del self._slices[future]

    def _commit(self, piece: _Slice, result: SignedSlice) -> None:
        """Commit what came of a slice, and put back what it left."""
        done = count_rows(result.ranges)
        _, left = split_ranges(piece.selection.ranges, done)
        self.work.put_back(replace(piece.selection, ranges=left))
        if not done:
            # The workers were told to stop: by us, or by one of them that will say why.
            self.stopping = True
            return
        staged = self._staged(piece)
        file = StagedFile(
            name=part_name(piece.number),
            staged=f"{staged.parent.name}/{staged.name}",
            sha256=result.sha256,
            bytes=result.bytes,
            rows=result.signed,
        )
        body = {
            "clean": piece.selection.clean,
            "ranges": result.ranges,
            "generation": piece.selection.generation,
            "profile": self.profile,
            "issued_at": piece.issued_at_s,
            "expires_at": result.expires_at_s,
            "committed_at": int(self.clock()),
            "refused": result.refused,
        }
        rows = len(self.ledger.rows)
        try:
            commit(self.layout, self.ledger, "part", body, [file])
        except VaxpassError as error:
            self._fail(error)
        if len(self.ledger.rows) > rows:  # committed, even when it could not be published
            self.state.add(self.ledger.rows[-1])
            self.signed += result.signed
            self.refused += done - result.signed

    def _lost(self, worker: int, refused: _Slice | None = None) -> None:
        """A worker died: everything that it had is signed again, and a new one takes its place.

        ``refused``: the slice that it could not take any more.
        """
        lost = [future for future, piece in self._slices.items() if piece.worker == worker]
        pieces = [self._slices.pop(future) for future in lost]
        pieces += [refused] if refused else []
        stalled = self.signals.stalled
        self.signals.stall(stalled=False)
        # It works on one slice after the other: only the first can have been its death.
        pieces[0].tries += 1
        self._again.extend(pieces)
        if self.removable:
            self._fail(TokenError(_PULLED_OUT))
        elif pieces[0].tries > _TRIES:
            self._fail(TokenError(_STALLED if stalled else _DIED))
        if not self.stopping:
            self.workers.replace(worker)

    def _fail(self, error: VaxpassError) -> None:
        """The first failure counts; nothing new is handed out after it."""
        if self._failure is None:
            self._failure = error
        self.stop()

    def _staged(self, piece: _Slice) -> Path:
        return self.run_folder / part_name(piece.number).rpartition("/")[2]

    def _tell(self) -> None:
        if self.progress is None:
            return
        left = self._total - self.signed - self.refused
        under_way = max(0, self.signals.signed() - self.signed - self.refused)
        shown = SignProgress(
            signed=self.signed,
            under_way=min(under_way, left),
            refused=self.refused,
            left=max(0, left - under_way),
            seconds=time.monotonic() - self._began,
        )
        try:
            self.progress(shown)
        except Exception:
            # Called no more; what the workers have in hand is committed before it is raised.
            self.progress = None
            self.stop()
            self._drain()
            raise

    def _drain(self) -> None:
        """Take in what the workers have signed, and hand out nothing."""
        while self._slices:
            done, _ = wait(self._slices, return_when=FIRST_COMPLETED)
            for future in done:
                self._take_in(future)


def clock_error(now_s: int, last_s: int) -> str:
    """What to say when the clock stands before the last credential's iat."""
    now, last = (f"{datetime.fromtimestamp(s, UTC):%Y-%m-%d %H:%M:%SZ}" for s in (now_s, last_s))
    return (
        f"the clock says {now}, which is before the last credential's issue at {last}: set the "
        "clock right (UTC) and run the same command again; if it is right and was ahead then, wait "
        "until that moment"
    )
