"""The books of a campaign: do ledger, files and counts agree? Without a look into a credential.

Each function yields findings and nothing when all is well. What a credential says and whether it
verifies is :mod:`vaxpass_sign.campaign.audit.worker`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from vaxpass_sign.campaign.audit.findings import Finding
from vaxpass_sign.campaign.commit import file_sha256, files_of
from vaxpass_sign.campaign.layout import Layout
from vaxpass_sign.campaign.ledger import Row, walk_chain
from vaxpass_sign.campaign.plan import UNSIGNED
from vaxpass_sign.campaign.state import State
from vaxpass_sign.campaign.tables import open_parquet
from vaxpass_sign.errors import InputError

__all__ = [
    "check_chain",
    "check_duplicates",
    "check_files",
    "check_generations",
    "check_inputs",
]

_RESTORE: Final = "restore it from its backup"


def check_chain(rows: Sequence[Row], head: str | None) -> Iterator[Finding]:
    """The chain of the ledger's rows; and that a head that was noted is one of them."""
    for fault in walk_chain(list(rows)):
        yield Finding("ledger", "ledger.sqlite", fault, _RESTORE)
    if head is not None and all(row.hash.hex() != head for row in rows):
        yield Finding(
            "ledger",
            "ledger.sqlite",
            f"no row has the hash {head[:16]}… that was noted: this is an older copy, or another "
            "history",
            "restore the newest ledger, and sign nothing before",
        )


def check_files(layout: Layout, rows: Sequence[Row], state: State) -> Iterator[Finding]:
    """Every committed file is in its folder and no other one is; clean and rejected ones by hash.

    The signed ones' hashes are compared when their credentials are verified.
    """
    committed = {name for row in rows for name in files_of(row)}
    present = set(layout.committed_names())
    for name in sorted(present - committed):
        what = "is there and no ledger row commits it"
        yield Finding("file", name, what, "is this an older copy of the ledger? keep the file")
    for name in sorted(committed - present - state.purged):
        yield Finding("file", name, "is missing", f"{_RESTORE}, or run the last command again")
    for name in state.wrong_purges:
        yield Finding("ledger", name, "a row says that it was purged, and it is no rejected file")
    for name in sorted(present & state.purged):
        yield Finding("file", name, "was purged and is still there", "run purge again")
    for name in sorted(present & committed):
        path = layout.of(name)
        if path.is_symlink() or not path.is_file():
            yield Finding("file", name, "is no regular file", _RESTORE)
    for part in (*state.clean.values(), *state.rejected.values()):
        if part.name not in present or part.name in state.purged:
            continue
        try:
            sha256, size = file_sha256(layout.of(part.name))
        except OSError as error:
            yield Finding("file", part.name, f"can't be read: {error.strerror}", _RESTORE)
            continue
        if sha256 != part.sha256:
            what = f"was changed: found {size} bytes with another hash, expected {part.bytes}"
            yield Finding("file", part.name, what, _RESTORE)


def check_inputs(layout: Layout, state: State) -> Iterator[Finding]:
    """Each input row is clean, rejected or repeated: by the ledger, and by the tables' own rows."""
    for table in state.inputs:
        if table.rows != table.clean + table.rejected + table.repeated:
            what = (
                f"{table.rows} rows, but {table.clean} clean, {table.rejected} rejected and "
                f"{table.repeated} repeated"
            )
            yield Finding("count", f"input {table.name}", what)
    counted = (
        ("input rows in clean/", sum(t.clean for t in state.inputs), _merged_rows(layout, state)),
        ("rows in rejected/", sum(t.rejected for t in state.inputs), state.rejected_rows),
    )
    for where, expected, found in counted:
        if found is not None and found != expected:
            yield Finding("count", where, f"found {found}, expected {expected} by the ledger")


def check_generations(state: State) -> Iterator[Finding]:
    """No row is signed twice in one generation, and none skips a generation."""
    import numpy as np

    for name, parts in state.parts_of.items():
        clean = state.clean.get(name)
        if clean is None:
            yield Finding("plan", parts[0].name, f"was made from {name}, which is no clean part")
            continue
        generation = np.full(clean.rows, UNSIGNED, np.int16)
        for part in parts:
            wanted = np.zeros(clean.rows, bool)
            for start, stop in part.ranges:
                if not 0 <= start < stop <= clean.rows or wanted[start:stop].any():
                    what = f"its rows {start} to {stop} are not in {name}, or are named twice"
                    yield Finding("plan", part.name, what)
                wanted[max(start, 0) : stop] = True
            wanted[[row for row in part.refused_rows if 0 <= row < clean.rows]] = False
            wrong = int((generation[wanted] != part.generation - 1).sum())
            if wrong:
                what = (
                    f"{wrong} rows of {name} are signed as generation {part.generation} twice, or "
                    "without the generation before"
                )
                yield Finding("plan", part.name, what)
            generation[wanted] = part.generation


def check_duplicates(
    layout: Layout, state: State, work: Path, *, signed: bool
) -> Iterator[Finding]:
    """No uvci stands twice in clean/, and a person's clean rows for one disease are one line, where
    each but the first supersedes an earlier one. Asked of the tables, of all that are there.

    ``signed`` asks signed/ as well whether a (uvci, generation) stands twice. While files, plan and
    credentials agree that follows: each credential has its clean row's UVCI, no row is signed twice
    in a generation, and the UVCIs are different. It is asked when something does not agree.
    ``work`` is where a folder can be made for what does not fit into memory.

    Raises: MissingExtraError without the extra ``batch``.
    """
    twice = "SELECT count(*) FROM (SELECT 1 FROM rows GROUP BY {} HAVING count(*) > 1)"
    lines = (
        "SELECT count(*) FROM (SELECT 1 FROM rows GROUP BY person_key, tg "
        "HAVING count(supersedes) <> count(*) - 1)"
    )
    clean: list[_Question] = [
        (("uvci",), twice.format("uvci"), [(0, "UVCIs that stand more than once")]),
        (
            ("person_key", "tg", "supersedes"),
            lines,
            [(0, "persons whose clean rows do not supersede one another")],
        ),
        (
            ("supersedes",),
            "SELECT count(supersedes), count(DISTINCT supersedes) FROM rows",
            [
                (state.superseding, "rows that supersede another"),
                (state.superseding, "rows that are superseded by another"),
            ],
        ),
    ]
    issued: list[_Question] = [
        (
            ("uvci", "generation"),
            twice.format("uvci, generation"),
            [(0, "credentials (UVCI and generation) that stand more than once")],
        )
    ]
    folder = "signed/" if signed else "clean/"
    paths = sorted(layout.of(folder).glob("*.parquet"))
    for columns, query, answers in issued if signed else clean:
        expected = [number for number, _ in answers]
        try:
            found = _ask(paths, columns, query, work) if paths else expected
        except InputError as error:
            yield Finding("file", folder, f"can't be read together: {error}", _RESTORE)
            continue
        for number, (wanted, what) in zip(found, answers, strict=True):
            if number != wanted:
                yield Finding("duplicate", folder, f"found {number} {what}, expected {wanted}")


_Question = tuple[tuple[str, ...], str, list[tuple[int, str]]]
"""The columns that are asked, the query, and of each number that it gives what it should be."""


def _ask(paths: list[Path], columns: Sequence[str], query: str, work: Path) -> list[int]:
    """The numbers that a query about columns of these tables gives."""
    import pyarrow as pa

    from vaxpass_sign.prepare.engine import WorkFolder, blaming, connect

    types = {"generation": pa.int32(), "person_key": pa.binary(32)}

    def rows() -> Iterator[Any]:
        for path in paths:
            with open_parquet(path) as file:
                for batch in file.iter_batches(columns=list(columns), batch_size=20_000):
                    yield batch.select(columns).cast(schema)

    schema = pa.schema([pa.field(name, types.get(name, pa.string())) for name in columns])
    with WorkFolder(work / "duplicates") as folder, connect(folder) as database:
        database.register("rows", pa.RecordBatchReader.from_batches(schema, rows()))
        with blaming("the tables can't be compared", "run audit again"):
            return [int(count) for count in database.execute(query).fetchone()]


def _merged_rows(layout: Layout, state: State) -> int | None:
    """Input rows that the clean tables name; None when a table can't be read (found elsewhere)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    total = 0
    leaf = ["record_ids.list.element.facility_id"]  # one of the three is enough, the shortest
    try:
        for name in state.clean:
            with open_parquet(layout.of(name)) as file:
                for batch in file.iter_batches(columns=leaf, batch_size=20_000):
                    total += pc.sum(pc.list_value_length(batch.column(0))).as_py() or 0
    except (OSError, pa.ArrowException, LookupError):
        return None
    return total
