"""The engine's bounds: its memory, its folder, and what its errors say."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from prepare.cleaning import SETTINGS, clean, dose, people, row
from vaxpass_sign.errors import InputError
from vaxpass_sign.prepare import engine as module
from vaxpass_sign.prepare import merge
from vaxpass_sign.prepare.engine import WorkFolder, blaming, connect


def test_a_work_folder_is_gone_afterwards(tmp_path: Path) -> None:
    """What a run needed is gone when it ends, also when it fails; its files are the user's own."""
    path = tmp_path / "work"
    with pytest.raises(ZeroDivisionError), WorkFolder(path) as work:
        (work / "a").write_text("x")
        assert path.stat().st_mode & 0o777 == 0o700
        assert Path(work.sql("a")).read_text() == "x"
        1 / 0  # noqa: B018
    assert not path.exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A place where no folder can be made is an error that names it."""
    (tmp_path / "work").write_text("a file")
    with pytest.raises(InputError, match="work can't be made"):
        WorkFolder(tmp_path / "work")


def test_the_engine_keeps_to_itself(tmp_path: Path) -> None:
    """It fetches no extension, and takes no Python variable for a table."""
    with WorkFolder(tmp_path / "work") as work, connect(work) as engine:
        table = {"x": [1]}
        with pytest.raises(duckdb.CatalogException):
            engine.execute("SELECT * FROM table_of_ours")
        assert table
        for setting in ("autoinstall_known_extensions", "autoload_known_extensions"):
            ((value,),) = engine.execute(f"SELECT current_setting('{setting}')").fetchall()
            assert value is False


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (duckdb.OutOfMemoryException("row: Nguyễn"), "memory"),
        (duckdb.IOException("row: Nguyễn"), "disk"),
        (duckdb.ConversionException("row: Nguyễn\n1987"), "ConversionException.; mend it"),
    ],
)
def test_errors_repeat_no_row(error: Exception, words: str) -> None:
    """The engine's messages may hold rows; ours are one line without them."""
    with pytest.raises(InputError, match=words) as caught, blaming("the doses", "mend it"):
        raise error
    assert "Nguyễn" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_little_memory_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With little memory and small slices the files are the same."""
    rows = people(20_000)
    rows += [dose(f"x{n}", n % 9 + 1, "2021-07-01", personal_id=f"B{n // 3}") for n in range(300)]
    rows = [row(1) | {"hometown": "", "vaccine_name": ""} | r for r in rows]
    first = clean(tmp_path, rows)
    monkeypatch.setattr(module, "MEMORY_MB", 32)
    monkeypatch.setattr(merge, "_SLICE_ROWS", 1000)
    again = clean(tmp_path, rows)
    assert [p.read_bytes() for p in again.parts] == [p.read_bytes() for p in first.parts]
    assert again.counts == first.counts
    later = clean(tmp_path, rows, prior=first.parts, batch=2, settings=SETTINGS)
    assert later.counts[0][3] == first.counts[0][1]
