"""A verdict a row: for each payload what verify() says, in order, whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from check.test_verify import FORGED, TEXT
from issuing import AT, RECORD, make_issuer, trust
from vaxpass_sign import verify
from vaxpass_sign.check import POLICIES, Reason
from vaxpass_sign.check.asked import Asked
from vaxpass_sign.check.many import BatchVerifier
from vaxpass_sign.check.parallel import verify_blocks
from vaxpass_sign.check.payload_files import ColumnBlock, TextBlock
from vaxpass_sign.check.revocation import HashType, Revocations, Scope, write_store
from vaxpass_sign.check.revocation.hashes import hashes_of
from vaxpass_sign.check.verdict_table import COLUMNS, Counts, write_verdicts
from vaxpass_sign.errors import InputError, TrustError
from vaxpass_sign.hcert import codec

ASKED = Asked(trust(), AT)
FORMS = (".csv", ".jsonl", ".parquet")
MIXED = [TEXT, *(forged[1] for forged in FORGED if "\n" not in forged[1]), TEXT]
"""Every way to fail, between good ones."""


def blocks_of(texts: list[str], size: int) -> Iterator[ColumnBlock]:
    for start in range(0, len(texts), size):
        yield ColumnBlock("a.parquet", start + 1, list(texts[start : start + size]))


def read(path: Path) -> list[dict[str, object]]:
    """The rows of a table, whatever its form, as JSON has them."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    text = path.read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    for row in rows:
        row |= {"row": int(row["row"]), "valid": row["valid"] == "true", "step": int(row["step"])}
        row["kid"] = row["kid"] or None
    return rows


def expected(texts: list[str]) -> list[dict[str, object]]:
    rows = []
    for number, text in enumerate(texts, 1):
        verdict = verify(text, trust(), AT)
        kid = verdict.hcert.kid if verdict.hcert else None
        facts = (
            *("a.parquet", number, verdict.valid, verdict.reason.value, verdict.step.value),
            *(verdict.detail, "; ".join(verdict.warnings), kid.hex() if kid else None),
        )
        rows.append(dict(zip(COLUMNS, facts, strict=True)))
    return rows


@pytest.mark.parametrize("form", FORMS)
def test_each_row_is_what_verify_says(tmp_path: Path, form: str) -> None:
    """In order, by several processes, for every way to fail."""
    out, seen = tmp_path / f"out{form}", []
    counts = write_verdicts(out, ASKED, blocks_of(MIXED, 7), workers=3, progress=seen.append)
    rows = expected(MIXED)
    assert read(out) == rows
    assert counts == Counts(2, len(MIXED) - 2) == seen[-1]
    assert [count.total for count in seen][:2] == [7, 14]
    assert list(tmp_path.iterdir()) == [out]
    assert out.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("form", FORMS)
def test_no_payload_is_a_table_without_rows(tmp_path: Path, form: str) -> None:
    out = tmp_path / f"out{form}"
    assert write_verdicts(out, ASKED, []) == Counts()
    assert read(out) == []


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ('a,"b"\n=1.txt', 'a,"b"\n=1.txt'),
        ("a\nb.txt", "a\nb.txt"),
        ("a\rb.txt", "a\rb.txt"),
        (os.fsdecode(b"a\xff.txt"), r"a\udcff.txt"),
    ],
    ids=["punctuation", "newline", "return", "no UTF-8"],
)
@pytest.mark.parametrize("form", FORMS)
def test_a_source_that_needs_care(tmp_path: Path, form: str, name: str, written: str) -> None:
    """A file's name may hold what the forms are made of, and bytes that are no text."""
    write_verdicts(tmp_path / f"out{form}", ASKED, [TextBlock(name, 5, b"HC1:A\n\nHC1:B")])
    rows = read(tmp_path / f"out{form}")
    assert [(row["input"], row["row"]) for row in rows] == [(written, 5), (written, 7)]


def test_no_personal_data(tmp_path: Path) -> None:
    """Nothing of what a credential says stands in the table."""
    for form in FORMS[:2]:
        out = tmp_path / f"out{form}"
        write_verdicts(out, ASKED, blocks_of(MIXED, 100))
        text = out.read_text("utf-8")
        for part in (RECORD.surname, RECORD.given_name, "URN:UVCI", RECORD.birth_date):
            assert part not in text


def test_all_that_is_asked_reaches_the_workers(tmp_path: Path) -> None:
    """Policy, moment and revocations are those of the caller."""
    texts = [make_issuer().issue(RECORD) for _ in range(4)]
    hashes = hashes_of(codec.decode(texts[2]), HashType.UCI)
    path = tmp_path / "a.vxrev"
    write_store(path, [(Scope(HashType.UCI, "VN"), hashes)], expires_at=AT.replace(year=2099))
    out = tmp_path / "out.jsonl"
    with Revocations.open([path]) as revocations:
        asked = Asked(trust(), AT, POLICIES["eu"], revocations)
        write_verdicts(out, asked, blocks_of(texts, 1), workers=2)
        strict = Asked(trust(), AT, POLICIES["strict"], revocations)
        write_verdicts(tmp_path / "strict.jsonl", strict, blocks_of(texts, 1), workers=2)
    assert [row["reason"] for row in read(out)] == ["valid", "valid", "revoked", "valid"]
    assert {row["reason"] for row in read(tmp_path / "strict.jsonl")} == {"dsc_untrusted"}
    late = Asked(trust(), AT.replace(year=2090))
    write_verdicts(out, late, blocks_of(texts, 1), workers=2)
    assert {row["reason"] for row in read(out)} == {"expired"}


# --- whole or not at all -------------------------------------------------------------------------


def failing(texts: list[str]) -> Iterator[ColumnBlock]:
    yield from blocks_of(texts, 1)
    raise InputError("a.parquet can't be read as a Parquet table")


@pytest.mark.parametrize("form", FORMS)
def test_what_was_there_stays(tmp_path: Path, form: str) -> None:
    """A source that ends in an error leaves the old table, and nothing else."""
    out = tmp_path / f"out{form}"
    out.write_bytes(b"old")
    with pytest.raises(InputError, match="can't be read as a Parquet table"):
        write_verdicts(out, ASKED, failing([TEXT] * 5), workers=2)
    assert out.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("name", ["out", "out.txt", "out.csv.gz"])
def test_a_form_that_is_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"expected one of \.csv, \.jsonl, \.parquet"):
        write_verdicts(tmp_path / name, ASKED, [])


def test_a_place_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be written"):
        write_verdicts(tmp_path / "nowhere" / "out.csv", ASKED, [])


# --- processes -----------------------------------------------------------------------------------


def process_of(verifier: BatchVerifier, block: ColumnBlock) -> int:
    return os.getpid()


def kill_at_three(verifier: BatchVerifier, block: ColumnBlock) -> int:
    if block.first == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return block.first


def test_one_block_needs_no_process() -> None:
    """Starting processes takes longer than a block."""
    assert list(verify_blocks(ASKED, blocks_of([TEXT], 5), process_of)) == [os.getpid()]


def test_blocks_go_to_all_workers() -> None:
    """And blocks are taken as they are needed, so that a stream of any length can be verified."""
    taken = 0

    def endless() -> Iterator[ColumnBlock]:
        nonlocal taken
        while True:
            taken += 1
            yield ColumnBlock("a", taken, [TEXT])

    found = verify_blocks(ASKED, endless(), process_of, workers=2)
    pids = [next(found) for _ in range(20)]
    assert taken <= 40
    found.close()
    assert len(set(pids)) == 2
    assert os.getpid() not in pids


def test_a_worker_that_is_killed(tmp_path: Path) -> None:
    """One line, and no table."""
    out = tmp_path / "out.csv"
    with pytest.raises(InputError, match="a worker process could not begin or was ended"):
        list(verify_blocks(ASKED, blocks_of([TEXT] * 9, 1), kill_at_three, workers=2))
    assert not out.exists()


def test_a_revocation_file_that_is_gone(tmp_path: Path, capfd) -> None:
    """A worker that can't open it again says so, in one line, and no traceback is shown."""
    path = tmp_path / "a.vxrev"
    scope = Scope(HashType.UCI, "VN")
    write_store(path, [(scope, [bytes(16)])], expires_at=AT.replace(year=2099))
    with Revocations.open([path]) as revocations:
        path.unlink()
        asked = Asked(trust(), AT, revocations=revocations)
        with pytest.raises(TrustError, match=r"a\.vxrev can't be read: No such file"):
            list(verify_blocks(asked, blocks_of([TEXT] * 3, 1), process_of, workers=2))
    assert capfd.readouterr() == ("", "")


def test_workers_that_cannot_be_started() -> None:
    """A process that may open few files says so, before any table is begun or half of one done."""
    script = """if True:
        import resource
        from check.test_verdict_table import *
        if __name__ == "__main__":
            resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
            list(verify_blocks(ASKED, blocks_of([TEXT] * 40, 1), process_of, workers=8))
    """
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.stderr.splitlines()[-1].startswith(
        "vaxpass_sign.errors.InputError: worker processes can't be started: Too many open files"
    )


def test_every_reason_can_be_a_row() -> None:
    """The table knows the step of each."""
    assert {verify(text, trust(), AT).reason for text in MIXED} > {Reason.VALID, Reason.SIGNATURE}
