"""Charts as SVG that stands inside a page: matplotlib draws, the page gives colours and fonts.

Three things make them fit for text that anybody may have written, and for a page that is light,
dark or printed:

1. No label reaches matplotlib, only a mark in its place; the escaped label is put in at the end. So
   none is read as mathematics, and none is looked for in a font: the reader's browser has the
   fonts, and Vietnamese stays text that can be searched and read aloud.
2. A colour is a name of the page's style sheet, such as ``var(--signed)``.
3. The same input gives the same bytes: no date, no ids, no settings of the user's matplotlibrc.

matplotlib is imported by the first chart; pyplot never. Its settings are global and are changed
while a chart is drawn, and put back; a lock keeps our own threads apart. Needs the extra ``batch``.

>>> svg = bar_chart([Bar("<b>", "5 of 8", (("signed", 5), ("waiting", 3)))], "Progress", "In words")
>>> "<title>Progress</title>" in svg, "&lt;b&gt;" in svg, "var(--signed)" in svg
(True, True, True)
"""

from __future__ import annotations

import io
import logging
import math
import re
import threading
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, tzinfo
from html import escape
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from vaxpass_sign.campaign.report.progress import RatePoint
from vaxpass_sign.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Bar", "Bins", "bar_chart", "rate_bins", "rate_chart"]

_WIDTH = 400
"""Units of a chart's width: a unit is a pixel or somewhat more, and 0.8 of one on a phone."""

_ROW = 40
_TEXT = 12.5
_LETTER = 7.0
_MIN_SEGMENT = 2.5

_LOCK = threading.Lock()
_SILENT = logging.NullHandler()

_WIDTHS_S = (1, 5, 15, 60, 300, 900, 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400, 365 * 86400)
_MOST_BINS = 48
_FEWEST_BINS = 8


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what stands above it at the left and right, and its parts as (colour, number)."""

    label: str
    value: str
    parts: tuple[tuple[str, int], ...]


# --- bars ----------------------------------------------------------------------------------


def bar_chart(bars: Sequence[Bar], title: str, words: str, *, scale: int | None = None) -> str:
    """Horizontal bars below each other, each under its label.

    Args:
        bars: at least one.
        title: the chart's name, for who can't see it.
        words: what it shows, in words.
        scale: the number that fills the width; left out, each bar fills it with its own sum.

    Raises: MissingExtraError.
    """
    height = _ROW * len(bars)

    def draw(axes: Axes, text: Callable[[str], str]) -> None:
        axes.axis("off")
        axes.set_xlim(0, _WIDTH)
        axes.set_ylim(height, 0)
        for number, bar in enumerate(bars):
            top = number * _ROW
            style: dict[str, Any] = {"fontsize": _TEXT, "va": "baseline"}
            label = text(_cut(bar.label, int(_WIDTH / _LETTER) - len(bar.value) - 3))
            axes.text(0, top + 16, label, color=_mark("ink"), **style)
            value = text(bar.value)
            axes.text(_WIDTH, top + 16, value, ha="right", color=_mark("muted"), **style)
            whole = sum(count for _, count in bar.parts) if scale is None else scale
            widths = _widths([count for _, count in bar.parts], whole)
            place: dict[str, Any] = {"height": 10, "align": "edge", "clip_on": False}
            axes.barh([top + 23], [_WIDTH], color=_mark("track"), **place)
            left = 0.0
            for (colour, _), width in zip(bar.parts, widths, strict=True):
                if width:
                    axes.barh([top + 23], [width], left=[left], color=_mark(colour), **place)
                left += width

    return _drawn(draw, height, (0, 0, 1, 1), title, words)


def _widths(counts: Sequence[int], whole: int) -> list[float]:
    """The parts' widths; what is not nothing can be seen, at the cost of the widest."""
    widths = [_WIDTH * count / whole if whole else 0.0 for count in counts]
    seen = [max(width, _MIN_SEGMENT) if width else 0.0 for width in widths]
    widest = max(range(len(seen)), key=seen.__getitem__, default=0)
    if seen:
        seen[widest] -= max(0.0, sum(seen) - _WIDTH)
    return seen


def _cut(text: str, most: int) -> str:
    """The beginning of a text that takes about ``most`` letters' room."""
    room = float(most)
    for place, char in enumerate(text):
        wide = unicodedata.east_asian_width(char) in "WF"
        room -= 0 if unicodedata.combining(char) else 2 if wide else 1.4 if char.isupper() else 1
        if room < 0:
            return text[: max(place - 1, 1)] + "…"
    return text


# --- rate over time ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bins:
    """What was signed in equal spans of time.

    ``signed[i]`` in the ``width_s`` seconds from ``start_s + i * width_s`` (UTC seconds).
    """

    start_s: float
    width_s: int
    signed: tuple[float, ...]


def rate_bins(points: Sequence[RatePoint], utc_offset_s: int = 0) -> Bins:
    """The points in at most 50 spans of a round width, whose edges are round in local time.

    A point that reaches over an edge is shared out by time; the sum stays. Without points there
    are no spans.
    """
    if not points:
        return Bins(0, _WIDTHS_S[0], ())
    first = min(point.start_s for point in points)
    last = max(point.start_s + point.seconds for point in points)
    # A span shorter than what was measured at once would show evenness that nobody saw.
    least = max(median(point.seconds for point in points), (last - first) / _MOST_BINS)
    width = next((w for w in _WIDTHS_S if w >= least), 0)
    if not width:
        width = _WIDTHS_S[-1] * math.ceil(least / _WIDTHS_S[-1])
    start = math.floor((first + utc_offset_s) / width) * width - utc_offset_s
    signed = [0.0] * (math.floor((last - start) / width) + 1)
    for point in points:
        end = point.start_s + point.seconds
        low, high = (math.floor((moment - start) / width) for moment in (point.start_s, end))
        for place in range(low, high + 1):
            left = start + place * width
            overlap = min(end, left + width) - max(point.start_s, left)
            signed[place] += point.signed * (overlap / point.seconds if point.seconds else 1)
    if len(signed) > 1 and not signed[-1]:
        signed.pop()  # work that ended on an edge
    return Bins(start, width, tuple(signed))


def rate_chart(bins: Bins, zone: tzinfo, title: str, words: str) -> str:
    """What was signed over time, as upright bars.

    Raises: MissingExtraError.
    """
    height = 215
    count = max(len(bins.signed), _FEWEST_BINS)
    steps = _steps(max(bins.signed))
    # The widest number beside the axis is the last; its room is taken from the bars.
    left, bottom, top = 8.2 * len(f"{steps[-1]:,}") + 10, 26, 12

    def draw(axes: Axes, text: Callable[[str], str]) -> None:
        places = [number + 0.5 for number in range(len(bins.signed))]
        axes.bar(places, bins.signed, width=0.84, color=_mark("signed"), clip_on=False, zorder=2)
        axes.set_xlim(0, count)
        axes.set_ylim(0, steps[-1])
        axes.set_yticks(steps, [text(f"{step:,}") for step in steps])
        ticks, times = _ticks(bins, count, zone)
        axes.set_xticks(ticks, [text(time) for time in times])
        axes.tick_params(length=0, labelsize=_TEXT, labelcolor=_mark("muted"), pad=6)
        for label, ha in zip(axes.get_xticklabels(), _alignments(ticks, count), strict=True):
            label.set_horizontalalignment(ha)
        axes.hlines(steps, 0, count, colors=_mark("line"), linewidth=1, clip_on=False, zorder=1)
        for spine in axes.spines.values():
            spine.set_visible(False)

    wide, high = _WIDTH - left, height - bottom - top
    box = (left / _WIDTH, bottom / height, wide / _WIDTH, high / height)
    return _drawn(draw, height, box, title, words)


def _ticks(bins: Bins, count: int, zone: tzinfo) -> tuple[range, list[str]]:
    """The marks below the axis and their times: five, or fewer where they are long."""
    for spans in (4, 2):
        ticks = range(0, count + 1, math.ceil(count / spans))
        times = _times([bins.start_s + tick * bins.width_s for tick in ticks], zone)
        if max(map(len, times)) <= len("hh:mm"):
            break
    return ticks, times


def _alignments(ticks: Sequence[int], count: int) -> Iterator[Literal["left", "right", "center"]]:
    for tick in ticks:
        yield "left" if tick == 0 else "right" if tick == count else "center"


def _steps(most: float) -> list[int]:
    """Round numbers from 0 to ``most`` or somewhat more, four steps at the most."""
    magnitude = 10 ** math.floor(math.log10(max(most, 1)))
    options = [step * power for power in (magnitude // 10, magnitude) for step in (1, 2, 5, 10)]
    step = next(option for option in options if option >= 1 and option * 4 >= most)
    return [step * number for number in range(max(1, math.ceil(most / step)) + 1)]


def _times(moments_s: Sequence[float], zone: tzinfo) -> list[str]:
    """Times of day within a day, else days, else months: short, and no two alike."""
    moments = [datetime.fromtimestamp(moment, zone) for moment in moments_s]
    span = moments_s[-1] - moments_s[0]
    step = span / max(len(moments) - 1, 1)
    if span < 86400:
        style = "%H:%M" if step >= 60 else "%H:%M:%S"
    elif step < 86400:
        style = "%m-%d %H:%M"
    else:
        style = "%Y-%m-%d" if step < 40 * 86400 else "%Y-%m"
    return [moment.strftime(style) for moment in moments]


# --- drawing -------------------------------------------------------------------------------

_COLOURS = "ink muted line track signed waiting refused superseded rejected".split()
_MARKS = {name: f"#0b0e{number:02x}" for number, name in enumerate(_COLOURS)}


def _mark(colour: str) -> str:
    """The colour that stands for one of the page's until the drawing is done."""
    return _MARKS[colour]


def _drawn(
    draw: Callable[[Axes, Callable[[str], str]], None],
    height: int,
    box: tuple[float, float, float, float],
    title: str,
    words: str,
) -> str:
    """The SVG of what ``draw`` puts into axes at ``box``, without ids, fonts and sizes."""
    texts: list[str] = []

    def text(label: str) -> str:
        texts.append(label)
        return f"@{len(texts) - 1}@"

    buffer = io.StringIO()
    with _matplotlib() as (figure_class, canvas_class):
        figure = figure_class(figsize=(_WIDTH / 72, height / 72), dpi=72)
        canvas_class(figure)
        draw(figure.add_axes(box), text)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    body = re.sub(r"^.*?</metadata>|<defs>.*?</defs>|\n *(?=<)", "", buffer.getvalue(), flags=re.S)
    body = re.sub(r"<g id=\"[a-z]+_[\d.]+\">", "<g>", body.strip().removesuffix("</svg>"))
    body = re.sub(r"font-family: [^;\"]*; ", "", body)
    for name, mark in _MARKS.items():
        body = body.replace(mark, f"var(--{name})")
    body = re.sub(r"@(\d+)@", lambda found: escape(texts[int(found[1])]), body)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(title)}</title><desc>{escape(words)}</desc>{body}</svg>"
    )


@contextmanager
def _matplotlib() -> Iterator[tuple[type[Any], type[Any]]]:
    """matplotlib's Figure and SVG canvas, under its default settings and ours."""
    # A folder for its caches that can't be written is no news for our user; who has set up
    # logging sees it all the same.
    logging.getLogger("matplotlib").addHandler(_SILENT)
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("the report's page", "batch") from error
    with _LOCK, matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "vaxpass-sign"})
        yield Figure, FigureCanvasSVG
