"""What can be said about a budget, in one sentence: that it is verified, or what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detectors.decisions.replay import fewest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detectors.reference import Reference, Subject
    from detectors.reference.ordinary import Habit, Ordinary

DAY_MS = 86_400_000
VERIFIED_MS = 28 * DAY_MS
"""The reference must cover this much for its replay to say something about a budget per month."""
LONGEST_WANDER = 2.5
"""Above this `Habit.steadiness` a level wanders: four standard errors on 28 days above 1, what independent windows have."""


def missing(reference: Reference, window_ms: int, cells: Sequence[tuple[Subject, Habit | None]]) -> str:
    """Return why the replay of a reference cannot speak for the budget of these cells, "" if it can."""
    why = _unfit(reference, window_ms)
    if not why:
        lacking = [s.name for s, h in cells if h is None]
        unsteady = [s.name for s, h in cells if h is not None and (h.steadiness or 0.0) > LONGEST_WANDER]
        if lacking:
            why = f"windows of {_duration(window_ms)} hold too few values of {_names(lacking)}"
        elif unsteady:
            why = f"the level of {_names(unsteady)} wanders from day to day in the reference"
    return f"budget not verified: {why}" if why else ""


def verified(ordinary: Ordinary | None, expected: float | None) -> str:
    """Return the sentence for a budget that the replay supports, with the episodes per 30 days that it expects."""
    if ordinary is None or expected is None:
        return "budget verified: nothing is compared with the reference"
    found = f"{fewest(expected)} episodes of drift expected per 30 days"
    return f"budget verified on {_days(ordinary.covered_ms)} of reference: {found}"


def _unfit(reference: Reference, window_ms: int) -> str:
    ordinary = reference.ordinary
    if reference.span is None:
        return "the reference has no event times"
    if ordinary is None:
        return (
            "too few of the reference's windows hold 50 values (50 windows are needed: more rows, or another --window)"
        )
    if ordinary.window_ms != window_ms:
        now, then = _duration(window_ms), _duration(ordinary.window_ms)
        return (
            f"the reference was cut into windows of {then}, the model's are {now} (build it again with --window {now})"
        )
    if ordinary.covered_ms < VERIFIED_MS:
        return f"the reference covers {_days(ordinary.covered_ms)}, 28 are needed"
    return ""


def _days(span_ms: int) -> str:
    days = span_ms / DAY_MS
    return f"{days:.0f} days" if days >= 2 else f"{days:.1f} days"  # noqa: PLR2004  # whole days read better


def _duration(ms: int) -> str:
    for unit, size in (("d", DAY_MS), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if ms % size == 0:
            return f"{ms // size}{unit}"
    return f"{ms}ms"


def _names(names: Sequence[str]) -> str:
    listed = ", ".join(names[:3])
    return listed if len(names) <= 3 else f"{listed} and {len(names) - 3} more"  # noqa: PLR2004  # as in the line before
