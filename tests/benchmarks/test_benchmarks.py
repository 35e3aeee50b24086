"""The benchmarks run, alone and quickly, and say what they promise to say; never how fast."""

from __future__ import annotations

import importlib
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foreign import CWT_PYTHON, ROOT, missing
from proxy.proxy import Proxy
from tokens.softhsm import SoftHsm, find_softhsm

# Names that stay, whatever is added beside them.
PROMISED = {
    "deflate": ({"saved_bytes", "smaller_symbols_percent", "stored_us", "deflate_us"}, set()),
    "encode": ({"encode_us_per_record", "python_cwt_us_per_record"}, {"vs_python_cwt"}),
    "sign": (
        {"token_per_s", "token_bare_loop_per_s", "software_per_s", "software_bare_loop_per_s"},
        {"token_vs_bare_loop", "software_vs_bare_loop"},
    ),
    "verify": (
        {"one_per_s", "many_per_s", "bare_verify_per_s", "python_cwt_per_s"},
        {"one_vs_bare_verify", "many_vs_bare_verify", "one_vs_python_cwt"},
    ),
    "verify_table": (
        {"payloads", "verdicts_per_s", "bare_loops_per_s", "pss_mb"},
        {"table_vs_bare_loops"},
    ),
    "batch": (
        {"sign_per_s", "audit_per_s", "pss_mb"},
        {"sign_vs_bare_loop", "audit_vs_bare_loop"},
    ),
    "scale": (
        {
            f"{name}_{size}"
            for name in (
                "clean_us_per_row",
                "sign_us_per_record",
                "audit_us_per_record",
                "pss_mb",
            )
            for size in ("small", "large")
        },
        {"time_per_record_growth"},
    ),
    "revocation": ({"entries", "lookup_us", "open_ms", "write_s"}, {"lookup_vs_python_set"}),
    "tune": ({"one_record_seconds", "sign_per_s", "bare_loops_per_s"}, {"slow_vs_bare_loop"}),
}
SMALL = {
    "verify_table": ("--payloads", "3000", "--rounds", "1"),
    "batch": ("--people", "2000", "--rounds", "1"),
    "scale": ("--sizes", "500", "1000"),
    "tune": ("--slow", "2", "--at-once", "2", "--only", "1x2", "--records", "200", "--rounds", "1"),
}
"""How the ones that measure whole runs are asked for less."""


def run(script: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run a benchmark as a user does, from somewhere else than its folder."""
    return subprocess.run(
        [sys.executable, "-W", "error", script, *flags], capture_output=True, text=True, timeout=120
    )


def require(benchmark: str) -> None:
    if benchmark == "tune" and shutil.which("cc") is None:
        missing("a C compiler (Debian: apt-get install gcc libc6-dev)")
    if benchmark in ("encode", "verify") and not CWT_PYTHON.exists():
        missing(".venv-cwt (make venv-cwt)")
    if benchmark in ("sign", *SMALL) and find_softhsm() is None:
        missing("SoftHSM (Debian: apt-get install softhsm2)")


@pytest.mark.parametrize("benchmark", PROMISED)
def test_json(benchmark: str) -> None:
    """--quick --json prints one object: the promised names, and every number positive."""
    require(benchmark)
    small = SMALL.get(benchmark, ())
    done = run(ROOT / "benchmarks" / f"{benchmark}.py", "--quick", "--json", *small)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" or small
    assert "Traceback" not in done.stderr
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


# --- tune.py -------------------------------------------------------------------------------

TOKENS: dict[str, tuple[Callable[[int, int], float], str]] = {
    "two cores sign": (lambda w, s: 15_000 * min(w, 2), "2x1"),
    "eight at once": (lambda w, s: 200 * min(w * s, 8), "1x8"),
    "one at a time": (lambda w, s: 5, "1x1"),
    "a lock for each process": (lambda w, s: 100 * min(w, 4), "4x1"),
    "sixteen at once, four of a process": (lambda w, s: 100 * min(w * min(s, 4), 16), "4x4"),
    "more brings next to nothing": (lambda w, s: 1000 + w + s, "1x1"),
}


@pytest.fixture
def tune(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("tune")


@pytest.mark.parametrize("name", TOKENS)
def test_the_smallest_setting_that_is_enough(tune: Any, name: str) -> None:
    """tune.py finds the best setting of each kind of token, and never goes far beyond it."""
    rate, expected = TOKENS[name]
    found = tune.sweep(lambda s: float(rate(s.workers, s.sessions)), lambda: 32, 32, corner=False)
    chosen = tune.choose(found)
    assert f"{chosen.workers}x{chosen.sessions}" == expected
    assert max(setting.workers for setting in found) <= 4 * chosen.workers
    for workers in {setting.workers for setting in found}:
        tried = [setting.sessions for setting in found if setting.workers == workers]
        assert max(tried) <= 4 * max(1, 8 // workers, chosen.sessions)
    assert f"--workers {chosen.workers} --sessions {chosen.sessions}: " in tune.recommendation(
        found
    )


def test_a_removable_token_is_asked_by_one_worker(tune: Any) -> None:
    """Where the token allows one worker, no second one is tried."""
    found = tune.sweep(lambda s: 10.0 * s.sessions, lambda: 1, 4, corner=False)
    assert {(s.workers, s.sessions) for s in found} == {(1, 1), (1, 2), (1, 4)}


def test_own_token(proxied: SoftHsm, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --key the key is proven once, each process logs in once, each setting has its figure."""
    monkeypatch.setenv("THE_PIN", proxied.pin)
    flags = ("--pin-env", "THE_PIN", "--json", "--quick", "--most", "2", "--seconds", "0.1")
    done = run(ROOT / "benchmarks" / "tune.py", "--key", proxied.uri("ec"), *flags)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["figures"]
    assert {"1x1x20000_per_s", "1x2x20000_per_s", "2x1x20000_per_s"} <= set(figures)
    assert proxy.counts()["C_Login"] == 1 + 4


def test_own_token_refuses_the_pin(
    proxied: SoftHsm, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong PIN is sent once, and the end is one line."""
    monkeypatch.setenv("THE_PIN", "0000")
    flags = ("--pin-env", "THE_PIN", "--quick")
    done = run(ROOT / "benchmarks" / "tune.py", "--key", proxied.uri("ec"), *flags)
    assert done.returncode == 1
    assert done.stderr.startswith("the PIN was refused")
    assert done.stderr.count("\n") == 1
    assert proxy.counts()["C_Login"] == 1


def test_slow_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--slow says in one line what is missing, before anything is made."""
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run(ROOT / "benchmarks" / "tune.py", "--slow", "5")
    assert done.returncode == 1
    assert done.stderr == (
        "--slow: found no cc, expected a clone of the repository and a C compiler "
        "(Debian: apt-get install gcc libc6-dev)\n"
    )
