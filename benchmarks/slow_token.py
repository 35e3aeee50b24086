"""A slow token: a PKCS#11 proxy before SoftHSM, and how near a whole ``sign`` comes to its limit.

The proxy of tests/proxy lets each C_Sign take so long, and so many be made at the same time: the
model of an HSM or a card. Against it stand bare loops through the same proxy, one process for each
session of the run, with nothing but C_SignInit and C_Sign: what such a token can give. Threads of
one process would be a weaker yardstick, since they share Python's lock.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from statistics import median

from common import Report, alternate, median_ratio
from province import BareLoops, Province, bare_signing
from vaxpass_sign.campaign.signing.run import SignOptions, sign_campaign

__all__ = ["against_bare_loops", "build_proxy", "put_proxy_before", "sign_seconds"]

TESTS = Path(__file__).parents[1] / "tests"


def build_proxy(folder: Path) -> Path:
    """Compile the proxy into ``folder``; ends the benchmark when that can't be done."""
    sys.path.insert(0, str(TESTS))
    try:
        from proxy.proxy import build_library

        return build_library(folder)
    except (ImportError, FileNotFoundError) as error:
        what = "cc" if isinstance(error, FileNotFoundError) else "tests/proxy"
        raise SystemExit(
            f"--slow: found no {what}, expected a clone of the repository and a C compiler "
            "(Debian: apt-get install gcc libc6-dev)"
        ) from None
    except AssertionError as error:
        last = str(error).strip().splitlines()[-1]
        raise SystemExit(f"--slow: cc can't build tests/proxy/p11proxy.c: {last}") from None


def put_proxy_before(province: Province, library: Path, sign_ms: float, at_once: int) -> None:
    """Let the province's campaign and its bare loops reach their token through the proxy.

    ``at_once``: 0 is any number.
    """
    from proxy.proxy import Proxy

    real, folder = province.token.module, library.with_name("proxy")
    folder.mkdir()
    proxy = Proxy(folder, library, Path(real), sign_ms=sign_ms, at_once=at_once)
    settings = province.folder / "cleaned" / "campaign.toml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(text.replace(real, str(proxy.path)), encoding="utf-8")
    province.token = replace(province.token, module=str(proxy.path))


def sign_seconds(province: Province, options: SignOptions) -> float:
    """Seconds for a whole ``sign`` of a fresh copy, from the plan to the last worker's end.

    Ends the benchmark when not all of ``options.most`` was signed.
    """
    layout = province.fresh().layout
    began = time.perf_counter()
    done = sign_campaign(layout, options)
    seconds = time.perf_counter() - began
    if done.signed != options.most:
        raise SystemExit(f"{done.signed} of {options.most} were signed, so no rate is fair")
    return seconds


def against_bare_loops(
    report: Report, province: Province, options: SignOptions, rounds: int
) -> None:
    """Enter the rates of whole runs and of bare loops, in turn, and what a run's start takes."""
    records = options.most or province.people
    processes = (options.workers or 1) * options.sessions
    report.figures["records"] = records
    report.figures["one_record_seconds"] = sign_seconds(province, replace(options, most=1))

    def counts() -> Iterator[int]:
        # A round lasts a minute; the first one warms up and counts for nothing.
        return chain((max(records // 10, processes),), repeat(records))

    ours, theirs = counts(), counts()

    def sign() -> float:
        count = next(ours)
        return count / sign_seconds(province, replace(options, most=count))

    def bare() -> float:
        count = next(theirs)
        return count / loops.seconds(count)

    with BareLoops(processes, bare_signing, *province.bare_key()) as loops:
        found = alternate(rounds, {"sign": sign, "bare": bare})
    report.figures["sign_per_s"] = median(found["sign"])
    report.figures["bare_loops_per_s"] = median(found["bare"])
    report.ratios["slow_vs_bare_loop"] = median_ratio(found["sign"], found["bare"])
