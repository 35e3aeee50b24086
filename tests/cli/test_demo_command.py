"""``demo``: the main job on real parts, from a made-up table to verified credentials."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyarrow import parquet

from running import PROGRAM, Done, run_program
from tokens.softhsm import SoftHsm
from vaxpass_sign.check import TrustStore, verify
from vaxpass_sign.qr import read_qr

PEOPLE = 2_500
"""More than one block of rows."""


@dataclass
class Demo:
    home: Path
    """Where the program was run; the demonstration is in ``home / "a demo"``."""
    done: Done

    @property
    def folder(self) -> Path:
        return self.home / "a demo"

    def rows(self, kind: str) -> list[dict]:
        """Every row of the campaign's clean/ or signed/, file by file."""
        paths = sorted((self.folder / "campaign" / kind).glob("*.parquet"))
        return [row for path in paths for row in parquet.read_table(path).to_pylist()]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, softhsm: SoftHsm) -> Demo:
    """One demonstration, in a folder whose name has a space."""
    home = tmp_path_factory.mktemp("demo home")
    return Demo(home, run_program("demo", "a demo", "--people", PEOPLE, cwd=home))


def test_every_row_is_signed_and_valid(demo: Demo) -> None:
    """The table's rows and the credentials are as many, and each verifies below the CSCA."""
    with (demo.folder / "doses.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    signed = demo.rows("signed")
    clean = {row["uvci"]: row for row in demo.rows("clean")}
    trust = TrustStore.load(demo.folder / "trust", anchors=demo.folder / "csca.pem")
    assert demo.done.code == 0
    assert len(rows) == len(signed) == len(clean) == PEOPLE
    assert {row["uvci"] for row in signed} == set(clean)
    assert {i["record_id"] for row in clean.values() for i in row["record_ids"]} == {
        row["record_id"] for row in rows
    }
    assert all(verify(row["hc1"], trust) for row in signed)


def test_it_is_a_campaign_as_any_other(demo: Demo, program) -> None:
    """The commands go on with it: nothing is left to sign, the audit is clean, the page is there."""
    campaign = demo.folder / "campaign"
    assert sorted(path.name for path in (campaign / "reports").iterdir()) == [
        *("audit.html", "audit.json", "report.html"),
    ]
    audit = json.loads((campaign / "reports" / "audit.json").read_text("utf-8"))
    assert (audit["clean"], audit["verified"], audit["pending_rows"]) == (True, PEOPLE, 0)
    conf = {"SOFTHSM2_CONF": str(demo.folder / "token" / "softhsm2.conf")}
    for arguments, words in (
        (["clean", campaign, demo.folder / "doses.csv"], "0 people to sign"),
        (["sign", campaign], "nothing to sign"),
        (["audit", campaign, "--head", audit["head"]], "CLEAN"),
    ):
        done = program(*arguments, env=conf)
        assert (done.code, words in done.out) == (0, True), done.err


def test_three_pictures_hold_the_first_credentials(demo: Demo) -> None:
    """qr/ has three pictures, which read as the first three credentials."""
    texts = [row["hc1"] for row in demo.rows("signed")[:3]]
    assert [read_qr(demo.folder / "qr" / f"{n}.png") for n in (1, 2, 3)] == texts


def test_the_summary_tells_counts_rates_and_places(demo: Demo) -> None:
    """A person reads how many, how fast, where the files are; lines fit a terminal, but for commands."""
    out = demo.done.out
    rate = r"in [0-9.]+ s \([0-9,]+/s\)$"
    for line in (
        rf"dose table +a demo/doses\.csv +{PEOPLE:,} people",
        rf"campaign +a demo/campaign +{PEOPLE:,} clean, 0 rejected$",
        rf"signed +a demo/campaign/signed +{PEOPLE:,} {rate}",
        rf"verified +each of them valid, {rate}",
        r"audit +a demo/campaign/reports/audit\.html +nothing was found$",
        r"report +a demo/campaign/reports/report\.html +by province and facility$",
    ):
        assert re.search(f"^  {line}", out, re.MULTILINE), line
    assert max(len(line) for line in out.splitlines() if " vaxpass_sign " not in line) <= 80
    for word in re.findall(r"a demo/[\w./-]+", out):
        assert (demo.home / word.rstrip(".")).exists(), word


def test_the_summary_says_that_production_is_different(demo: Demo) -> None:
    """It says that the keys of a CSCA and a DSC never share a token in production."""
    assert "For demonstration only." in demo.done.out
    assert "In production the CSCA's key is on a token of its own" in demo.done.out


def test_steps_are_told_on_stderr(demo: Demo) -> None:
    """Without a terminal each step is one line, so that a log shows where it is."""
    assert [line.split()[1] for line in demo.done.err.splitlines()] == [
        *("making", "cleaning", "signing", "verifying"),
    ]


@pytest.mark.parametrize("found_by", ["path", "name"])
def test_the_printed_commands_work_as_they_stand(demo: Demo, tmp_path: Path, found_by: str) -> None:
    """Copied into a shell where the demonstration was run, they verify, audit and report."""
    out, environment = demo.done.out, dict(os.environ)
    if found_by == "name":
        # With its folder on PATH the interpreter is typed by its bare name.
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        folder = demo.home / "second"
        out = run_program("demo", folder, "--people", 1, cwd=demo.home, env=environment).out
    begins = {"verify": "VALID  ", "audit": "CLEAN  ", "report": ""}
    for name, beginning in begins.items():
        [line] = [line for line in out.splitlines() if f" vaxpass_sign {name} " in line]
        if found_by == "name":
            assert line.split()[0] in ("python", "python3", Path(sys.executable).name)
        assert ("--anchor" in line) == (name == "verify")
        ran = subprocess.run(
            line.strip(), shell=True, cwd=demo.home, env=environment, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
        assert "Traceback" not in ran.stderr
        assert ran.stdout.startswith(beginning)


def test_an_interpreter_below_is_typed_from_here(demo: Demo) -> None:
    """`make demo` has .venv/bin/python below the folder: that is what the user would type."""
    link = demo.home / ".venv"
    link.symlink_to(sys.prefix, target_is_directory=True)
    done = subprocess.run(
        [".venv/bin/python", "-m", "vaxpass_sign", "demo", "third", "--people", "1"],
        cwd=demo.home,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": "/usr/bin:/bin"},
    )
    [line] = [line for line in done.stdout.splitlines() if " verify " in line]
    assert shlex.split(line)[0] == ".venv/bin/python"


def test_everything_is_inside_and_private(demo: Demo) -> None:
    """One folder, 0700, files 0600; and the token's PIN is in no output."""
    modes = {path.stat().st_mode & 0o077 for path in demo.folder.rglob("*")}
    assert modes == {0}
    pin = (demo.folder / "token" / "pin").read_text()
    assert len(pin) >= 16
    assert pin not in demo.done.out + demo.done.err


def test_it_goes_into_a_new_folder_only(demo: Demo, program) -> None:
    """A folder that holds something is left as it is."""
    before = sorted(demo.folder.rglob("*"))
    done = program("demo", demo.folder)
    assert (done.code, done.out) == (2, "")
    assert "not empty" in done.message
    assert sorted(demo.folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "words"),
    [("file/demo", "can't be"), ("file", "Not a directory"), ("a#b", "with a #")],
    ids=["below a file", "a file", "a hash"],
)
def test_a_folder_that_can_not_be(vaxpass, tmp_path: Path, name: str, words: str) -> None:
    """A place that can't be made a folder, or that SoftHSM can't use, is one line and exit 2."""
    (tmp_path / "file").touch()
    done = vaxpass("demo", tmp_path / name)
    assert (done.code, done.out) == (2, "")
    assert words in done.message
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file"]


def test_ctrl_c_leaves_nothing(tmp_path: Path, softhsm: SoftHsm) -> None:
    """SIGINT while it signs: one line, exit 130, and the folder is gone."""
    folder = tmp_path / "demo"
    with subprocess.Popen(
        [*PROGRAM, "demo", folder, "--people", "30000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        while not list(folder.glob("campaign/signed/*")):
            assert running.poll() is None
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "")
    assert [line for line in err.splitlines() if "…" not in line] == ["vaxpass-sign: stopped"]
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_shows_progress_and_then_the_summary(terminal, tmp_path: Path, softhsm) -> None:
    """At a terminal bars show the steps, and the summary stands alone in the end."""
    shown = terminal("demo", "demo", "--people", 1200)
    assert shown.code == 0
    bars, _, summary = shown.text.rpartition("\x1b[2K")
    assert "signing" in bars
    assert "1200/1200" in bars
    assert "Signed on the token, and verified." in summary
    assert "signing" not in summary
