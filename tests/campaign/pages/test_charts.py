"""Charts: what they show can be read, adds up, and comes out the same on every machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC
from itertools import pairwise

import pytest

from vaxpass_sign.campaign.pages.charts import Bar, Bins, bar_chart, rate_bins, rate_chart
from vaxpass_sign.campaign.report.progress import RatePoint

BINS = {
    "seconds": Bins(1_777_600_000, 1, (3.0,)),
    "minutes": Bins(1_777_600_000, 60, (21_336.0, 14_000.0)),
    "millions an hour": Bins(1_777_600_000, 3600, (1_499_000.0,) * 20),
    "hundreds of millions": Bins(1_777_600_000, 3600, (999_000_000.0,) * 8),
    "days": Bins(1_777_600_000, 6 * 3600, (100.0,) * 40),
    "years": Bins(1_777_600_000, 30 * 86400, (100.0,) * 40),
}
WIDTH = 400
LETTER = 7.6  # of 12.5 units, in the widest of the usual fonts


def texts(svg: str) -> list[tuple[str, float, float, str]]:
    """Each text with its anchor and place: (anchor, x, y, text)."""
    found = re.findall(r"<text style=\"([^\"]*)\" x=\"([\d.]+)\" y=\"([\d.]+)\"[^>]*>([^<]*)<", svg)
    return [
        ((re.search(r"text-anchor: (\w+)", style) or ["", "start"])[1], float(x), float(y), text)
        for style, x, y, text in found
    ]


def reach(anchor: str, x: float, text: str) -> tuple[float, float]:
    width = LETTER * len(text)
    left = {"start": x, "middle": x - width / 2, "end": x - width}[anchor]
    return left, left + width


@pytest.mark.parametrize("bins", BINS.values(), ids=BINS)
def test_axis_labels_are_whole_and_apart(bins: Bins) -> None:
    """No number leaves the picture at the left, and no two times run into each other."""
    found = texts(rate_chart(bins, UTC, "t", "w"))
    spans = [(y, *reach(anchor, x, text)) for anchor, x, y, text in found]
    assert len(found) >= 4
    assert all(left >= 0 and right <= WIDTH + 1 for _, left, right in spans), found
    bottom = max(y for y, _, _ in spans)
    below = sorted((left, right) for y, left, right in spans if y == bottom)
    assert len(below) >= 3
    assert all(right < left for (_, right), (left, _) in pairwise(below)), found


POINTS = {
    "none": [],
    "one of no length": [RatePoint(100, 0, 5)],
    "a burst": [RatePoint(100 + n, 1, 10) for n in range(10)],
    "long ones": [RatePoint(100 + 60 * n, 60, 1000) for n in range(100)],
    "a year apart": [RatePoint(0, 60, 7), RatePoint(365 * 86400, 60, 8)],
    "decades apart": [RatePoint(0, 60, 7), RatePoint(99 * 365 * 86400, 60, 8)],
}


@pytest.mark.parametrize("offset", [0, 7 * 3600, -3600 * 9 - 1800])
@pytest.mark.parametrize("points", POINTS.values(), ids=POINTS)
def test_bins_keep_the_sum(points: list[RatePoint], offset: int) -> None:
    """Nothing is lost between the spans, and they are few and no shorter than what was measured."""
    bins = rate_bins(points, offset)
    assert sum(bins.signed) == pytest.approx(sum(point.signed for point in points))
    assert len(bins.signed) <= 50
    assert bins.width_s >= max((point.seconds for point in points), default=0)


def test_a_small_part_is_seen_and_the_bar_keeps_its_length() -> None:
    """Three waiting among millions have their colour, and the bar ends at its end."""
    parts = (("signed", 9_000_000), ("waiting", 3), ("refused", 0), ("superseded", 1))
    svg = bar_chart([Bar("019", "x", parts)], "t", "w")
    assert "var(--waiting)" in svg
    assert "var(--superseded)" in svg
    assert "var(--refused)" not in svg
    assert max(float(x) for x in re.findall(r"[ML] ([\d.]+) ", svg)) == pytest.approx(WIDTH)


@pytest.mark.parametrize("label", ["$x^2$", "@1@", "<b>&", "Đ" * 90, "省" * 90, "\\frac", ""])
def test_a_label_is_text_and_leaves_room(label: str) -> None:
    """No label is read as mathematics, markup or a mark; the long ones are cut before the figure."""
    svg = bar_chart([Bar(label, "12 of 34", (("signed", 1),))], "t", "w")
    assert "<b>" not in svg
    assert "12 of 34" in svg
    if len(label) < 10:
        assert label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in svg
    else:
        assert len(max(re.findall(r">([^<]*)</text>", svg), key=len)) < 40


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=120,
    )


DRAW = (
    "from vaxpass_sign.campaign.pages.charts import Bar, bar_chart\n"
    "print(bar_chart([Bar('a', 'b', (('signed', 1),))], 't', 'w'))\n"
)
NO_PYPLOT = (
    "import sys; assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
)


def test_nothing_is_said_where_caches_cannot_be_written() -> None:
    """A folder that can't be written is no news for the user; pyplot is never imported."""
    done = run(DRAW + NO_PYPLOT, MPLCONFIGDIR="/dev/null/x")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout == run(DRAW, PYTHONHASHSEED="7").stdout


def test_settings_of_matplotlib_are_put_back() -> None:
    """Who uses matplotlib in the same program finds its settings as they were."""
    import matplotlib

    before = dict(matplotlib.rcParams)
    bar_chart([Bar("a", "b", (("signed", 1),))], "t", "w")
    assert dict(matplotlib.rcParams) == before


def test_a_missing_extra_is_named() -> None:
    """Without matplotlib the error names the install command."""
    done = run("import sys; sys.modules['matplotlib'] = None\n" + DRAW)
    assert "MissingExtraError" in done.stderr
    assert "vaxpass-sign[batch]" in done.stderr
