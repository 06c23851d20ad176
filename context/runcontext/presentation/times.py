"""Moments and durations as people read them, in local time."""

from __future__ import annotations

import time

_HALF_A_YEAR_SECONDS = 182 * 86_400


def moment(milliseconds: int) -> str:
    """Give a moment, milliseconds since the epoch, to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(milliseconds / 1_000))


def short_moment(milliseconds: int) -> str:
    """Give a moment in 12 characters as ``ls -l`` does: with the time of day, or with the year where it is long ago."""
    seconds = milliseconds / 1_000
    is_recent = abs(time.time() - seconds) < _HALF_A_YEAR_SECONDS
    return time.strftime("%b %d %H:%M" if is_recent else "%b %d  %Y", time.localtime(seconds))


def duration(milliseconds: int) -> str:
    """Give a duration in at most seven characters: its two largest units."""
    seconds = max(0, milliseconds) / 1_000
    if seconds < 9.95:  # noqa: PLR2004 - what rounds to 10 needs no decimals
        return f"{seconds:.1f}s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02d}h"
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"
