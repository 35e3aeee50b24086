"""``verify`` of files of many payloads: all cores, in order, as verdicts or as a table."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from running import PROGRAM, Desk
from vaxpass_sign.qr import qr_png

MANY = 3000
"""Several blocks of 512 KiB, so that processes are started."""


class Files:
    """The same payloads in a text and in a table; some are bad."""

    def __init__(self, folder: Path, desk: Desk) -> None:
        self.desk = desk
        self.texts = [desk.text if number % 7 else f"HC1:BAD{number}" for number in range(MANY)]
        self.expected = [bool(number % 7) for number in range(MANY)]
        self.text = folder / "many.txt"
        self.text.write_text("\n".join(self.texts) + "\n")
        self.table = folder / "many.parquet"
        pq.write_table(pa.table({"hc1": self.texts, "code": self.texts}), self.table)
        self.good = folder / "good.txt"
        self.good.write_text(f"{desk.text}\n" * MANY)


@pytest.fixture(scope="module")
def files(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("many"), desk)


def rows_of(path: Path) -> list[dict[str, object]]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            return [row | {"valid": row["valid"] == "true"} for row in csv.DictReader(file)]
        return [json.loads(line) for line in file]


@pytest.mark.parametrize("source", ["text", "table"])
def test_json_of_many(program, files: Files, source: str) -> None:
    """An object a payload, in the order of the file, each with its line or row."""
    path = getattr(files, source)
    done = program("verify", "--json", "--trust", files.desk.trust, path)
    assert (done.code, done.err) == (1, "")
    assert [found["valid"] for found in done.objects] == files.expected
    assert [found["line"] for found in done.objects] == list(range(1, MANY + 1))
    assert {found["input"] for found in done.objects} == {str(path)}
    assert done.objects[1]["hcert"]["payload"]["nam"]["fn"] == "Nguyễn"


def test_what_a_person_reads_of_many(program, files: Files, tmp_path: Path) -> None:
    """The same lines as of each alone, with an empty line between two."""
    alone = program("verify", "--trust", files.desk.trust, stdin=files.desk.text.encode()).out
    done = program("verify", "--trust", files.desk.trust, files.good)
    assert done.code == 0
    assert done.message == f"{MANY} valid, 0 not valid, 0 could not be read"
    found = done.out.split("\n\n")
    assert len(found) == MANY
    for number, lines in enumerate(found, 1):
        assert lines.rstrip("\n") == alone.rstrip("\n").replace(
            "standard input, line 1", f"{files.good}, line {number}"
        )


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("source", ["text", "table", "pipe"])
def test_a_table(program, files: Files, tmp_path: Path, form: str, source: str) -> None:
    """A verdict a row, in order, in each form, of a text, a table and a pipe."""
    out = tmp_path / f"out.{form}"
    arguments = ("verify", "--out", out, "--trust", files.desk.trust)
    if source == "pipe":
        done = program(*arguments, stdin=files.text.read_bytes())
    else:
        done = program(*arguments, getattr(files, source))
    bad = files.expected.count(False)
    assert (done.code, done.out) == (1, "")
    assert done.message == (f"{out}: {MANY - bad:,} valid, {bad:,} not valid, 0 could not be read")
    rows = rows_of(out)
    assert [row["valid"] for row in rows] == files.expected
    assert [int(row["row"]) for row in rows] == list(range(1, MANY + 1))
    assert rows[0]["reason"] in ("base45", "not_compressed")
    assert rows[1]["kid"] == files.desk.dsc.kid.hex()


def test_all_inputs_in_one_table(program, files: Files, tmp_path: Path) -> None:
    """Files, pictures and payloads follow each other as they were given."""
    picture, out = tmp_path / "a.png", tmp_path / "out.csv"
    picture.write_bytes(qr_png(files.desk.text))
    done = program(
        *("verify", "--out", out, "--trust", files.desk.trust),
        *(picture, files.good, "HC1:NO", files.table, tmp_path / "missing.txt"),
    )
    rows = rows_of(out)
    assert done.code == 1
    assert "missing.txt can't be read" in done.err
    assert done.err.splitlines()[-1].endswith(", 1 could not be read")
    sources = [str(picture), *[str(files.good)] * MANY, "argument 3", *[str(files.table)] * MANY]
    assert [row["input"] for row in rows] == sources


def test_an_argument_is_one_row(program, files: Files, tmp_path: Path) -> None:
    """Whatever characters it holds: newlines, blanks, bytes that are no text."""
    good, out = files.desk.text, tmp_path / "out.jsonl"
    odd = [f"{good}\n{good}", f" {good}", os.fsdecode(b"HC1:\xff"), f"{good}\r", good]
    arguments = ("--trust", files.desk.trust, *odd)
    shown = [found["reason"] for found in program("verify", "--json", *arguments).objects]
    done = program("verify", "--out", out, *arguments)
    assert done.message == f"{out}: 1 valid, 4 not valid, 0 could not be read"
    assert [row["reason"] for row in rows_of(out)] == shown
    assert [row["input"] for row in rows_of(out)] == [f"argument {n}" for n in range(1, 6)]


def test_the_column_of_a_table(vaxpass, files: Files, tmp_path: Path) -> None:
    """Another name is named; one that is not there is an error that lists what is."""
    renamed = tmp_path / "a.parquet"
    pq.write_table(pa.table({"qr": [files.desk.text]}), renamed)
    arguments = ("verify", "--json", "--trust", files.desk.trust, renamed)
    done = vaxpass(*arguments)
    assert done.code == 2
    assert "found the columns qr, expected payloads as text in 'hc1'; name their" in done.err
    assert vaxpass(*arguments, "--column", "qr").code == 0


def test_what_is_no_table(vaxpass, files: Files, tmp_path: Path) -> None:
    """A cut table is undecided, and the verdicts of the others are there all the same."""
    cut, out = tmp_path / "cut.parquet", tmp_path / "out.csv"
    cut.write_bytes(files.table.read_bytes()[:-100])
    done = vaxpass("verify", "--trust", files.desk.trust, cut)
    assert (done.code, done.out) == (2, "")
    assert "can't be read as a Parquet table" in done.err
    done = vaxpass("verify", "--out", out, "--trust", files.desk.trust, files.good, cut)
    assert done.code == 2
    assert len(rows_of(out)) == MANY


def test_another_form_is_an_error(vaxpass, files: Files, tmp_path: Path) -> None:
    """Before anything is verified."""
    done = vaxpass(
        "verify", "--out", tmp_path / "out.xlsx", "--trust", files.desk.trust, files.good
    )
    assert (done.code, done.out) == (2, "")
    assert "expected one of .csv, .jsonl, .parquet" in done.message
    out = tmp_path / "out.jsonl"
    done = vaxpass("verify", "--json", "--out", out, "--trust", files.desk.trust, files.good)
    assert (done.code, done.out) == (2, "")
    assert "found --json and --out, expected one of them" in done.message
    assert not out.exists()


def test_a_file_without_payloads(vaxpass, files: Files, tmp_path: Path) -> None:
    """Blank lines alone decide nothing."""
    blank = tmp_path / "blank.txt"
    blank.write_text("\n \n\n")
    done = vaxpass("verify", "--trust", files.desk.trust, blank)
    assert (done.code, done.out) == (2, "")
    assert "found no payload, expected one a line" in done.err
    out, no_rows = tmp_path / "out.csv", tmp_path / "no-rows.parquet"
    pq.write_table(pa.table({"hc1": pa.array([], pa.string())}), no_rows)
    for inputs, undecided in (
        ([blank], 1),
        ([tmp_path / "missing.txt"], 1),
        ([files.desk.payload, blank, no_rows], 2),
    ):
        done = vaxpass("verify", "--out", out, "--trust", files.desk.trust, *inputs)
        assert done.code == 2
        assert done.err.splitlines()[-1].endswith(f" not valid, {undecided} could not be read")
        assert "expected" in done.err.splitlines()[-2]


def test_inspect_names_who_reads_tables(vaxpass, files: Files) -> None:
    done = vaxpass("inspect", files.table)
    assert done.code == 2
    assert "found a Parquet table, which only verify reads" in done.message


def test_interrupted_it_leaves_nothing(files: Files, tmp_path: Path) -> None:
    """Ctrl-C: no table, no litter, the workers end, and the exit code is 130."""
    out = tmp_path / "out.csv"
    out.write_text("old")
    source = tmp_path / "endless"
    os.mkfifo(source)
    command = [*PROGRAM, "verify", "--out", out, "--trust", files.desk.trust, source]
    with subprocess.Popen(command, stderr=subprocess.PIPE, process_group=0) as running:
        with source.open("wb") as pipe:
            pipe.write(files.good.read_bytes())
            pipe.flush()
            waited = time.monotonic()
            while not any(tmp_path.glob(".out.csv.tmp")) and time.monotonic() < waited + 30:
                time.sleep(0.05)
            time.sleep(1)
            os.killpg(running.pid, signal.SIGINT)
            assert running.wait(60) == 130
        assert running.stderr.read() == b"vaxpass-sign: stopped\n"
    assert out.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["endless", "out.csv"]


def test_progress_is_shown_at_a_terminal(terminal, files: Files, tmp_path: Path) -> None:
    """A bar with how many of how many."""
    out = tmp_path / "out.csv"
    shown = terminal("verify", "--out", out, "--trust", files.desk.trust, files.table)
    assert shown.code == 1
    assert f"of {MANY:,}" in shown.text


def test_a_small_file_starts_no_process(files: Files, tmp_path: Path) -> None:
    """One payload is verified where it is read, and nothing heavy is imported for it."""
    code = (
        "import sys, atexit\n"
        "names = ('multiprocessing.spawn', 'concurrent.futures.process', 'numpy', 'pyarrow')\n"
        "atexit.register(lambda: print([n for n in names if n in sys.modules], file=sys.stderr))\n"
        "from vaxpass_sign.cli import main\n"
        "main()\n"
    )
    small = tmp_path / "small.txt"
    small.write_text(files.desk.text)
    done = subprocess.run(
        [sys.executable, "-c", code, "verify", "--trust", files.desk.trust, small],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert done.stderr == "[]\n"
