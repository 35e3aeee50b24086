"""Dose tables in, clean parts and rejected tables out: every input row ends in exactly one place.

1. Each input is loaded as a raw table of text (:mod:`~vaxpass_sign.prepare.load`). An input with
   the same bytes as an earlier one is all repeated rows.
2. Each row is checked on its own (:mod:`~vaxpass_sign.prepare.check`), in this process or by
   executors.
3. All rows are merged by person, with the earlier clean rows (:mod:`~vaxpass_sign.prepare.merge`).
4. Clean parts and rejected tables are written (:mod:`~vaxpass_sign.prepare.write`,
   :mod:`~vaxpass_sign.prepare.rejects`), and the counts of each input are compared.

Memory is bounded, whatever the inputs are; what doesn't fit is in a work folder inside ``staging``,
of about three times the inputs' size, that is gone afterwards. The same rows give the same clean
parts byte for byte, in whatever order they and their files come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from vaxpass_sign.errors import InputError, VaxpassError
from vaxpass_sign.prepare import merge
from vaxpass_sign.prepare.check import Checker, CleanSettings
from vaxpass_sign.prepare.engine import WorkFolder, blaming, connect
from vaxpass_sign.prepare.headers import check_map
from vaxpass_sign.prepare.load import Loaded, load_table, open_input, shown_name
from vaxpass_sign.prepare.ranges import RangeTask, check_range, open_checker
from vaxpass_sign.prepare.rejects import write_rejected
from vaxpass_sign.prepare.runs import SortedRuns
from vaxpass_sign.prepare.schemas import open_clean
from vaxpass_sign.prepare.write import Written, clean_blocks, write_clean

__all__ = [
    "CleanResult",
    "CleanSettings",
    "InputCount",
    "Progress",
    "Written",
    "clean_tables",
    "open_checker",
]

Progress = Callable[[str, int, int], None]
"""Called with the stage (load, check, merge, write) and how many of how many are done: files when
loading, rows otherwise. The total is 0 while it isn't known."""

_AHEAD = 2
"""Tasks that each executor has beside the one it works on: enough that it never waits."""


@dataclass(frozen=True, slots=True)
class InputCount:
    """What became of an input: ``rows`` = ``clean`` + ``rejected`` + ``repeated``.

    ``sha256`` is that of its bytes, hexadecimal; ``clean`` counts its rows that were merged into
    clean rows.
    """

    name: str
    sha256: str
    rows: int
    clean: int
    rejected: int
    repeated: int


@dataclass(frozen=True, slots=True)
class CleanResult:
    """What was written; ``superseding``: clean rows that take the place of an earlier one."""

    inputs: tuple[InputCount, ...]
    clean_parts: tuple[Written, ...]
    rejected_parts: tuple[Written, ...]
    superseding: int


def clean_tables(  # noqa: PLR0913 (each is a part of one job)
    inputs: Sequence[Path],
    staging: Path,
    *,
    batch: int,
    prior: Sequence[Path],
    settings: CleanSettings,
    secret: bytes,
    executors: Sequence[Executor] | None = None,
    progress: Progress | None = None,
) -> CleanResult:
    """Clean dose tables into ``staging``.

    Writes ``clean-{batch:06}-{k:04}.parquet`` and ``rejected-{batch:06}-{k:04}.parquet``, k from 1;
    when it fails, nothing is left. Files are not synced: that is the commit's.

    Args:
        inputs: .csv, .jsonl and .parquet files.
        staging: an existing directory; has one user at a time.
        batch: the run's number, 0 to 999999.
        prior: all clean parts so far.
        settings, secret: see :class:`CleanSettings`; 32 bytes.
        executors: where rows are checked; made by the caller with
            ``initializer=open_checker, initargs=(secret, settings)``, and the caller's to shut
            down. None: in this process.
        progress: see :data:`Progress`.

    Raises: InputError when there is no input, an input is no dose table, a prior part no clean
        part, or the disk is full.
    """
    paths = [Path(path) for path in inputs]
    if not paths:
        raise InputError("no input: expected dose tables (.csv, .jsonl or .parquet)")
    check_map(settings.columns)
    checker = Checker(secret, settings)
    tell = progress or (lambda stage, done, total: None)
    parts: list[Written] = []
    rejected: list[Written] = []
    try:
        with WorkFolder(staging / f"work-{batch:06}") as work:
            tables = _load(paths, settings, work, tell)
            checked, faults = _check(tables, work, checker, executors, tell)
            tell("merge", 0, 0)
            failed = ("the doses can't be merged", "run it again, and report it if it stays")
            with blaming(*failed), connect(work) as engine:
                earlier = _link(prior, work)
                merger = merge.Merger(engine, work, checked=checked, faults=faults, prior=earlier)
                runs, superseding = SortedRuns(work.path), 0
                merged = merger.merge(settings.value_sets)
                for block in clean_blocks(merged, secret, settings.country):
                    runs.add(block)
                    superseding += len(block) - block.column("supersedes").null_count
                    tell("merge", runs.rows, 0)
                counts = tuple(_count(table, first, merger.fates) for table, first in tables)
                write_clean(
                    runs.in_order(),
                    lambda k: staging / f"clean-{batch:06}-{k:04}.parquet",
                    parts,
                    lambda done: tell("write", done, runs.rows),
                )
                for (table, first), count in zip(tables, counts, strict=True):
                    if first and count.rejected:
                        path = staging / f"rejected-{batch:06}-{len(rejected) + 1:04}.parquet"
                        write_rejected(
                            path, table, partial(merger.rejected, table.number), rejected
                        )
                        _agree(rejected[-1].rows == count.rejected, table.name)
    except BaseException:
        for part in (*parts, *rejected):
            part.path.unlink(missing_ok=True)
        raise
    return CleanResult(counts, tuple(parts), tuple(rejected), superseding)


def _load(
    paths: Sequence[Path], settings: CleanSettings, work: WorkFolder, tell: Progress
) -> list[tuple[Loaded, bool]]:
    """Each input's raw table, and whether it is the first with these bytes."""
    tables: list[tuple[Loaded, bool]] = []
    known: dict[tuple[str, str], Loaded] = {}
    for number, path in enumerate(paths):
        tell("load", number, len(paths))
        with open_input(path) as (file, sha256):
            # The same bytes are another table under another kind's name.
            key = (path.suffix.lower(), sha256)
            first = key not in known
            if first:
                known[key] = load_table(path, file, sha256, number, settings.columns, work)
            tables.append((replace(known[key], name=shown_name(path)), first))
    tell("load", len(paths), len(paths))
    return tables


def _check(
    tables: Sequence[tuple[Loaded, bool]],
    work: WorkFolder,
    checker: Checker,
    executors: Sequence[Executor] | None,
    tell: Progress,
) -> tuple[list[str], list[str]]:
    """Check all rows; the names of the files of checked rows and of faults."""
    tasks = [task for table, first in tables if first for task in _tasks(table, work)]
    total, done = sum(task.table.groups[task.group] for task in tasks), 0
    checked, faults = [], []
    for task, (good, bad) in _run(tasks, checker, executors):
        done += good + bad
        tell("check", done, total)
        checked += [task.checked.name] if good else []
        faults += [task.faults.name] if bad else []
    return checked, faults


def _tasks(table: Loaded, work: WorkFolder) -> Iterator[RangeTask]:
    first = 0
    for group, rows in enumerate(table.groups):
        name = f"{table.number:04}-{group:06}.parquet"
        yield RangeTask(table, group, first, work / f"checked-{name}", work / f"faults-{name}")
        first += rows


def _run(
    tasks: Sequence[RangeTask], checker: Checker, executors: Sequence[Executor] | None
) -> Iterator[tuple[RangeTask, tuple[int, int]]]:
    """Each task with what came of it, in order; executors take turns."""
    if not executors:
        for task in tasks:
            yield task, check_range(task, checker)
        return
    waiting: deque[tuple[RangeTask, Future[tuple[int, int]]]] = deque()
    try:
        for number, task in enumerate(tasks):
            if len(waiting) >= _AHEAD * len(executors):
                task_done, future = waiting.popleft()
                yield task_done, future.result()
            waiting.append((task, executors[number % len(executors)].submit(check_range, task)))
        while waiting:
            task_done, future = waiting.popleft()
            yield task_done, future.result()
    except BrokenExecutor:
        raise InputError(
            "a process that checks rows ended before its work was done (killed, or out of memory?):"
            " nothing was written; run it again"
        ) from None
    finally:
        # Whoever works on a task still writes to the work folder.
        for _, future in waiting:
            future.cancel()
        wait([future for _, future in waiting])


def _link(prior: Sequence[Path], work: WorkFolder) -> list[str]:
    """The earlier clean parts, each checked to be one, by their names in the work folder."""
    names = []
    for number, path in enumerate(prior):
        open_clean(path).close()
        name = f"prior-{number:06}.parquet"
        (work / name).symlink_to(path.absolute())
        names.append(name)
    return names


def _count(table: Loaded, first: bool, fates: Mapping[int, merge.Fates]) -> InputCount:
    """The counts of an input, that must add up to its rows."""
    if not first:
        return InputCount(table.name, table.sha256, table.rows, 0, 0, table.rows)
    fate = fates.get(table.number, merge.Fates())
    rejected = fate.rejected + table.unreadable_rows
    _agree(fate.clean + rejected + fate.repeated == table.rows, table.name)
    return InputCount(table.name, table.sha256, table.rows, fate.clean, rejected, fate.repeated)


def _agree(same: bool, name: str) -> None:
    if not same:
        raise VaxpassError(
            f"{name}: the counts of its rows do not agree, which is a fault of this program: "
            "nothing was written; please report it"
        )
