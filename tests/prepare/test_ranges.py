"""Rows that are checked elsewhere: the same files, and no secret in a task."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from prepare.cleaning import BAD, SECRET, SETTINGS, clean, people, row, write_csv
from vaxpass_sign.errors import InputError
from vaxpass_sign.prepare.clean import open_checker


def test_executors_give_the_same_bytes(tmp_path: Path) -> None:
    """Rows that are checked by other processes, or by threads, give the same files."""
    rows = people(12_000, BAD)
    alone = clean(tmp_path, rows)
    expected = [p.read_bytes() for p in sorted(alone.staging.iterdir())]
    start = {"initializer": open_checker, "initargs": (SECRET, SETTINGS)}
    context = get_context("spawn")
    with (
        ProcessPoolExecutor(1, mp_context=context, **start) as one,
        ProcessPoolExecutor(1, mp_context=context, **start) as other,
    ):
        apart = clean(tmp_path, tmp_path / "staging-0-0.csv", executors=[one, other])
    with ThreadPoolExecutor(2, **start) as threads:
        threaded = clean(tmp_path, tmp_path / "staging-0-0.csv", executors=[threads])
    for result in (apart, threaded):
        assert [p.read_bytes() for p in sorted(result.staging.iterdir())] == expected


def _die(*_: object) -> None:
    import os

    os._exit(1)


def test_a_process_that_dies(tmp_path: Path) -> None:
    """When a process dies, cleaning fails with one line and leaves nothing."""
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_die) as pool,
        pytest.raises(InputError, match="ended before its work was done"),
    ):
        clean(tmp_path, people(100), executors=[pool])
    assert not list(tmp_path.glob("staging*/*"))


def test_executors_without_a_secret(tmp_path: Path) -> None:
    """Executors that were not made ready are an error."""
    code = (
        "import sys; from pathlib import Path; from concurrent.futures import ThreadPoolExecutor\n"
        "from vaxpass_sign.prepare.clean import *\n"
        "try:\n"
        "    clean_tables([Path(sys.argv[1])], Path(sys.argv[2]), batch=1, prior=[], secret=bytes(32),\n"
        "        settings=CleanSettings('VN', '2025-01-01'), executors=[ThreadPoolExecutor(1)])\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    path = write_csv(tmp_path / "a.csv", [row(1)])
    (tmp_path / "s").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, path, tmp_path / "s"], capture_output=True, text=True
    )
    assert "InputError check_range: found no checker" in done.stdout
    assert not list((tmp_path / "s").iterdir())
