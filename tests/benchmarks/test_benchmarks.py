"""The benchmarks run, alone and quickly, and say what they promise to say; never how fast."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from foreign import CWT_PYTHON, ROOT, missing
from tokens.softhsm import find_softhsm

# Names that stay, whatever is added beside them.
PROMISED = {
    "deflate": ({"saved_bytes", "smaller_symbols_percent", "stored_us", "deflate_us"}, set()),
    "encode": ({"encode_us_per_record", "python_cwt_us_per_record"}, {"vs_python_cwt"}),
    "sign": (
        {"token_per_s", "token_bare_loop_per_s", "software_per_s", "software_bare_loop_per_s"},
        {"token_vs_bare_loop", "software_vs_bare_loop"},
    ),
}


def run(script: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run a benchmark as a user does, from somewhere else than its folder."""
    return subprocess.run(
        [sys.executable, "-W", "error", script, *flags], capture_output=True, text=True, timeout=120
    )


def require(benchmark: str) -> None:
    if benchmark == "encode" and not CWT_PYTHON.exists():
        missing(".venv-cwt (make venv-cwt)")
    if benchmark == "sign" and find_softhsm() is None:
        missing("SoftHSM (Debian: apt-get install softhsm2)")


@pytest.mark.parametrize("benchmark", PROMISED)
def test_json(benchmark: str) -> None:
    """--quick --json prints one object: the promised names, and every number positive."""
    require(benchmark)
    done = run(ROOT / "benchmarks" / f"{benchmark}.py", "--quick", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert set(found) == {"benchmark", "machine", "figures", "ratios"}
    assert found["benchmark"] == benchmark
    assert isinstance(found["machine"], str)
    figures, ratios = PROMISED[benchmark]
    assert figures <= set(found["figures"])
    assert ratios <= set(found["ratios"])
    for number in (*found["figures"].values(), *found["ratios"].values()):
        assert math.isfinite(number)
        assert number > 0


def test_table_without_the_peer(tmp_path: Path) -> None:
    """Without .venv-cwt encode.py prints its table, with a line that says how to get the ratio."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    for script in (ROOT / "benchmarks").glob("*.py"):
        (folder / script.name).write_bytes(script.read_bytes())
    done = run(folder / "encode.py", "--quick")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("encode on ")
    assert any(line.startswith("encode_us_per_record ") for line in lines)
    assert "vs_python_cwt" not in done.stdout
    assert "make venv-cwt" in lines[-1]
