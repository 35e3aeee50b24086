"""Times, spans and names in the words of a page.

Names, ids and reasons come from tables that anybody may have written: :func:`shown` leaves out what
could steer a text's direction or hide it.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

__all__ = [
    "duration_text",
    "facility_name",
    "province_name",
    "rate_text",
    "shown",
    "span_text",
    "time_text",
    "zone_of",
]

MAX_TEXT = 80

# As in what is printed to a terminal: joiners shape Persian and Indic names, these two spaces are
# in use, and the rest of what Unicode calls not printable is for steering.
_HARMLESS = frozenset("\u200c\u200d\u00a0\u3000")


def shown(text: str, limit: int = MAX_TEXT) -> str:
    """The text without characters that steer or can't be seen, cut after ``limit`` characters.

    It is not escaped: a template does that.

    >>> shown("Tr\\u1ea1m \\u202e<b>" + "x" * 100, 12)
    'Trạm �<b>xxx…'
    """
    if len(text) > limit:
        text = text[:limit] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _HARMLESS else "\ufffd" for c in text)


def province_name(code: str) -> str:
    """A province's code as it is shown; words where there is none."""
    return shown(code) if code else "no province given"


def facility_name(name: str) -> str:
    """A facility's id as it is shown; words where there is none."""
    return shown(name) if name else "no facility given"


def zone_of(name: str) -> tzinfo:
    """The zone of that name; UTC where this machine does not know it."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return UTC


def time_text(moment: datetime | None, zone: tzinfo) -> str:
    """A time to the minute in that zone, with its offset from UTC; "" for none."""
    if moment is None:
        return ""
    text = moment.astimezone(zone).isoformat(" ", timespec="minutes")
    return f"{text[:16]} {text[16:]}"


def rate_text(per_second: float) -> str:
    """A rate, with two digits where it is small."""
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.2g}"


_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def span_text(seconds: int) -> str:
    """A round span: "hour", "15 minutes", "30 days"."""
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0)
    count = seconds // size
    return unit if count == 1 else f"{count:,} {unit}s"


def duration_text(seconds: float) -> str:
    """A duration in its two largest units: "2 h 5 min", "12.3 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60:,} h {minutes % 60} min"
