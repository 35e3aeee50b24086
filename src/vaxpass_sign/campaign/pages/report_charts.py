"""The report's charts: progress by province, rate over time, reasons of rejection.

Each is None where there is nothing to draw. Labels are cut and cleaned of what steers a text by
:func:`vaxpass_sign.campaign.pages.wording.shown`, and escaped by
:mod:`vaxpass_sign.campaign.pages.charts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from vaxpass_sign.campaign.pages.charts import Bar, bar_chart, rate_bins, rate_chart
from vaxpass_sign.campaign.pages.wording import (
    duration_text,
    facility_name,
    province_name,
    rate_text,
    shown,
    span_text,
    time_text,
)
from vaxpass_sign.campaign.report.progress import (
    Counts,
    Progress,
    ProvinceProgress,
    percent,
    total_of,
)

__all__ = ["Chart", "chart_of_progress", "chart_of_rate", "chart_of_reasons"]

_MAX_BARS = 15


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart's title, what it shows in words, and its SVG, in which all text is escaped."""

    title: str
    words: str
    svg: str


def chart_of_progress(provinces: Sequence[ProvinceProgress]) -> Chart | None:
    """Progress by province; by facility where there is one province only. None: nothing clean."""
    groups: list[tuple[str, Counts]] = [
        (province_name(p.province_code), p) for p in provinces if p.rows_clean
    ]
    kind = "province"
    if len(groups) == 1:
        kind = "facility"
        facilities = next(p.facilities for p in provinces if p.rows_clean)
        groups = [(facility_name(f.facility_id), f) for f in facilities if f.rows_clean]
    if not groups:
        return None
    groups.sort(key=lambda group: (-group[1].waiting, -group[1].rows_clean, group[0]))
    if len(groups) > _MAX_BARS:
        rest = groups[_MAX_BARS - 1 :]
        groups = groups[: _MAX_BARS - 1]
        groups.append((f"the {len(rest):,} others", total_of(counts for _, counts in rest)))
    bars = [
        Bar(
            label=name,
            value=f"{c.signed:,} of {c.to_sign:,} · {percent(c.share_done)}",
            parts=(
                ("signed", c.signed),
                ("waiting", c.waiting),
                ("refused", c.refused),
                ("superseded", c.superseded),
            ),
        )
        for name, c in groups
    ]
    title = f"Progress by {kind}"
    words = "Signed of those to sign, where most are waiting first. " + _listing(bars)
    return Chart(title, words, bar_chart(bars, title, words))


def chart_of_reasons(progress: Progress) -> Chart | None:
    reasons = [reason for reason in progress.top_reasons() if reason[1]]
    if not reasons:
        return None
    if len(reasons) > _MAX_BARS:
        rest = reasons[_MAX_BARS - 1 :]
        other = (f"the {len(rest):,} other reasons", sum(count for _, count in rest))
        reasons = [*reasons[: _MAX_BARS - 1], other]
    bars = [Bar(shown(reason), f"{count:,}", (("rejected", count),)) for reason, count in reasons]
    title = "Why rows were rejected"
    words = "Rejected rows by reason. " + _listing(bars)
    most = max(count for _, count in reasons)
    return Chart(title, words, bar_chart(bars, title, words, scale=most))


def _listing(bars: Sequence[Bar]) -> str:
    return "; ".join(f"{bar.label}: {bar.value}" for bar in bars) + "."


def chart_of_rate(progress: Progress, zone: tzinfo) -> Chart | None:
    points = [point for point in progress.rate if point.signed]
    if not points:
        return None
    began = min(point.start_s for point in points)
    ended = max(point.start_s + point.seconds for point in points)
    offset = datetime.fromtimestamp(began, zone).utcoffset()
    bins = rate_bins(points, int(offset.total_seconds()) if offset else 0)
    busiest = max(range(len(bins.signed)), key=bins.signed.__getitem__)
    signed, seconds = sum(p.signed for p in points), sum(p.seconds for p in points)
    rate = f", {rate_text(signed / seconds)} a second on average" if seconds else ""
    first, last, peak = (
        time_text(datetime.fromtimestamp(moment, zone), zone)
        for moment in (began, ended, bins.start_s + busiest * bins.width_s)
    )
    span = span_text(bins.width_s)
    words = (
        f"{signed:,} credentials were signed in {duration_text(seconds)} of work{rate}, between "
        f"{first} and {last}. The busiest {span} began at {peak}, with "
        f"{round(bins.signed[busiest]):,}."
    )
    title = f"Credentials signed per {span}"
    return Chart(title, words, rate_chart(bins, zone, title, words))
