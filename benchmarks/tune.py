"""How many workers and sessions, and how many rows a part, are best for a token.

Without ``--key`` it makes a SoftHSM token and a campaign of made-up people, and every rate is that
of a whole ``sign``, start-up included. ``--slow MS`` and ``--at-once N`` put a PKCS#11 proxy before
SoftHSM that makes each signature take so long and lets only so many be made at the same time: the
model of an HSM (needs a C compiler). Then ``slow_vs_bare_loop`` compares the setting that is
chosen, or the one of ``--only``, with bare loops through the same proxy, in turn.

With ``--key URI`` it measures a token of your own. Nothing is signed that could be a credential: it
is one fixed text, and the rate is that of the signer alone. The PIN comes from ``--pin-env NAME``,
the URI's pin-source, or a prompt.

It goes from few to many, and gives up on more workers or more sessions when two steps in a row
bring less than 3 % each.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

# Each worker process imports this script when it starts, and its start is part of what is measured:
# what only the benchmark needs is imported in the functions that need it.
from common import Report, parser
from vaxpass_sign.campaign.signing.coordinator import PART_ROWS
from vaxpass_sign.campaign.signing.job import SignOptions

WORTH = 0.03
"""More workers or sessions must bring at least this much."""

GIVE_UP = 2
"""After so many steps in a row that did not."""

SOFTHSM_PER_S = 20_000
"""About; it decides how many people are made up for a run of so many seconds."""


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """One way to sign: processes, sessions of each, and rows of a signed part."""

    workers: int
    sessions: int
    part_rows: int = PART_ROWS

    @property
    def name(self) -> str:
        """As the figures are called."""
        return f"{self.workers}x{self.sessions}x{self.part_rows}_per_s"

    def __str__(self) -> str:
        return f"--workers {self.workers} --sessions {self.sessions}"


Measure = Callable[[Setting], float]
"""Signatures a second with a setting."""


# --- the sweep -----------------------------------------------------------------------------


class Steps:
    """Whether more of something still brings anything."""

    def __init__(self) -> None:
        self._best = 0.0
        self._wasted = 0

    def more(self, rate: float) -> bool:
        """Take in the next step's rate; False when the last two brought too little."""
        if rate >= self._best * (1 + WORTH):
            self._best, self._wasted = rate, 0
        else:
            self._wasted += 1
        return self._wasted < GIVE_UP


def sweep(
    measure: Measure, most_workers: Callable[[], int], most_sessions: int, *, corner: bool
) -> dict[Setting, float]:
    """Measure workers x sessions from few to many, each number doubled as long as that pays.

    ``most_workers`` is asked after the first measure, when the token is known. ``corner``: several
    sessions with one worker only.
    """
    found: dict[Setting, float] = {}
    by_workers, workers = Steps(), 1
    while True:
        by_sessions, sessions, best = Steps(), 1, 0.0
        while True:
            setting = Setting(workers, sessions)
            rate = found[setting] = measure(setting)
            _say(f"{rate:>12,.{_digits(rate)}f}/s  {setting}")
            best = max(best, rate)
            sessions *= 2
            if not by_sessions.more(rate) or sessions > most_sessions or (corner and workers > 1):
                break
        workers *= 2
        if not by_workers.more(best) or workers > most_workers():
            return found


def choose(found: dict[Setting, float]) -> Setting:
    """The smallest setting within 3 % of the best one.

    The smallest has the fewest signatures under way; of those the one with the fewest processes,
    which cost memory and logins.
    """
    enough = max(found.values()) * (1 - WORTH)
    fit = [setting for setting, rate in found.items() if rate >= enough]
    return min(fit, key=lambda setting: (setting.workers * setting.sessions, setting.workers))


def table(found: dict[Setting, float]) -> str:
    """The rates of parts of the usual size: a line for each number of workers."""
    rates = {(s.workers, s.sessions): rate for s, rate in found.items() if s.part_rows == PART_ROWS}
    all_sessions = sorted({sessions for _, sessions in rates})
    lines = ["signatures/s" + "".join(f"{number:>10}" for number in all_sessions) + "  sessions"]
    for workers in sorted({workers for workers, _ in rates}):
        cells = [rates.get((workers, sessions)) for sessions in all_sessions]
        texts = ("-" if rate is None else f"{rate:,.{_digits(rate)}f}" for rate in cells)
        lines.append(f"{workers:>4} workers" + "".join(f"{text:>10}" for text in texts))
    return "\n".join(lines)


def recommendation(found: dict[Setting, float]) -> str:
    chosen, best = choose(found), max(found, key=lambda setting: found[setting])
    rate = found[chosen]
    words = f"Use {chosen}: {rate:,.{_digits(rate)}f}/s"
    if chosen == best:
        return f"{words}; nothing else that was tried is faster."
    percent = (found[best] / rate - 1) * 100
    return f"{words}; the fastest, {best}, brings {percent:.1f} % more."


def _digits(rate: float) -> int:
    return 0 if rate >= 100 else 1


# --- what is measured ----------------------------------------------------------------------


def measure_own_token(flags: argparse.Namespace) -> dict[Setting, float]:
    """The reader's token: the signer alone, over a text that can't be a credential."""
    from own_token import OwnToken
    from vaxpass_sign.cli.pins import pin_source
    from vaxpass_sign.errors import VaxpassError
    from vaxpass_sign.keys.pin import hidden

    try:
        pin = hidden(pin_source(flags.key, flags.pin_env))
        token = OwnToken(flags.key, pin, flags.dsc, flags.seconds or (1.0 if flags.quick else 5.0))
    except VaxpassError as error:
        raise SystemExit(str(error)) from None

    def most_workers() -> int:
        if token.removable:
            _say("The token says that it is removable: one worker.")
        return 1 if token.removable else flags.most_workers

    return sweep(
        lambda setting: token.rate(setting.workers, setting.sessions),
        most_workers,
        flags.most,
        corner=flags.quick,
    )


def measure_campaign(flags: argparse.Namespace, folder: Path, report: Report) -> None:
    """A token of ours: whole runs of ``sign``; enters all that is found."""
    from province import Province, compiled_once
    from slow_token import against_bare_loops, build_proxy, put_proxy_before, sign_seconds

    compiled_once(folder)
    library = build_proxy(folder) if flags.slow else None
    seconds = flags.seconds or (1.0 if flags.quick else 10.0)
    long_run = flags.records or _records(flags, seconds if flags.quick else max(seconds, 75.0))
    people = long_run if flags.slow else flags.records or _records(flags, seconds)
    province = Province.make(folder / "province", people, _say)
    if library is not None:
        put_proxy_before(province, library, flags.slow, flags.at_once)

    def measure(setting: Setting) -> float:
        under_way = setting.workers * setting.sessions
        most = min(people, max(_records(flags, seconds, under_way), under_way))
        return most / sign_seconds(province, _options(setting, most))

    found: dict[Setting, float] = {}
    if flags.only is None:
        found = sweep(measure, lambda: flags.most_workers, flags.most, corner=flags.quick)
        chosen = choose(found)
        report.notes += [table(found), recommendation(found)]
        if not flags.quick:
            report.notes.append(_parts(measure, chosen, found))
    else:
        chosen = flags.only
    _enter(report, found, chosen, as_json=flags.json)
    if flags.quick:
        report.notes.append("With --quick the start is a large part of each run: no rate is final.")
    if flags.slow:
        against_bare_loops(report, province, _options(chosen, people), flags.rounds)


def _parts(measure: Measure, chosen: Setting, found: dict[Setting, float]) -> str:
    """Measure other sizes of a part with the chosen setting; what they bring."""
    words = []
    for part_rows in (2_000, 5_000, 50_000):
        setting = replace(chosen, part_rows=part_rows)
        found[setting] = measure(setting)
        percent = (found[setting] / found[chosen] - 1) * 100
        words.append(f"{part_rows:,} rows {percent:+.1f} %")
    return f"Parts instead of {PART_ROWS:,} rows: {', '.join(words)}."


def _options(setting: Setting, most: int) -> SignOptions:
    return SignOptions(
        workers=setting.workers, sessions=setting.sessions, part_rows=setting.part_rows, most=most
    )


def _records(flags: argparse.Namespace, seconds: float, under_way: int | None = None) -> int:
    """Records for so many seconds with so many signatures under way; None: as many as it takes."""
    if not flags.slow:
        return int(SOFTHSM_PER_S * seconds)
    at_once = min(flags.at_once or sys.maxsize, under_way or flags.at_once or 1)
    return max(int(min(at_once * 1000 / flags.slow, SOFTHSM_PER_S) * seconds), 20)


def _enter(report: Report, found: dict[Setting, float], chosen: Setting, *, as_json: bool) -> None:
    report.figures["best_workers"] = chosen.workers
    report.figures["best_sessions"] = chosen.sessions
    if found:
        report.figures["best_per_s"] = found[chosen]
    if as_json:  # a person reads them in the table
        report.figures |= {setting.name: rate for setting, rate in found.items()}


# --- the command line ----------------------------------------------------------------------


def main() -> None:
    flags = _flags()
    report = Report("tune", ("python-pkcs11", "pyarrow"))
    if flags.key:
        found = measure_own_token(flags)
        report.notes += [table(found), recommendation(found)]
        _enter(report, found, choose(found), as_json=flags.json)
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure_campaign(flags, Path(folder), report)
    report.show(as_json=flags.json)


def _say(words: str) -> None:
    print(words, file=sys.stderr)


def _setting(text: str) -> Setting:
    workers, sessions = (int(number) for number in text.split("x"))
    return Setting(workers, sessions)


def _flags() -> argparse.Namespace:
    flags = parser(__doc__)
    own = flags.add_argument_group("a token of your own")
    own.add_argument("--key", metavar="URI", help="its key")
    own.add_argument("--dsc", type=Path, metavar="FILE", help="the key must be this DSC's")
    own.add_argument("--pin-env", metavar="NAME", help="the environment variable with the PIN")
    model = flags.add_argument_group("a model of a token")
    model.add_argument("--slow", type=float, metavar="MS", help="how long a signature takes")
    model.add_argument("--at-once", type=int, default=0, metavar="N", help="so many; 0: any (0)")
    model.add_argument("--only", type=_setting, metavar="WxS", help="workers x sessions: no sweep")
    model.add_argument("--records", type=int, help="of each run, at most")
    model.add_argument("--rounds", type=int, help="against bare loops, with --slow (3)")
    flags.add_argument("--seconds", type=float, help="of each measure, about (10; --key: 5)")
    flags.add_argument("--most", type=int, help="workers, or sessions of each (32)")
    found = flags.parse_args()
    found.rounds = found.rounds or (1 if found.quick else 3)
    found.most = found.most or (8 if found.quick else 32)
    cores = max(2, len(os.sched_getaffinity(0)))
    found.most_workers = min(found.most, cores) if found.quick else found.most
    if found.key and (found.slow or found.only or found.records):
        flags.error("--key goes without --slow, --only and --records")
    if found.only and not found.slow:
        flags.error("--only needs --slow: it compares with bare loops on a slow token")
    if (found.dsc or found.pin_env) and not found.key:
        flags.error("--dsc and --pin-env need --key")
    return found


if __name__ == "__main__":
    main()
