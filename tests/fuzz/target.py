"""Fuzz one target for a while, in a process of its own, and report what was found.

``python tests/fuzz/target.py decoding|lists|revocation --seconds N --corpus DIR --report FILE``

The fuzzer (atheris, which is libFuzzer for Python) never gives control back, so it runs in a child;
this process waits for it, reads what it and the :mod:`watch <fuzz.watching>` left, and writes the
report. The corpus is read, and left as it is; inputs with findings go to ``--artifacts``. The exit
code is 0 when the fuzzer ran to its end and nothing was found, else 1.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Protocol

TESTS = Path(__file__).resolve().parents[1]
TARGETS = ("decoding", "lists", "revocation")

MAX_INPUT_BYTES = 64 * 1024
RSS_LIMIT_MB = 1024
TIMEOUT_S = 25
"""After so long in one input the fuzzer ends the process: the watch could not."""

STOPPED = 93
"""The code of a process that the watch ended, as it was asked to."""

_GRACE_S = 120
"""How much later than it should the fuzzer may end: reading the corpus, a last input."""
_STATUS = re.compile(r"^#(\d+)\s+\S+\s+cov: (\d+) ft: (\d+) corp: (\d+)", re.MULTILINE)
_EXECUTED = re.compile(r"^stat::number_of_executed_units: +(\d+)", re.MULTILINE)
_PEAK_MB = re.compile(r"^stat::peak_rss_mb: +(\d+)", re.MULTILINE)
_DEATH = re.compile(r"^(?:==\d+== ?)?(ERROR: libFuzzer.*|Fatal Python error.*)", re.MULTILINE)
_ARTIFACTS = ("crash-", "timeout-", "oom-", "leak-")


def main() -> int:
    options = _options()
    if options.inside:
        _fuzz(options)
        return 0
    options.artifacts.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        facts = _watch_child(options, Path(folder))
    options.report.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return 1 if facts["findings"] else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, default=None, help="the committed one by default")
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--artifacts", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--grow", type=Path, help="a folder that keeps the inputs that are new")
    parser.add_argument("--rss-limit-mb", type=int, default=RSS_LIMIT_MB)
    parser.add_argument("--timeout", type=int, default=TIMEOUT_S)
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--first", action="store_true", help="stop at the first finding")
    parser.add_argument("--plant", help="a fault that must be found")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.corpus is None:
        options.corpus = TESTS / "fuzz" / "corpus" / options.target
    return options


# --- outside: the process that waits --------------------------------------------------------


def _watch_child(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    grow = options.grow or folder / "grown"
    grow.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:]]
    command += ["--inside", str(folder), "--grow", str(grow)]
    begin = time.monotonic()
    log_path = folder / "log"
    with log_path.open("wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            child.wait(options.seconds + _GRACE_S)
        except subprocess.TimeoutExpired:
            pass  # its code will tell
        finally:
            child.kill()
            code = child.wait()
    text = log_path.read_text(encoding="utf-8", errors="replace")
    return _facts(options, folder, text, code) | {"took_s": round(time.monotonic() - begin)}


def _facts(options: argparse.Namespace, folder: Path, log: str, code: int) -> dict[str, object]:
    path = folder / "facts.json"
    seen = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    findings = seen.get("findings", [])
    statuses = _STATUS.findall(log)
    last = statuses[-1] if statuses else ("0", "0", "0", "0")
    if code not in (0, STOPPED):
        death = _DEATH.search(log)
        said = death[1] if death else f"the fuzzer ended with code {code}: {log[-1500:]}"
        findings.append({"kind": "ended", "said": said, "input": ""})
    for found in sorted(folder.iterdir()):
        if found.name in {"slowest", *(finding["input"] for finding in findings)}:
            _save(found, options.artifacts)
        elif found.name.startswith(_ARTIFACTS):
            _save(found, options.artifacts)
            findings[-1]["input"] = found.name
    executed, peak = _EXECUTED.search(log), _PEAK_MB.search(log)
    return {
        "target": options.target,
        "seconds": options.seconds,
        "executions": int(executed[1]) if executed else seen.get("runs", 0),
        "answers": seen.get("answers", 0),
        "coverage": int(last[1]),
        "features": int(last[2]),
        "corpus": int(last[3]),
        "slowest_ms": seen.get("slowest_ms", 0),
        "peak_rss_mb": max(int(peak[1]) if peak else 0, seen.get("peak_rss_mb", 0)),
        "findings": findings,
    }


def _save(found: Path, artifacts: Path) -> None:
    (artifacts / found.name).write_bytes(found.read_bytes())


# --- inside: the process that fuzzes --------------------------------------------------------


class Target(Protocol):
    """What each module of a target has."""

    def one(self, data: bytes) -> object: ...
    def seeds(self) -> list[bytes]: ...
    def mutate(
        self, data: bytes, rng: Random, by_bytes: Callable[[bytes], bytes]
    ) -> bytes | None: ...


def load(name: str, *, instrument: bool = True) -> Target:
    """A target, with the product instrumented."""
    import atheris

    atheris.enabled_hooks.add("str")
    packages = ["vaxpass_sign", "asn1crypto"] if instrument else ["nothing"]
    with atheris.instrument_imports(include=packages):
        # What the product imports late would not be instrumented, and be slow the first time.
        import asn1crypto.cms
        import asn1crypto.x509  # noqa: F401

        target = importlib.import_module(f"fuzz.{name}")
    logging.getLogger("vaxpass_sign").addHandler(_Log())
    return target


def _fuzz(options: argparse.Namespace) -> None:
    """Run the fuzzer; the process ends in it."""
    import atheris

    from fuzz import planted
    from fuzz.watching import Watch

    target = load(options.target, instrument=options.plant not in planted.IN_PLACE)
    one = target.one
    if options.plant:
        planted.is_open = atheris.instrument_func(planted.is_open)
        one = planted.plant(options.plant, one)
    watch = Watch(one, options.inside, stop_at_first=options.first)
    for seed in target.seeds()[:3]:
        watch.run(seed)  # fills caches

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        rng = Random(seed)

        def by_bytes(part: bytes) -> bytes:
            return atheris.Mutate(part, max(1, min(max_size, 2 * len(part) + 16)))

        changed = target.mutate(data, rng, by_bytes) if data and rng.randrange(3) else None
        if changed is None:
            changed = data[:1] + by_bytes(data[1:]) if rng.randrange(8) else by_bytes(data)
        return changed[:max_size]

    arguments = [
        *("target", str(options.grow), str(options.corpus)),
        *(f"-max_total_time={options.seconds}", f"-max_len={MAX_INPUT_BYTES}"),
        *(f"-rss_limit_mb={options.rss_limit_mb}", f"-timeout={options.timeout}"),
        "-mutate_depth=2",  # trees are changed at places enough each time
        *(f"-seed={options.seed}", f"-artifact_prefix={options.inside}/", "-print_final_stats=1"),
    ]
    atheris.Setup(arguments, watch.run, custom_mutator=mutate)
    atheris.Fuzz()


class _Log(logging.Handler):
    """What the product logs must be lines that can be printed; they are not shown."""

    def emit(self, record: logging.LogRecord) -> None:
        assert record.getMessage().isprintable(), "a line of the log can't be printed"


if __name__ == "__main__":
    # Modules beside this file are reached as fuzz.…, and by no other name.
    sys.path[0] = str(TESTS)
    sys.exit(main())
