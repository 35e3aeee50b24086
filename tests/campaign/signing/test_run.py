"""Signing as it goes wrong: bad settings, wrong keys and PINs, lost tokens, full disks, stops."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from campaigns import SETTINGS, Desk, assert_clean, assert_no_one_twice, bodies
from issuing import private_key
from proxy.proxy import Proxy
from running import PROGRAM, TODAY, dsc_for_today
from tokens.leaks import assert_shows_no
from tokens.softhsm import SoftHsm
from vaxpass_sign.campaign.commit import file_sha256
from vaxpass_sign.campaign.layout import Layout
from vaxpass_sign.campaign.signing.coordinator import SignProgress
from vaxpass_sign.campaign.signing.run import SignOptions, sign_campaign
from vaxpass_sign.campaign.signing.signals import Signals
from vaxpass_sign.errors import (
    CampaignError,
    CertificateError,
    InputError,
    LedgerError,
    PinError,
    TokenError,
    VaxpassError,
)
from vaxpass_sign.x509 import pem


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path / "desk")
    desk.clean(60)
    return desk


@pytest.fixture
def token_desk(tmp_path: Path, proxied: SoftHsm) -> Desk:
    """A campaign whose key is on SoftHSM behind the proxy."""
    desk = Desk(tmp_path / "desk", token=proxied)
    desk.clean(400)
    return desk


def sign(desk: Desk, **options):
    """Sign with options that only the library has."""
    return sign_campaign(Layout(desk.root), SignOptions(**options), pin=desk.pin)


# --- what does not fit together ------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def forge_clean(desk: Desk, table: pa.Table) -> None:
    """Put another table in the place of the clean part, and its hash into a new ledger."""
    [path] = desk.parts("clean")
    parquet.write_table(table, path)
    sha256, size = file_sha256(path)
    from campaigns import forge

    def accept(body: dict, kind: str) -> None:
        for file in body.get("files", ()):
            if file["name"].startswith("clean/"):
                file.update(sha256=sha256, bytes=size, rows=len(table))

    forge(desk, accept)


WRONG: dict[str, tuple[Callable[[Desk], object], type[VaxpassError], str]] = {
    "no campaign.toml": (
        lambda desk: (desk.root / "campaign.toml").unlink(), CampaignError, "campaign's settings",
    ),
    "no section key": (
        lambda desk: desk.write_settings(SETTINGS.split("[key]")[0]), CampaignError, r"\[key\]",
    ),
    "a misspelt setting": (
        lambda desk: desk.write_settings(SETTINGS.replace("validity_days", "validty_days")),
        CampaignError, "found 'validty_days', expected one of validity_days",
    ),
    "no DSC": (lambda desk: (desk.folder / "dsc.pem").unlink(), CertificateError, "dsc.pem"),
    "no key file": (lambda desk: (desk.folder / "key.pem").unlink(), InputError, "key.pem"),
    "another key's DSC": (
        lambda desk: (desk.folder / "dsc.pem").write_bytes(pem(dsc_for_today("other").der)),
        CertificateError, "is not the certificate of this key",
    ),
    "an expired DSC": (
        lambda desk: (desk.folder / "dsc.pem").write_bytes(
            pem(dsc_for_today(not_before=TODAY - timedelta(days=400), not_after=TODAY - timedelta(days=10)).der)
        ),
        CertificateError, "check the clock, or use the DSC that is valid now",
    ),
    "a DSC that expires too early": (
        lambda desk: desk.write_settings(days=900), CertificateError, "shorten the validity",
    ),
    "a clean part cut": (
        lambda desk: cut(desk.parts("clean")[0]), LedgerError, "changed or cut",
    ),
    "a clean part lost": (
        lambda desk: desk.parts("clean")[0].unlink(), LedgerError, "is missing: ledger row 2",
    ),
    "a clean part with other columns": (
        lambda desk: forge_clean(desk, pa.table({"uvci": ["x"], "name": ["y"]})),
        InputError, r"no clean part: as column 1 found 'uvci' \(string\), expected 'uvci' \(string not",
    ),
    "a clean part with a column renamed": (
        lambda desk: forge_clean(
            desk,
            parquet.read_table(desk.parts("clean")[0]).rename_columns(
                ["uvcI", *parquet.read_schema(desk.parts("clean")[0]).names[1:]]
            ),
        ),
        InputError, "as column 1 found 'uvcI'",
    ),
    "a signed part that nobody knows": (
        lambda desk: (desk.root / "signed" / "part-000001.parquet").write_bytes(b""),
        LedgerError, "older copy of the ledger",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "kind", "words"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_found_before_anything_is_signed(
    desk: Desk, spoil: Callable[[Desk], object], kind: type[VaxpassError], words: str
) -> None:
    """One line that says what was found and what to do; nothing signed, nothing lost."""
    spoil(desk)
    strangers = len(desk.parts("signed"))
    with pytest.raises(kind, match=words) as caught:
        desk.sign()
    assert "\n" not in str(caught.value)
    assert len(desk.parts("signed")) == strangers


SECRETS: dict[str, tuple[Callable[[Desk], object], str]] = {
    "missing": (lambda desk: desk.secret.unlink(), "head -c 32 /dev/urandom"),
    "another one": (lambda desk: desk.secret.write_bytes(b"x" * 32), "not the one that this campaign"),
    "too short": (lambda desk: desk.secret.write_bytes(b"x" * 31), "found 31 bytes, expected 32"),
    "too long": (lambda desk: desk.secret.write_bytes(b"x" * 33), "larger than 32 bytes"),
    "in hexadecimal": (lambda desk: desk.secret.write_bytes(b"ab" * 32), "larger than 32 bytes"),
    "inside the campaign": (
        lambda desk: desk.write_settings(SETTINGS.replace("../secret", "secret")),
        "expected it elsewhere",
    ),
    "no section": (
        lambda desk: desk.write_settings(SETTINGS.split("[secret]")[0]), "no section",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "words"), SECRETS.values(), ids=SECRETS)
def test_a_missing_or_wrong_secret(desk: Desk, spoil: Callable[[Desk], object], words: str) -> None:
    """Cleaning with another secret would give each person a second identity: it is refused."""
    spoil(desk)
    before = desk.clean_rows()
    with pytest.raises(CampaignError, match=words) as caught:
        desk.clean(10, name="more.csv", start=60)
    assert "x" * 31 not in str(caught.value)
    assert desk.clean_rows() == before


def test_cleaning_builds_on_what_was_committed(desk: Desk) -> None:
    """A clean part that is another one now would give its people a second credential each."""
    [part] = desk.parts("clean")
    good = part.read_bytes()
    parquet.write_table(parquet.read_table(part).slice(0, 0), part)
    with pytest.raises(LedgerError, match="another hash than the ledger's"):
        desk.clean(5, name="more.csv", start=60)
    part.write_bytes(good)
    assert desk.clean(5, name="more.csv", start=60).people == 5


def test_numbers_out_of_bounds(desk: Desk) -> None:
    """Workers, sessions, rates and counts have bounds."""
    for options in (
        {"workers": 0}, {"workers": 257}, {"sessions": 0}, {"limit_rate": 0}, {"most": 0},
        {"part_rows": 0}, {"close_after_s": 0},
    ):  # fmt: skip
        with pytest.raises(InputError, match="expected"):
            sign(desk, **options)


# --- PINs ----------------------------------------------------------------------------------


def test_one_wrong_pin_ends_everything(token_desk: Desk, proxy: Proxy) -> None:
    """The coordinator's one try is the only one; no worker starts, nothing is signed."""
    wrong = "-".join(("refused", "in", "test_run"))  # not as one word in a traceback's source line
    with pytest.raises(PinError) as caught:
        token_desk.sign(workers=4, pin=wrong)
    assert proxy.counts()["C_Login"] == 1
    assert_shows_no(caught.value, wrong)
    assert token_desk.signed() == []
    assert bodies(token_desk, "start") == []


def test_a_pin_refused_to_a_worker_is_not_sent_by_another(token_desk: Desk, proxy: Proxy) -> None:
    """A PIN that was right a moment ago and is refused now is sent once more, not by each worker."""
    fault = proxy.fail("C_Login", "CKR_PIN_INCORRECT", at=2, times=None)
    with pytest.raises(PinError):
        token_desk.sign(workers=4)
    assert fault.hits == 1
    proxy.clear(fault)
    assert token_desk.sign(workers=2).signed == 400


def test_the_pin_is_asked_for_once(token_desk: Desk) -> None:
    """However many workers and sessions there are."""
    asked = []

    def ask() -> str:
        asked.append(1)
        return token_desk.pin

    assert token_desk.sign(workers=2, sessions=2, pin=ask).signed == 400
    assert len(asked) == 1
    assert_clean(token_desk.audit())


def all_children(pid: int) -> Iterator[int]:
    """The processes that a process has started, and theirs."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            yield child
            yield from all_children(child)


def test_the_pin_is_in_no_file_task_or_environment(token_desk: Desk) -> None:
    """Neither the campaign's files nor any worker's arguments or environment hold it."""
    found: list[str] = []
    seen: set[int] = set()
    stop = threading.Event()
    secret = token_desk.pin.encode()

    def look() -> None:
        while not stop.is_set():
            for child in all_children(os.getpid()):
                seen.add(child)
                for name in ("cmdline", "environ"):
                    try:
                        if secret in Path(f"/proc/{child}/{name}").read_bytes():
                            found.append(f"{child} {name}")
                    except OSError:
                        continue

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        token_desk.sign(workers=2)
    finally:
        stop.set()
        watcher.join()
    assert found == []
    assert len(seen) >= 2  # both workers were looked at
    for path in token_desk.root.rglob("*"):
        if path.is_file():
            assert secret not in path.read_bytes(), path


# --- tokens that fail ----------------------------------------------------------------------


def test_a_token_lost_in_the_middle(token_desk: Desk, proxy: Proxy) -> None:
    """What was committed stands, the run says what failed, and the same call goes on from there."""
    proxy.fail("C_Sign", "CKR_DEVICE_REMOVED", at=250, times=None)
    with pytest.raises(TokenError, match="CKR_DEVICE_REMOVED") as caught:
        sign(token_desk, workers=2, part_rows=20)
    assert_shows_no(caught.value, token_desk.pin)
    committed = token_desk.signed()
    assert 0 < len(committed) < 400
    assert_clean(token_desk.audit())
    assert bodies(token_desk, "end")[-1]["why"] == "TokenError"
    proxy.clear()
    report = token_desk.sign()
    assert report.signed == 400 - len(committed)
    after = {row["uvci"]: row["hc1"] for row in token_desk.signed()}
    assert {row["uvci"]: row["hc1"] for row in committed}.items() <= after.items()
    assert_no_one_twice(token_desk)
    assert_clean(token_desk.audit())


def test_a_killed_worker_costs_a_second_try(token_desk: Desk, proxy: Proxy) -> None:
    """One worker dies in the middle of a slice: another one signs it, and the run goes on."""
    proxy.fail("C_Sign", "kill", at=100)
    assert sign(token_desk, workers=2, part_rows=50).signed == 400
    assert_no_one_twice(token_desk)
    assert_clean(token_desk.audit())


def test_a_slice_that_kills_two_workers_ends_the_run(token_desk: Desk, proxy: Proxy) -> None:
    """A second death over the same slice is no accident any more; what was committed stands."""
    proxy.fail("C_Sign", "kill", at=150, times=None)
    with pytest.raises(TokenError, match="so did the one that took its place"):
        sign(token_desk, workers=1, part_rows=50)
    assert_clean(token_desk.audit())
    proxy.clear()
    assert token_desk.sign().left == 0
    assert_no_one_twice(token_desk)
    assert_clean(token_desk.audit())


def test_many_sessions_share_one_login(token_desk: Desk, proxy: Proxy) -> None:
    """--sessions 4: one login for each process, and four signatures under way at once."""
    proxy.set(sign_ms=2, trace=True)
    assert token_desk.sign(workers=1, sessions=4).signed == 400
    from proxy.proxy import most_at_once

    assert most_at_once(proxy.calls("C_Sign")) == 4
    # The coordinator's and the worker's; further sessions find themselves logged in.
    assert proxy.counts()["C_Login"] == 2
    assert_clean(token_desk.audit())


def test_a_slow_token_is_committed_by_time(token_desk: Desk, proxy: Proxy) -> None:
    """Parts are closed by time, so that a crash costs seconds, and not one file a signature."""
    proxy.set(sign_ms=20, at_once=1)
    report = sign(token_desk, workers=1, most=120, close_after_s=1.0)
    assert report.signed == 120
    parts = bodies(token_desk, "part")
    assert 2 <= len(parts) <= 4
    assert sorted(r for part in parts for r in part["ranges"])[0][0] == 0
    assert_clean(token_desk.audit())


def test_limit_rate_holds_over_all_workers(token_desk: Desk) -> None:
    """--limit-rate is for all workers together."""
    began = time.monotonic()
    assert sign(token_desk, workers=2, limit_rate=100, most=200).signed == 200
    # 200 at 100 a second take two seconds; no upper bound, for machines are slow.
    assert time.monotonic() - began > 1.8
    assert_clean(token_desk.audit())


def test_limit_rate_holds_from_slice_to_slice(token_desk: Desk) -> None:
    """Also when a slice is closed before its rate would allow the next signature."""
    began = time.monotonic()
    done = sign(token_desk, workers=2, limit_rate=20, most=50, close_after_s=0.1, part_rows=5)
    assert done.signed == 50
    assert time.monotonic() - began > 2
    assert_clean(token_desk.audit())


# --- stops ---------------------------------------------------------------------------------


@pytest.fixture
def slow(token_desk: Desk, proxy: Proxy) -> Iterator[Desk]:
    proxy.set(sign_ms=10, at_once=1)
    yield token_desk
    proxy.set(sign_ms=0, at_once=0)


@pytest.mark.parametrize(
    ("number", "group"),
    [(signal.SIGINT, True), (signal.SIGTERM, True), (signal.SIGTERM, False)],
    ids=["Ctrl-C", "SIGTERM to all", "SIGTERM"],
)
def test_a_stop_commits_what_was_signed(
    slow: Desk, number: signal.Signals, group: bool, proxy: Proxy
) -> None:
    """Ctrl-C or SIGTERM, whether it reaches the workers too: code 2, the way on, nothing lost."""
    process = subprocess.Popen(
        [*PROGRAM, "sign", str(slow.root), "--yes", "--pin-env", "THE_PIN", "--workers", "2"],
        env={**os.environ, "THE_PIN": slow.pin},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while proxy.counts()["C_Sign"] < 40:
        time.sleep(0.02)
    os.killpg(process.pid, number) if group else process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 2, err
    assert "Traceback" not in err
    assert "the same command goes on from there" in err
    signed = len(slow.signed())
    assert 20 < signed < 400
    assert f"{signed:,} signed in" in out
    assert f"{400 - signed} left" in out
    assert_clean(slow.audit())
    proxy.set(sign_ms=0)
    assert slow.sign().signed == 400 - signed
    assert_clean(slow.audit())


def test_a_progress_that_fails_stops_in_order(slow: Desk) -> None:
    """What the workers have signed is committed, the run's end is in the ledger, and it is soon."""

    def fail(shown: SignProgress) -> None:
        if shown.done > 20:
            raise BrokenPipeError

    began = time.monotonic()
    with pytest.raises(BrokenPipeError):
        slow.sign(progress=fail)
    assert time.monotonic() - began < 20
    assert len(slow.signed()) > 20
    assert bodies(slow, "end")[-1]["why"] == "BrokenPipeError"
    assert_clean(slow.audit())


def test_a_stderr_that_nobody_reads(slow: Desk) -> None:
    """A pipe whose reader has gone, as `2>&1 | head -3` leaves it, stops nothing."""
    command = [*PROGRAM, "sign", str(slow.root), "--yes", "--pin-env", "THE_PIN", "--max", "50"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        command,
        env={**os.environ, "THE_PIN": slow.pin},
        stdout=subprocess.PIPE,
        stderr=writing,
        timeout=60,
    )
    os.close(writing)
    assert done.returncode == 0
    assert len(slow.signed()) == 50


def test_workers_that_stop_without_a_reason(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a worker dies right after it told the others to stop: an error, not a loop."""
    real = Signals.create

    def stopped(path: Path, workers: int) -> Signals:
        signals = real(path, workers)
        signals.stop()
        return signals

    monkeypatch.setattr(Signals, "create", stopped)
    with pytest.raises(TokenError, match="did not say why"):
        desk.sign()
    monkeypatch.undo()
    assert desk.sign().signed == 60


def test_folders_that_a_backup_left_out(desk: Desk) -> None:
    """Empty folders are made again; nothing else is wrong."""
    for name in ("signed", "staging", "reports", "rejected"):
        (desk.root / name).rmdir()
    assert desk.sign().signed == 60
    assert_clean(desk.audit())


def test_two_at_once(slow: Desk) -> None:
    """The second sign on a campaign is refused while the first one works; nothing is doubled."""
    first = threading.Thread(target=lambda: slow.sign(most=100))
    first.start()
    try:
        while not bodies(slow, "start"):
            time.sleep(0.05)
        with pytest.raises(CampaignError, match="is in use: another program"):
            slow.sign()
        with pytest.raises(CampaignError, match="is in use"):
            slow.clean(5, name="more.csv", start=500)
        assert slow.campaign.report().total.rows_clean == 400
    finally:
        first.join()
    assert_no_one_twice(slow)
    assert len(slow.signed()) == 100
    assert_clean(slow.audit())


def test_progress_counts_up_to_the_plan(slow: Desk) -> None:
    """Progress shows what is signed before it is committed, and ends with all of it."""
    seen: list[SignProgress] = []
    slow.sign(most=60, progress=seen.append)
    done = [p.done for p in seen]
    assert done == sorted(done)
    assert seen[-1].done == seen[-1].signed == 60
    assert seen[-1].left == 0
    assert any(p.under_way > 0 for p in seen)
    assert all(p.done + p.left + p.refused == 60 for p in seen)


# --- disks ---------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 4 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        reason = "a small file system can't be mounted here (needs root)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    """Signing stops with one line; what was committed stands, and room is all that is needed."""
    desk = Desk(small_disk / "desk")
    desk.clean(1200)
    filler = small_disk / "filler"
    free = shutil.disk_usage(small_disk).free
    filler.write_bytes(b"x" * (free - 700_000))
    with pytest.raises(InputError, match=r"No space left|can't be written|disk is full"):
        sign(desk, workers=1, part_rows=200)
    committed = desk.signed()
    assert len(committed) < 1200
    filler.unlink()
    assert_clean(desk.audit())
    assert desk.sign().signed == 1200 - len(committed)
    assert_no_one_twice(desk)
    assert_clean(desk.audit())


def test_a_full_disk_while_cleaning(small_disk: Path) -> None:
    """Cleaning counts as a whole or not at all."""
    desk = Desk(small_disk / "desk")
    table = desk.table("doses.csv", 1200)
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 200_000))
    with pytest.raises(InputError) as caught:
        desk.campaign.clean([table], workers=1)
    assert "\n" not in str(caught.value)
    filler.unlink()
    assert desk.campaign.clean([table], workers=1).people == 1200
    desk.sign()
    assert_clean(desk.audit())


def test_a_read_only_folder(desk: Desk, small_disk: Path) -> None:
    """A campaign on a read-only file system is one line, and nothing is signed."""
    shutil.copytree(desk.folder, small_disk / "desk")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    desk.root = small_disk / "desk" / "c"
    with pytest.raises(VaxpassError) as caught:
        desk.sign()
    assert "\n" not in str(caught.value)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert desk.sign().signed == 60


def test_a_clock_that_jumps_back_in_the_middle(desk: Desk) -> None:
    """The run stops at the jump; what was committed stands."""
    calls = iter(range(10_000))

    def clock() -> float:
        return time.time() - (7200 if next(calls) > 12 else 0)

    with pytest.raises(CampaignError, match="set the clock right"):
        sign_campaign(
            Layout(desk.root), SignOptions(workers=1, part_rows=5), clock=clock, pin=desk.pin
        )
    signed = len(desk.signed())
    assert 0 < signed < 60
    assert desk.sign().signed == 60 - signed
    assert_clean(desk.audit())


def test_a_script_without_a_main_guard_says_so(desk: Desk) -> None:
    """Spawned workers import the caller's script: without the guard it must not run away."""
    script = desk.folder / "script.py"
    script.write_text(
        f"from vaxpass_sign.campaign import Campaign\nprint(Campaign({str(desk.root)!r}).sign(workers=2))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert '__name__ == "__main__"' in done.stderr
    assert private_key("dsc")
    assert desk.signed() == []
