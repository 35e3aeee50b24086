"""Times that options give."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from vaxpass_sign.errors import InputError

__all__ = ["StoreExpires", "in_days", "moment_of"]

StoreExpires = Annotated[
    str | None,
    typer.Option(
        "--expires",
        metavar="TIME",
        help="Until when the next store is due, with its offset: 2026-11-22T10:00:00+07:00. From "
        "then on this one no longer says that anything is not revoked. Left out: 7 days from now.",
        show_default=False,
    ),
]


def moment_of(text: str | None, option: str) -> datetime | None:
    """The moment that an option gives; None where it was left out.

    Raises: InputError when it is no time with an offset.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.utcoffset() is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise InputError(
        f"{option}: found {text[:40]!r}, expected a time with its offset, such as "
        "2026-11-22T10:00:00+07:00 or 2026-11-22T03:00:00Z"
    )


def in_days(text: str | None, option: str, days: int) -> datetime:
    """The moment that an option gives, or the one in so many days.

    Raises: InputError when it is no time with an offset, or past.
    """
    now = datetime.now(UTC)
    moment = moment_of(text, option) or now + timedelta(days=days)
    if moment <= now:
        raise InputError(f"{option}: found a time that is past, expected when the next one is due")
    return moment
