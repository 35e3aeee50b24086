"""Ranges of a raw table's rows, checked in this process or in others.

:func:`open_checker` gives a process the secret, once, and :func:`check_range` does a task's work: a
task holds paths and settings, never the secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from vaxpass_sign.durable import cannot_write
from vaxpass_sign.errors import InputError, Violation
from vaxpass_sign.prepare.check import MEANT, Checker, CleanSettings
from vaxpass_sign.prepare.headers import returned_name
from vaxpass_sign.prepare.lines import MAX_LINE
from vaxpass_sign.prepare.load import Loaded, parse_object
from vaxpass_sign.prepare.schemas import CHECKED_SCHEMA, FAULTS_SCHEMA, hash_rows, pa, parquet

__all__ = ["RangeTask", "check_range", "open_checker", "write_rows"]

_BATCH: Final = 2000
_GROUP: Final = 1000
_PERSON: Final = CHECKED_SCHEMA.get_field_index("person_key")
_NO_OBJECT: Final = Violation("row", "no JSON object", "one JSON object a line")
_NO_TEXT: Final = Violation("row", "what is not Unicode text", "UTF-8 text")
_LONG: Final = Violation(
    "row", "a row that is too long", f"at most {MAX_LINE} bytes; here is how its values begin"
)


@dataclass(frozen=True, slots=True)
class RangeTask:
    """One row group of a raw table; ``first`` is the place of its first row."""

    table: Loaded
    group: int
    first: int
    checked: Path
    faults: Path


_checker: Checker | None = None


def open_checker(secret: bytes, settings: CleanSettings) -> None:
    """Make this process ready for :func:`check_range`: a pool's ``initializer``.

    The secret is handed over here, once, and stands in no task.
    """
    global _checker  # noqa: PLW0603 (one a process, as the pool's interface has it)
    _checker = Checker(secret, settings)


def check_range(task: RangeTask, checker: Checker | None = None) -> tuple[int, int]:
    """Check the rows of a row group and write the checked ones and the faults.

    Returns: how many there are of each; a file is written only where there are some.

    Raises: InputError when a file can't be written, or no :func:`open_checker` came before.
    """
    checker = checker or _checker
    if checker is None:
        raise InputError("check_range: found no checker, expected open_checker() before it")
    good: list[tuple[Any, ...]] = []
    bad: list[tuple[int, int, int | None, list[str]]] = []
    file = task.table.number
    for place, (line, values) in enumerate(_rows(task, checker.settings.columns), task.first):
        if isinstance(values, Violation):
            bad.append((file, place, line, [str(values)]))
            continue
        result = checker.check(values)
        if isinstance(result, tuple):
            good.append((file, place, *result))
        else:
            bad.append((file, place, None, list(map(str, result))))
    if good:
        # Sorted, a file's rows of some persons stand together, and merging reads only those.
        good.sort(key=itemgetter(_PERSON))
        columns: list[Sequence[Any]] = list(zip(*good, strict=True))
        said = CHECKED_SCHEMA.get_field_index("dose_sha256")
        columns[said] = hash_rows(columns[said])
        write_rows(task.checked, CHECKED_SCHEMA, columns)
    if bad:
        write_rows(task.faults, FAULTS_SCHEMA, list(zip(*bad, strict=True)))
    return len(good), len(bad)


def write_rows(path: Path, schema: Any, columns: Sequence[Sequence[Any]]) -> None:
    """Write an intermediate table. Raises: InputError when the disk is full."""
    arrays = [pa.array(values, of) for values, of in zip(columns, schema.types, strict=True)]
    table = pa.Table.from_arrays(arrays, schema=schema)
    try:
        parquet.write_table(
            table,
            path,
            row_group_size=_GROUP,
            compression="lz4",
            use_dictionary=False,
            write_statistics=["person_key"],
        )
    except OSError as error:
        raise cannot_write(path, error) from None


def _rows(
    task: RangeTask, names: Mapping[str, str]
) -> Iterator[tuple[int | None, dict[str, Any] | Violation]]:
    """(line, values) of each row; for one that is no row, its line and what is wrong."""
    own = task.table.columns
    wanted = {f"c{n}": name for n, name in enumerate(own.meanings) if name in MEANT}
    if task.table.kind == ".jsonl":
        wanted = {"line": "", "c0": ""}
    elif task.table.kind == ".parquet":
        wanted["is_long"] = ""
    with parquet.ParquetFile(task.table.raw) as table:
        for batch in table.iter_batches(_BATCH, [task.group], columns=list(wanted)):
            columns = [batch.column(name).to_pylist() for name in wanted]
            if task.table.kind == ".jsonl":
                for line, text in zip(*columns, strict=True):
                    yield line, _json_row(text, names, own.mended)
                continue
            meanings = list(wanted.values())
            for row in zip(*columns, strict=True):
                values = dict(zip(meanings, row, strict=True))
                yield None, _LONG if values.get("") else values


def _json_row(text: str, names: Mapping[str, str], mended: bool) -> dict[str, Any] | Violation:
    """The values of a JSON line by our names, or why it is no row; ``names`` is the map."""
    found = parse_object(text)
    if found is None:
        return _NO_OBJECT
    if "\\ud" in text or "\\uD" in text:  # the only way in which a lone surrogate gets in here
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return _NO_TEXT
    values: dict[str, Any] = {}
    for key, value in found.items():
        name = returned_name(key.strip()) if mended else key.strip()
        meaning = names.get(name, name)
        if meaning not in MEANT:
            continue
        if meaning in values:
            return Violation("row", f"two values for {meaning}", "one")
        values[meaning] = value
    return values
