"""Alarms, peaks and episodes counted window by window, straight from their definitions."""

from __future__ import annotations

from collections.abc import Sequence


def largest_threshold(scores: Sequence[float | None], k: int, m: int) -> list[float | None]:
    """For each window the largest of the scores seen so far at which "k of m" rejects there; None: never, or no score."""
    found: list[float | None] = []
    for t, score in enumerate(scores):
        if score is None:
            found.append(None)
            continue
        decided = [s for s in scores[: t + 1] if s is not None][-m:]
        good = [level for level in decided if score >= level and sum(s >= level for s in decided) >= k]
        found.append(max(good) if good else None)
    return found


def count_episodes(rejects: Sequence[Sequence[bool]], alarms: Sequence[Sequence[bool]], gap: int) -> int:
    """Incidents: one begins with an alarm and ends after `gap` windows in which no cell that alarmed in it rejected."""
    windows = len(rejects[0]) if rejects else 0
    episodes, open_cells, quiet = 0, set[int](), 0
    for t in range(windows):
        alarming = {c for c in range(len(alarms)) if alarms[c][t]}
        if alarming and not open_cells:
            episodes += 1
        open_cells |= alarming
        if any(rejects[c][t] for c in open_cells):
            quiet = 0
        else:
            quiet += 1
            if quiet >= gap:
                open_cells = set()
    return episodes
