"""Looking up a revocation hash among ten million, against a Python set of the same hashes.

One store with one scope is written by the library's own writer, from random hashes, and opened with
its own reader. Both sides are asked for the same hashes in the same random order, half of which are
revoked; each round asks for others, and each hash is a new object, because Python keeps the hash of
a bytes object that a set was asked for. ``lookup_us`` is one look-up with the loop around it, the
median of the rounds. ``lookup_vs_python_set`` is how many times as long it takes as the set's.

``first_lookup_us`` is the first thousand look-ups of a store that was just opened without reading
it, when each touches pages that this process has not mapped yet. ``revoked_us`` is the whole
question for a decoded credential: its four hashes, and up to eight look-ups among six scopes, for
one that is not revoked. The sides run in turn in one process; the set is what takes the memory.
"""

from __future__ import annotations

import gc
import os
import random
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from common import Report, alternate, arguments, median_ratio
from vaxpass_sign.check.revocation import HashType, RevocationStore, Scope, write_store
from vaxpass_sign.hcert import cose
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.hcert.claims import dcc
from vaxpass_sign.hcert.codec import Hcert

KID = bytes(range(8))
SCOPE = Scope(HashType.UCI, "VN", KID)
ASKED = 20_000


def hashes(count: int) -> list[bytes]:
    data = random.Random(1).randbytes(16 * count)
    return [data[at : at + 16] for at in range(0, len(data), 16)]


def questions(held: list[bytes], rounds: int) -> list[list[bytes]]:
    """For each round hashes that are held and as many that are not, shuffled; all new objects."""
    rng, made = random.Random(2), []
    for _ in range(rounds):
        asked = rng.sample(held, ASKED // 2) + [rng.randbytes(16) for _ in range(ASKED // 2)]
        rng.shuffle(asked)
        made.append([bytes(bytearray(entry)) for entry in asked])
    return made


def credential() -> Hcert:
    names = "dose_number vaccination_date issuer manufacturer product dose_total disease vaccine"
    values = dict.fromkeys([*names.split(), "surname", "fnt", "birth_date"], "x")
    values |= {"country": "VN", "uvci": "URN:UVCI:01:VN:1"}
    claims = {
        1: "VN",
        -260: {1: dcc(values, False)},
    }
    sign1 = cose.Sign1(b"", b"", os.urandom(64), int(Alg.ES256), KID, True)
    return Hcert(sign1, claims)


def main() -> None:
    flags = arguments(__doc__)
    count, rounds = (1_000_000, 5) if flags.quick else (10_000_000, 15)
    report = Report("revocation", ("numpy",))
    held = hashes(count)
    now = datetime.now(UTC)
    end = now + timedelta(days=1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        started = time.perf_counter()
        entries = write_store(path, [(SCOPE, held)], expires_at=end)
        report.figures["write_s"] = time.perf_counter() - started
        report.figures["entries"] = entries
        report.figures["file_mb"] = path.stat().st_size / 1e6
        small = Path(folder) / "six"
        scopes = [Scope(kind, "VN", kid) for kind in HashType for kid in (None, KID)]
        write_store(small, [(scope, held[: count // 10]) for scope in scopes], expires_at=end)
        with RevocationStore.open(path, check=False) as store:
            report.figures["first_lookup_us"] = asked_us(store, held[:1000])
        started = time.perf_counter()
        with RevocationStore.open(path) as store, RevocationStore.open(small) as six:
            report.figures["open_ms"] = 1000 * (time.perf_counter() - started)
            compare(report, held, store, rounds)
            hcert = credential()
            started = time.perf_counter()
            for _ in range(ASKED):
                if six.revoked(hcert) is not None:
                    raise SystemExit("it is not revoked, so that no figure is fair")
            report.figures["revoked_us"] = (time.perf_counter() - started) / ASKED * 1e6
    report.show(as_json=flags.json)


def asked_us(store: RevocationStore, entries: list[bytes]) -> float:
    started = time.perf_counter()
    for entry in entries:
        store.holds(SCOPE, entry)
    return (time.perf_counter() - started) / len(entries) * 1e6


def compare(report: Report, held: list[bytes], store: RevocationStore, rounds: int) -> None:
    in_memory = set(held)
    # One round more, which warms up; each side takes a round's questions with fresh objects.
    sides = {"store": questions(held, rounds + 1), "set": questions(held, rounds + 1)}
    asked = sides["store"][0]
    if [store.holds(SCOPE, e) for e in asked] != [e in in_memory for e in asked]:
        raise SystemExit("the two sides differ, so that no rate is fair")
    sides["store"][0] = [bytes(bytearray(entry)) for entry in asked]

    def timed(name: str, work: Callable[[list[bytes]], int]) -> Callable[[], float]:
        left = iter(sides[name])

        def run() -> float:
            entries = next(left)
            started = time.perf_counter()
            found = work(entries)
            took = time.perf_counter() - started
            if found != ASKED // 2:
                raise SystemExit("not half of the hashes were found, so that no rate is fair")
            return took / len(entries) * 1e6

        return run

    def of_store(entries: list[bytes]) -> int:
        holds, found = store.holds, 0
        for entry in entries:
            if holds(SCOPE, entry):
                found += 1
        return found

    def of_set(entries: list[bytes]) -> int:
        found = 0
        for entry in entries:
            if entry in in_memory:
                found += 1
        return found

    gc.collect()
    gc.freeze()
    figures = alternate(rounds, {"store": timed("store", of_store), "set": timed("set", of_set)})
    report.figures["lookup_us"] = median(figures["store"])
    report.figures["set_lookup_us"] = median(figures["set"])
    report.ratios["lookup_vs_python_set"] = median_ratio(figures["store"], figures["set"])


if __name__ == "__main__":
    main()
