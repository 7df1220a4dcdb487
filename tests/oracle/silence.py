"""How surprising a silence is, row by row from the definition: slow, and nothing of our code in it."""

from __future__ import annotations

import math

HOUR = 3_600_000
DAY, WEEK = 24 * HOUR, 168 * HOUR


def between(counts: dict[int, int], window: int, start: float, end: float) -> float:
    """Rows in [start, end): those of an hour of windows that begin in it are spread evenly over the part of it that was seen."""
    first, last = min(counts), max(counts) + window
    hours: dict[int, int] = {}
    for at, n in counts.items():
        hours[at // HOUR] = hours.get(at // HOUR, 0) + n
    total = 0.0
    for hour in range(first // HOUR, max(counts) // HOUR + 1):
        low, high = max(hour * HOUR, first), (hour + 1) * HOUR
        if hour == max(counts) // HOUR:
            high = last
        shared = max(0.0, min(end, high) - max(start, low))
        total += hours.get(hour, 0) * shared / (high - low)
    return total


def score(counts: dict[int, int], window: int, end: int) -> float:
    """The score of the silence that follows ``counts`` (rows by start of window, ms; windows of an hour or less, of one week)."""
    first, last = min(counts), max(counts) + window
    gap = end - last
    n, since = float(sum(counts.values())), first
    for latest in (1, 2, 4):
        begin = max(first, last - latest * DAY)
        rows = between(counts, window, begin, last)
        if rows >= 100:
            n, since = rows, begin
            break
    found = n * math.log(1 + gap / (last - since))
    trim = min(2 * HOUR, gap // 6)

    def before(lag: int) -> float | None:
        if last - lag - 2 * HOUR < first:
            return None
        shifts = [by * HOUR for by in (-2, -1, 0, 1, 2)]
        return min(between(counts, window, last - lag + trim + by, end - lag - trim + by) for by in shifts)

    days = math.ceil((gap + 2 * HOUR) / DAY)
    usual = [old for more in range(3) if (old := before((days + more) * DAY)) is not None]
    if usual:
        found = min(found, max(usual) * math.log(2))
    week = before(WEEK)
    if week is not None and gap + 2 * HOUR <= WEEK:
        found = min(found, week * math.log(2))
    return found
