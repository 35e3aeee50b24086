"""All checked rows and the earlier clean rows → clean rows, and further faults.

A row's identity is (facility_id, record_id), its content what ``dose_sha256`` covers. What is
larger than memory is SQL: identities are joined, and rows sorted by person. What a person's doses
come to is decided person by person, by :mod:`vaxpass_sign.prepare.persons`.

1. **Repeated**: the very same row (identity and content) stands in an earlier clean row, or stands
   before it in this run. Counted, not written.
2. **Rejected by identity**: another content stands in an earlier clean row; or rows of this run
   have one identity and several contents, then all of them.
3. The rest is merged by person and disease: rejected, or clean.

Nothing depends on the order of files or rows, but for which of two equal rows counts as repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Any, Final

from vaxpass_sign.errors import Violation
from vaxpass_sign.prepare.engine import WorkFolder
from vaxpass_sign.prepare.persons import (
    Dose,
    Merged,
    Refusal,
    merge_person,
    refuse_shared_doses,
)
from vaxpass_sign.prepare.ranges import write_rows
from vaxpass_sign.prepare.schemas import CHECKED_SCHEMA, CLEAN_SCHEMA, FAULTS_SCHEMA
from vaxpass_sign.record.valuesets import ValueSets

__all__ = ["Fates", "Merger"]

_BATCH: Final = 2000

CORRECTED: Final = Violation(
    "record_id",
    "another content than what is clean of this facility_id and record_id",
    "the same row; what is clean can't be corrected yet",
)
DIFFERENT: Final = Violation(
    "record_id",
    "rows of one facility_id and record_id that differ",
    "each once in a facility; take out the wrong ones",
)


def _literal(reason: Violation) -> str:
    """A reason as SQL writes a text."""
    return "'" + str(reason).replace("'", "''") + "'"


_IDENTITIES: Final = f"""
CREATE TABLE held AS
SELECT facility_id, record_id, dose_sha256
FROM (SELECT unnest(record_ids, recursive := true) FROM prior)
SEMI JOIN checked USING (facility_id, record_id);

CREATE TABLE twins AS
SELECT file, place, person_key, facility_id, record_id, dose_sha256 FROM checked
SEMI JOIN (
    SELECT facility_id, record_id FROM checked GROUP BY facility_id, record_id HAVING count(*) > 1
) USING (facility_id, record_id);

-- Rows that don't go on, with the reason, or with none for a repeated one.
CREATE TABLE stopped AS
SELECT file, place, person_key,
    CASE WHEN c.dose_sha256 <> held.dose_sha256 THEN {_literal(CORRECTED)} END AS reason
FROM checked AS c JOIN held USING (facility_id, record_id);

INSERT INTO stopped
SELECT file, place, person_key, CASE WHEN differ THEN {_literal(DIFFERENT)} END FROM (
    SELECT file, place, person_key,
        min(dose_sha256) OVER same <> max(dose_sha256) OVER same AS differ,
        row_number() OVER (same ORDER BY file, place) AS copy
    FROM twins ANTI JOIN held USING (facility_id, record_id)
    WINDOW same AS (PARTITION BY facility_id, record_id)
) WHERE differ OR copy > 1;
"""  # noqa: S608 (nothing in it comes from outside)

_REFUSED: Final = """
SELECT file, place, NULL::BIGINT AS line, [reason] AS reasons
FROM stopped WHERE reason IS NOT NULL
"""

_IN_BOTH: Final = (
    "surname, given_name, fnt, gnt, birth_date, sex, nationality, tg, vp, mp, ma, dn, sd, {}, dt, "
    'co, "is", lot, province_code'
)
_NEW: Final = f"""
SELECT NULL AS uvci, file, place, person_key, facility_id, record_id, dose_sha256,
    {_IN_BOTH.format("sd_given")}
FROM (SELECT * FROM checked WHERE person_key >= $low AND person_key < $high)
ANTI JOIN (SELECT file, place FROM stopped WHERE person_key >= $low AND person_key < $high)
    USING (file, place)
"""  # noqa: S608 (nothing in it comes from outside)

_EARLIER: Final = f"""
SELECT uvci, NULL AS file, NULL AS place, person_key, facility_id, '' AS record_id,
    ''::BLOB AS dose_sha256, {_IN_BOTH.format("false AS sd_given")}
FROM prior SEMI JOIN checked USING (person_key)
"""  # noqa: S608 (nothing in it comes from outside)

# One slice of all persons at a time is sorted: sorting all of them takes memory that grows with
# their number. Checked files are sorted by person_key, so a slice reads a small part of each.
_SLICE: Final = f"""
SELECT * FROM (
    {_NEW} UNION ALL SELECT * FROM earlier WHERE person_key >= $low AND person_key < $high
) ORDER BY person_key
"""  # noqa: S608 (nothing in it comes from outside)
_SLICE_ROWS: Final = 50_000

_REJECTED: Final = """
SELECT place, line, reasons FROM faults
WHERE file = ? AND place >= ? AND place < ? ORDER BY place
"""


@dataclass(slots=True)
class Fates:
    """How many rows of one file became what."""

    clean: int = 0
    rejected: int = 0
    repeated: int = 0


class Merger:
    """Merges the rows that stand in a work folder; one run, in one thread.

    ``checked``, ``faults`` and ``prior``: names of Parquet files in the work folder.
    """

    def __init__(
        self,
        engine: Any,
        work: WorkFolder,
        *,
        checked: Sequence[str],
        faults: Sequence[str],
        prior: Sequence[str],
    ) -> None:
        self._engine, self._work, self._faults = engine, work, list(faults)
        self.fates: dict[int, Fates] = {}
        _view(engine, "checked", map(work.sql, checked), CHECKED_SCHEMA)
        _view(engine, "prior", map(work.sql, prior), CLEAN_SCHEMA)
        engine.execute(_IDENTITIES)
        known = work.sql("known.parquet")
        engine.execute(f"COPY ({_EARLIER}) TO '{known}' (FORMAT parquet)")
        _view(engine, "earlier", [known])
        engine.execute(
            f"COPY ({_REFUSED}) TO '{work.sql('faults-identity.parquet')}' (FORMAT parquet)"
        )
        self._faults.append("faults-identity.parquet")
        repeated = "SELECT file, count(*) FROM stopped WHERE reason IS NULL GROUP BY file"
        for file, count in engine.execute(repeated).fetchall():
            self._fate(file).repeated = count

    def merge(self, value_sets: ValueSets) -> Iterator[list[Merged]]:
        """The clean rows, in no order that means anything, some 2000 at a time.

        When it is exhausted, ``fates`` and :meth:`rejected` are complete.
        """
        merged: list[Merged] = []
        refusals: list[Refusal] = []
        for _, group in groupby(self._by_person(), key=attrgetter("person_key")):
            for row, refused in _merge_diseases(list(group), value_sets):
                refusals += refused
                if row:
                    merged.append(row)
                    for member in row.members:
                        self._fate(member.file).clean += 1
            if len(merged) >= _BATCH:
                yield merged
                merged = []
            if len(refusals) >= _BATCH:
                self._refuse(refusals)
                refusals = []
        if merged:
            yield merged
        self._refuse(refusals)
        _view(self._engine, "fault_files", map(self._work.sql, self._faults), FAULTS_SCHEMA)
        self._engine.execute("CREATE TABLE faults AS SELECT * FROM fault_files")
        counts = "SELECT file, count(*) FROM faults GROUP BY file"
        for file, count in self._engine.execute(counts).fetchall():
            self._fate(file).rejected = count

    def rejected(self, file: int, first: int, stop: int) -> list[tuple[int, int | None, list[str]]]:
        """(place, line, reasons) of a file's rejected rows from place ``first`` to before ``stop``,
        in their order; ``line`` is None for what could be read as a row.
        """
        found: list[tuple[int, int | None, list[str]]]
        found = self._engine.execute(_REJECTED, [file, first, stop]).fetchall()
        return found

    def _fate(self, file: int | None) -> Fates:
        return self.fates.setdefault(-1 if file is None else file, Fates())

    def _by_person(self) -> Iterator[Dose]:
        """All doses that go on and the earlier clean ones of their persons, person by person."""
        ((count,),) = self._engine.execute("SELECT count(*) FROM checked").fetchall()
        slices = min(1 + count // _SLICE_ROWS, 1 << 16)
        # A person_key is a hash, so slices of keys hold about as many persons each.
        edges = [((n << 16) // slices).to_bytes(2, "big") for n in range(slices)]
        after_all = b"\xff" * 33
        for low, high in pairwise([*edges, after_all]):
            slice_ = self._engine.sql(_SLICE, params={"low": low, "high": high})
            for batch in slice_.to_arrow_reader(_BATCH):
                columns = (column.to_pylist() for column in batch)
                yield from map(Dose._make, zip(*columns, strict=True))

    def _refuse(self, refusals: Sequence[Refusal]) -> None:
        if not refusals:
            return
        name = f"faults-merge-{len(self._faults):06}.parquet"
        columns: list[Sequence[Any]] = [
            [refusal.dose.file for refusal in refusals],
            [refusal.dose.place for refusal in refusals],
            [None] * len(refusals),
            [list(map(str, refusal.reasons)) for refusal in refusals],
        ]
        write_rows(self._work / name, FAULTS_SCHEMA, columns)
        self._faults.append(name)


def _merge_diseases(
    doses: Sequence[Dose], value_sets: ValueSets
) -> Iterator[tuple[Merged | None, list[Refusal]]]:
    """What one person's doses come to, disease by disease."""
    diseases = {dose.tg for dose in doses}
    new = [dose for dose in doses if dose.file is not None]
    if len(diseases) == 1 and len(new) == len(doses):  # most persons
        yield merge_person(new, (), value_sets)
        return
    earlier = [dose for dose in doses if dose.file is None]
    if shared := refuse_shared_doses(new, earlier):
        yield None, shared
        return
    for disease in sorted(diseases):
        own = [dose for dose in new if dose.tg == disease]
        if own:
            yield merge_person(own, [dose for dose in earlier if dose.tg == disease], value_sets)


def _view(engine: Any, name: str, paths: Iterable[str], schema: Any = None) -> None:
    """A view of Parquet files under a name; of none, an empty one with the schema's columns."""
    files = ", ".join(f"'{path}'" for path in paths)
    if not files:
        engine.register(name, schema.empty_table())
        return
    source = f"read_parquet([{files}], hive_partitioning=false)"
    engine.execute(f"CREATE VIEW {name} AS SELECT * FROM {source}")  # noqa: S608 (our own names)
