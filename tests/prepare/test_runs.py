"""Sorting by runs: the same rows in one order, with few of them in memory."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaxpass_sign.prepare import runs
from vaxpass_sign.prepare.runs import KEYS, SortedRuns

keys = st.tuples(*[st.text("aAé0 \U0001f600", max_size=2)] * 3)
tables = st.lists(st.lists(keys, max_size=9), max_size=12)


@pytest.mark.parametrize(("run_rows", "group"), [(1, 1), (5, 2), (7, 3), (1000, 1000)])
@given(tables)
def test_sorted(run_rows: int, group: int, rows: list[list[tuple[str, str, str]]]) -> None:
    """All rows come out once, by the bytes of their keys, wherever runs and groups end."""
    seen: set[tuple[str, str, str]] = set()
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.setattr(runs, "RUN_ROWS", run_rows)
        patch.setattr(runs, "GROUP", group)
        sorter = SortedRuns(Path(folder))
        for some in rows:
            new = list(dict.fromkeys(key for key in some if key not in seen))
            seen.update(new)
            columns = list(zip(*new, strict=True)) or [(), (), ()]
            arrays = [pa.array(values, pa.string()) for values in columns]
            sorter.add(pa.Table.from_arrays(arrays, names=list(KEYS)))
        found = [tuple(r.values()) for table in sorter.in_order() for r in table.to_pylist()]
        assert sorter.rows == len(seen)
        assert found == sorted(seen, key=lambda key: [part.encode() for part in key])
