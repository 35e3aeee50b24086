"""What a worker process does: sign slices of clean files, one staged file for each.

A worker is handed paths and row ranges, never rows, and no task holds a PIN: what it needs to open
the key comes once, when it starts (:func:`start_worker`). It opens the key at its first task, one
worker after the other: SoftHSM writes its token's files at a login, and a process that looks at
that very moment finds no token.

A slice is closed when all of its rows are done, when it has lasted ``close_after_s``, or when
everybody is asked to stop: so on a token of 5 signatures a second a crash costs a minute at most,
and a stop does not wait for thousands of rows.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

from vaxpass_sign.campaign.commit import step
from vaxpass_sign.campaign.ranges import Ranges, row_numbers, split_ranges
from vaxpass_sign.campaign.signing.signals import Signals
from vaxpass_sign.campaign.tables import CommittedTable, signed_schema, write_signed
from vaxpass_sign.durable import in_turn
from vaxpass_sign.errors import (
    ModuleError,
    PinError,
    TokenError,
    TokenLookupError,
    TokenLostError,
    TokenStalledError,
    VaxpassError,
)
from vaxpass_sign.hcert.columns import BLOCK, Columns
from vaxpass_sign.issuer import IssuedColumns, Issuer
from vaxpass_sign.keys import OUTAGE_S, open_signer
from vaxpass_sign.keys.pin import AtMost, Hidden
from vaxpass_sign.keys.signer import Signer
from vaxpass_sign.workers import collector_paused
from vaxpass_sign.x509 import Certificate

__all__ = ["SignTask", "SignedSlice", "WorkerSettings", "sign_slice", "start_worker"]

_CARRIED: Final = ("uvci", "person_key", "row_sha256", "facility_id", "province_code")
# Our column → the clean table's, in the order of Columns.
_COLUMNS: Final = {
    "uvci": "uvci",
    "surname": "surname",
    "given_name": "given_name",
    "fnt": "fnt",
    "gnt": "gnt",
    "birth_date": "birth_date",
    "vaccination_date": "dt",
    "dose_number": "dn",
    "dose_total": "sd",
    "disease": "tg",
    "vaccine": "vp",
    "product": "mp",
    "manufacturer": "ma",
    "country": "co",
    "issuer": "is",
}
_READ: Final = tuple(dict.fromkeys((*_COLUMNS.values(), *_CARRIED)))
_FIRST_ROWS: Final = 8
_CHUNK_S: Final = 1.0  # how long the signatures of one chunk may take
_OPENING_PAUSE_S: Final = 0.25
_MOST_LOGINS: Final = 2


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker needs to sign; no secret."""

    key: str
    dsc: bytes
    country: str
    name: str
    validity: timedelta
    max_qr_version: int
    sessions: int
    patience_s: float
    run_folder: Path
    """The run's folder in staging/, with the file ``signals``."""
    number: int
    """The worker's, from 0."""
    per_second: float | None = None
    """At most so many signatures a second by this worker."""


@dataclass(frozen=True, slots=True)
class SignTask:
    """Rows of one clean file that are to be signed at one moment."""

    clean: Path
    clean_sha256: str
    ranges: Ranges
    generation: int
    profile: str
    issued_at_s: int
    staged: Path
    close_after_s: float


@dataclass(frozen=True, slots=True)
class SignedSlice:
    """What came of a task: ``ranges`` are the rows that were done, from its beginning.

    Of them ``signed`` are in the staged file and ``refused`` are not. Without a done row there is
    no file. Rows of the task that are not in ``ranges`` are still to be signed.
    """

    ranges: Ranges
    signed: int
    refused: dict[str, list[int]]
    sha256: str
    bytes: int
    expires_at_s: int


@dataclass
class _Worker:
    """What this process holds from task to task."""

    settings: WorkerSettings
    pin: Hidden | None
    signals: Signals
    issuer: Issuer | None = None
    moment_s: int = 0
    table: CommittedTable | None = None
    table_key: tuple[Path, str] | None = None
    rows_a_second: float = 0.0
    due: float = 0.0
    """With a limited rate: when the next signature may be made, by the monotonic clock."""


class _StoppedError(Exception):
    """The run was stopped while this worker's key was not open."""


_held: list[_Worker] = []


def start_worker(settings: WorkerSettings, pin: Hidden | None) -> None:
    """Take in what the process needs; the pool's initializer. Touches neither token nor file."""
    _held[:] = [_Worker(settings, pin, Signals(settings.run_folder / "signals"))]


def sign_slice(task: SignTask) -> SignedSlice:
    """Sign a task's rows into its staged file.

    Raises: TokenError when the key fails; LedgerError when the clean file is not what was
    committed; InputError when the staged file can't be written. Nothing of the task counts then.
    """
    with _plain_errors(), collector_paused():
        try:
            return _sign_slice(_held[0], task)
        except TokenStalledError:
            # The module is of no use to this process any more, and might keep it from ending.
            _held[0].signals.stall(stalled=True)
            os.kill(os.getpid(), signal.SIGKILL)
            raise


def _sign_slice(worker: _Worker, task: SignTask) -> SignedSlice:
    step("signing")
    try:
        issuer = _issuer(worker, task.issued_at_s)
    except _StoppedError:
        return SignedSlice((), 0, {}, "", 0, 0)
    at_one_moment = issuer.at_one_moment()
    pace = _Pace(worker, task.close_after_s)
    tables: list[Any] = []
    done = 0
    refused: dict[str, list[int]] = {}
    numbered = row_numbers(task.ranges)
    with suppress(_StoppedError):
        for table, issued in _issue(worker, task, at_one_moment.issue, pace):
            numbers = list(islice(numbered, len(table)))
            tables.append(_signed_rows(table, issued, task, issuer.dsc.kid))
            for row, why in issued.refused.items():
                refused.setdefault(str(why), []).append(numbers[row])
            done += len(table)
    ranges, _ = split_ranges(task.ranges, done)
    if not done:
        return SignedSlice((), 0, {}, "", 0, at_one_moment.expires_at_s)
    import pyarrow as pa

    joined = pa.concat_tables(tables) if tables else signed_schema().empty_table()
    sha256, size = write_signed(task.staged, joined)
    step("written")
    return SignedSlice(ranges, len(joined), refused, sha256, size, at_one_moment.expires_at_s)


def _issue(
    worker: _Worker, task: SignTask, issue: Any, pace: _Pace
) -> Iterator[tuple[Any, IssuedColumns]]:
    """The clean rows and what was issued for them, chunk by chunk, until it is time to stop."""
    chunks = _chunks(worker, task, pace)
    if worker.settings.sessions == 1:
        for table in chunks:
            issued = issue(_columns(table))
            pace.signed(len(table))
            yield table, issued
        return
    # While one chunk's signatures are made another is read and encoded, so that no session waits.
    under_way: deque[tuple[Any, Future[IssuedColumns]]] = deque()
    with ThreadPoolExecutor(2) as threads:
        for table in chunks:
            under_way.append((table, threads.submit(issue, _columns(table))))
            if len(under_way) == 2:
                yield _finished(under_way, pace)
        while under_way:
            yield _finished(under_way, pace)


def _finished(under_way: deque[tuple[Any, Future[IssuedColumns]]], pace: _Pace) -> Any:
    table, future = under_way.popleft()
    issued = future.result()
    pace.signed(len(table))
    return table, issued


def _chunks(worker: _Worker, task: SignTask, pace: _Pace) -> Iterator[Any]:
    """The task's rows as Arrow tables, as many at a time as are signed in about a second."""
    clean = _table(worker, task)
    left = task.ranges
    while left and pace.go_on():
        most = pace.rows()
        if most >= BLOCK:
            most = BLOCK - left[0][0] % BLOCK  # the clean file's row groups: none is read twice
        taken, left = split_ranges(left, most)
        yield from clean.read(taken, _READ, most)


class _Pace:
    """How fast it goes, how much to take at once, and when to stop."""

    def __init__(self, worker: _Worker, close_after_s: float) -> None:
        self._worker = worker
        self._last = time.monotonic()
        self._close_at = self._last + close_after_s
        self._begun = False

    def go_on(self) -> bool:
        """Whether to sign more in this slice, waited for until it is allowed.

        The first rows are signed however late it is, so that each slice gets on.
        """
        stopped = self._worker.signals
        while not stopped.stopped and (rest := self._worker.due - time.monotonic()) > 0:
            if self._begun and time.monotonic() >= self._close_at:
                break
            time.sleep(min(rest, 0.25))
        over = self._begun and time.monotonic() >= self._close_at
        self._begun = True
        return not stopped.stopped and not over

    def rows(self) -> int:
        """How many rows to take next."""
        rows = int(self._worker.rows_a_second * _CHUNK_S) or _FIRST_ROWS
        if self._worker.settings.per_second:
            rows = min(rows, int(self._worker.settings.per_second * _CHUNK_S) or 1)
        return max(1, min(rows, BLOCK))

    def signed(self, rows: int) -> None:
        """So many more are signed."""
        now = time.monotonic()
        self._worker.rows_a_second = rows / max(now - self._last, 1e-6)
        self._last = now
        self._worker.signals.count(self._worker.settings.number, rows)
        if self._worker.settings.per_second:
            # What is signed too early is a debt, and slices hand it on.
            self._worker.due = max(self._worker.due, now) + rows / self._worker.settings.per_second


# --- rows ----------------------------------------------------------------------------------


def _columns(table: Any) -> Columns:
    return Columns(*(table[name].to_pylist() for name in _COLUMNS.values()))


def _signed_rows(table: Any, issued: IssuedColumns, task: SignTask, kid: bytes) -> Any:
    """The rows of the signed part for a chunk of clean rows."""
    import pyarrow as pa

    n = len(issued.issued)
    if issued.refused:
        kept = [row for row in range(len(table)) if row not in issued.refused]
        table = table.take(pa.array(kept, pa.int64()))
    constants = {
        "generation": task.generation,
        "kid": kid,
        "issued_at": issued.issued_at_s,
        "expires_at": issued.expires_at_s,
        "profile": task.profile,
    }
    schema = signed_schema()
    columns = {name: table[name] for name in _CARRIED}
    offsets, data = pa.py_buffer(issued.issued.offsets), pa.py_buffer(issued.issued.data)
    columns["hc1"] = pa.StringArray.from_buffers(n, offsets, data)
    for name, value in constants.items():
        columns[name] = pa.repeat(pa.scalar(value, schema.field(name).type), n)
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


# --- what is held --------------------------------------------------------------------------


def _table(worker: _Worker, task: SignTask) -> CommittedTable:
    from vaxpass_sign.prepare.schemas import check_clean_columns

    key = task.clean, task.clean_sha256
    if worker.table is None or worker.table_key != key:
        table = CommittedTable(task.clean, task.clean_sha256)
        check_clean_columns(table.schema, task.clean)
        worker.table, worker.table_key = table, key
    return worker.table


def _issuer(worker: _Worker, moment_s: int) -> Issuer:
    """The worker's issuer, whose clock stands at ``moment_s``."""
    worker.moment_s = moment_s
    if worker.issuer is None:
        settings = worker.settings
        signer = _open(worker)
        try:
            worker.issuer = Issuer(
                signer,
                Certificate.from_bytes(settings.dsc),
                settings.country,
                settings.name,
                settings.validity,
                max_qr_version=settings.max_qr_version,
                clock=lambda: worker.moment_s,
            )
        except BaseException:
            signer.close()
            raise
    return worker.issuer


def _open(worker: _Worker) -> Signer:
    """Open the key; look again for a while when the token that was there a moment ago is not."""
    settings = worker.settings
    give_up_at = time.monotonic() + OUTAGE_S
    pin = AtMost(_MOST_LOGINS, worker.pin).hidden
    while True:
        try:
            return open_signer(
                settings.key,
                pin,
                sessions=settings.sessions,
                patience_s=settings.patience_s,
                opening=partial(_opening, worker),
            )
        except (TokenLookupError, TokenLostError, ModuleError):
            if time.monotonic() > give_up_at:
                raise
            time.sleep(_OPENING_PAUSE_S)


@contextmanager
def _opening(worker: _Worker) -> Iterator[None]:
    """One worker after the other, and none after one whose PIN was refused.

    Raises: _StoppedError when the run was stopped.
    """
    with in_turn(worker.settings.run_folder / "opening"):
        if worker.signals.stopped:
            raise _StoppedError
        try:
            yield
        except PinError:
            worker.signals.stop()
            raise


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Errors that can travel to the coordinator: of a class that takes one text, without causes."""
    try:
        yield
    except VaxpassError as error:
        kinds = [kind for kind in type(error).__mro__ if "__init__" not in kind.__dict__]
        kind = next(kind for kind in kinds if issubclass(kind, VaxpassError))
        raise kind(str(error)) from None
    except MemoryError:
        raise TokenError("a worker ran out of memory: use fewer workers") from None
