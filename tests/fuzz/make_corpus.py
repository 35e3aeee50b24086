"""Writes tests/fuzz/corpus anew: the targets' samples, and what runs have found beside them.

``python tests/fuzz/make_corpus.py [FOLDER]`` takes inputs of ``FOLDER/<target>`` too, which
``target.py --grow`` fills. Of all of them the fuzzer keeps the few short ones that reach together
all that is reached (a set cover); nothing in it comes from anywhere else.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).resolve().parent / "corpus"
TARGETS = ("decoding", "lists", "revocation")
MAX_GROWN_BYTES = 120
"""Of what runs have found, longer inputs are left out: the corpus stays small."""


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] in TARGETS:
        _merge(sys.argv[1], sys.argv[2:])
        return
    for name in TARGETS:
        with tempfile.TemporaryDirectory() as folder:
            _make(
                name, Path(folder), [Path(argument).resolve() / name for argument in sys.argv[1:]]
            )
        found = list((CORPUS / name).iterdir())
        print(name, len(found), "files", sum(path.stat().st_size for path in found), "bytes")


def _make(name: str, folder: Path, grown: list[Path]) -> None:
    samples, kept = folder / "samples", folder / "kept"
    samples.mkdir()
    kept.mkdir()
    for path in (path for other in grown for path in other.iterdir()):
        if path.stat().st_size <= MAX_GROWN_BYTES:
            shutil.copy(path, samples)
    command = [sys.executable, str(Path(__file__).resolve()), name]
    subprocess.run([*command, "-seeds", str(samples)], check=True, capture_output=True)
    command += ["-set_cover_merge=1", str(kept), str(samples)]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    shutil.rmtree(CORPUS / name, ignore_errors=True)
    (CORPUS / name).mkdir(parents=True)
    for path in sorted(kept.iterdir()):
        shutil.copy(path, CORPUS / name)


def _merge(name: str, arguments: list[str]) -> None:
    """Run the fuzzer with arguments of its own; for the merge it runs this file again."""
    from fuzz.target import load

    target = load(name)
    if arguments[0] == "-seeds":
        for number, seed in enumerate(target.seeds()):
            (Path(arguments[1]) / f"{number:03}").write_bytes(seed)
        return
    import atheris

    from fuzz.watching import Watch

    with tempfile.TemporaryDirectory() as folder:
        atheris.Setup(
            [f"{sys.executable} {Path(__file__).resolve()} {name}", *arguments],
            Watch(target.one, Path(folder)).run,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    # Modules beside this file are reached as fuzz.…, and by no other name.
    sys.path[0] = str(CORPUS.parents[1])
    main()
