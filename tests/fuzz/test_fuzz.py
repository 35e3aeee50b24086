"""A verifier that is attacked: what comes from outside is fuzzed, and the harness finds faults.

`make test` fuzzes each target for ten seconds from the committed corpus; `make test-long` for twenty
minutes (or FUZZ_SECONDS), an hour in all, and writes docs/reference/fuzzing.md anew.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from foreign import missing
from fuzz.decoding import GOOD_PAYLOAD
from fuzz.planted import IN_PLACE, PLANTS
from fuzz.target import MAX_INPUT_BYTES, RSS_LIMIT_MB, TARGETS
from fuzz.watching import HANG_S, MAX_GROWTH_MB

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "docs" / "reference" / "fuzzing.md"
CORPUS = Path(__file__).parent / "corpus"
BUILD = ROOT / "build" / "fuzz"

SMOKE_S = 10
LONG_S = int(os.environ.get("FUZZ_SECONDS", "1200"))

# What the corpus alone reaches is more than that, on any machine: less, and nothing was fuzzed.
LEAST = {
    "decoding": {"executions": 300, "answers": 30, "coverage": 500, "features": 800},
    "lists": {"executions": 150, "answers": 20, "coverage": 500, "features": 800},
    "revocation": {"executions": 500, "answers": 20, "coverage": 500, "features": 800},
}


def start(target: str, folder: Path, *options: object) -> subprocess.Popen[bytes]:
    """Fuzz a target in a process of its own; ``folder`` gets its report and what it finds."""
    if find_spec("atheris") is None:
        missing("atheris (pip install --group dev; there are wheels for Linux on x86-64)")
    folder.mkdir(parents=True, exist_ok=True)
    fixed = ("--report", folder / "report.json", "--artifacts", folder / "artifacts")
    command = [Path(__file__).parent / "target.py", target, *fixed, *options]
    return subprocess.Popen([sys.executable, *map(str, command)])


def report_of(run: subprocess.Popen[bytes], folder: Path) -> dict[str, Any]:
    """What a run reports, when it has ended."""
    code = run.wait()
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert code == (1 if report["findings"] else 0)
    return report


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The reports of ten seconds of each target, all at a time."""
    folders = {target: tmp_path_factory.mktemp(target) for target in TARGETS}
    runs = {
        target: start(target, folder, "--seconds", SMOKE_S) for target, folder in folders.items()
    }
    return {target: report_of(run, folders[target]) for target, run in runs.items()}


@pytest.mark.parametrize("target", TARGETS)
def test_ten_seconds(target: str, smoke: dict[str, dict[str, Any]]) -> None:
    """No crash, no hang, bounded memory; and enough was done and reached for that to count."""
    report = smoke[target]
    assert report["findings"] == []
    assert report["peak_rss_mb"] < RSS_LIMIT_MB // 4
    for name, least in LEAST[target].items():
        assert report[name] >= least, report


def test_the_corpus_is_small() -> None:
    """Few inputs, and short ones: what fuzzing begins with, no archive."""
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} == set(TARGETS)
    assert len(files) <= 300
    assert sum(path.stat().st_size for path in files) <= 300_000


# --- the harness finds what is planted -----------------------------------------------------

EXPECTED = {
    "raise": ("raised", "KeyError at planted.py"),
    "hang": ("hang", "1.1 s"),
    "loop": ("ended", "timeout after"),
    "spike": ("memory", "MB more for one input"),
    "growth": ("ended", "out-of-memory"),
    "death": ("ended", "deadly signal"),
    "names": ("raised", "TypeError at planted.py"),
    "believe": ("raised", "valid, and its DSC's key has not signed it"),
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Any, Path]]]:
    """A run for each planted fault, all at a time; each begins with one input that has none."""
    runs = {}
    for plant in PLANTS:
        folder = tmp_path_factory.mktemp(plant)
        begin = b"\2{}      " if plant in IN_PLACE else GOOD_PAYLOAD
        (folder / "corpus").mkdir()
        (folder / "corpus" / "one").write_bytes(begin)
        options = ("--seconds", 100, "--corpus", folder / "corpus", "--plant", plant, "--first")
        limits = ("--timeout", 45, "--rss-limit-mb", 400, "--seed", 1)
        runs[plant] = start("decoding", folder, *options, *limits), folder
    yield runs
    for run, _ in runs.values():
        run.kill()
        run.wait()


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_fault_is_found(plant: str, planted: dict[str, tuple[Any, Path]]) -> None:
    """Each kind of fault is reported as what it is, with the input that shows it."""
    run, folder = planted[plant]
    report = report_of(run, folder)
    kind, words = EXPECTED[plant]
    assert [finding["kind"] for finding in report["findings"]] == [kind]
    [finding] = report["findings"]
    assert words in finding["said"]
    assert (folder / "artifacts" / finding["input"]).is_file()


# --- an hour, and its report ---------------------------------------------------------------


@pytest.mark.long
@pytest.mark.timeout(3 * LONG_S)
def test_an_hour() -> None:
    """Twenty minutes of each target, all at a time; what came of it is written down."""
    folders = {target: BUILD / target for target in TARGETS}
    runs = {
        target: start(target, folder, "--seconds", LONG_S, "--grow", folder / "grown")
        for target, folder in folders.items()
    }
    reports = [report_of(run, folders[target]) for target, run in runs.items()]
    REPORT.write_text("\n".join(_page(reports)), encoding="utf-8")
    assert [finding for report in reports for finding in report["findings"]] == []
    assert all(report["peak_rss_mb"] < RSS_LIMIT_MB // 2 for report in reports)


def _page(reports: Iterable[dict[str, Any]]) -> list[str]:
    reports = list(reports)
    found = [finding for report in reports for finding in report["findings"]]
    return [
        "# Fuzzing",
        "",
        "Written by `make test-long` (`tests/fuzz/test_fuzz.py`). What a verifier takes from outside"
        " is fuzzed, guided by coverage, with [atheris](https://github.com/google/atheris), which is"
        " libFuzzer for Python. The library and asn1crypto are instrumented; cbor2, zlib-ng and"
        " cryptography are compiled, and are watched for what they do and not for where they go.",
        "",
        "| target | what is fuzzed |",
        "|---|---|",
        "| decoding | texts, at each layer from base45 to the claims: `verify` with every shipped"
        " policy and a loose one, `inspect`, `BatchVerifier` |",
        "| lists | the gateway's list, DSC-TLs, DID documents, CMS, files of certificates:"
        " `read_list`, `read_did_keys`, `verify_cms`, `TrustStore.load` |",
        "| revocation | stores and allow-lists as files, batches as JSON and as CMS:"
        " `RevocationStore`, `AllowList`, `read_batch`, `read_signed_batch` |",
        "",
        "Changes are made to bytes and, as often, to the tree that they stand for (CBOR, JSON, DER),"
        " the lengths around it kept right. What has to be signed is signed again after the change,"
        " by keys that are trusted, so that the code behind a signature is reached; a store's hash is"
        " made right likewise. Some is signed by strangers.",
        "",
        f"Inputs have up to {MAX_INPUT_BYTES // 1024} KiB; other tests hold what each reader takes at"
        " most. A finding is",
        "",
        "* anything raised but the errors that are promised, or the end of the process;",
        "* a text or a message for a person that can't be printed in lines;",
        "* a credential, a certificate or a batch that is believed and that no trusted key signed; a"
        " Verdict of many at once that is not the Verdict of one; an answer of a store that is not"
        " what its entries say;",
        f"* an input that takes more than {HANG_S:g} s of the processor. One that seems to is run five"
        " times more, and the fastest counts, because caches may have been cold;",
        f"* an input that raises the peak of memory by more than {MAX_GROWTH_MB} MB, or"
        f" {RSS_LIMIT_MB} MB in all.",
        "",
        "That the harness finds each of these kinds, a test holds that plants them.",
        "",
        "## The last run",
        "",
        "| target | time | executions | that were read or valid | branches reached | features |"
        " slowest input | peak memory | findings |",
        "|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {report['target']} | {report['seconds'] / 60:g} min | {report['executions']:,} |"
            f" {report['answers']:,} | {report['coverage']:,} | {report['features']:,} |"
            f" {report['slowest_ms']:.0f} ms | {report['peak_rss_mb']} MB |"
            f" {len(report['findings'])} |"
            for report in reports
        ),
        "",
        "Times and memory are those of instrumented code, which is some times slower"
        " than it is without. One input of the target decoding is verified eight times.",
        "",
        *(f"* {one['kind']}: {one['said']} (`{one['input']}`)" for one in found),
        *([""] if found else []),
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, atheris"
        f" {version('atheris')}.",
        "",
        "## Running it",
        "",
        "```sh",
        "python tests/fuzz/target.py decoding --seconds 600 --report report.json",
        "```",
        "",
        "`lists` and `revocation` likewise. It begins with `tests/fuzz/corpus`, which it leaves as it"
        " is; `--grow FOLDER` keeps what is new. Inputs with findings go to `build/fuzz`, or to"
        " `--artifacts`, under the name that the report has. The exit code is 1 when there are any."
        " `tests/fuzz/make_corpus.py` makes the corpus anew, from samples that are signed on the"
        " spot; nobody else's vectors are in it.",
        "",
        "`make test` runs each target for ten seconds, `make test-long` for twenty minutes, an hour in"
        " all.",
        "",
    ]
