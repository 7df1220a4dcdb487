"""The picture of the false-alarm budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from detectors.decisions import Budget, compile_rule
from detectors.drift import cell_test
from detectors.reference import Reference
from docs.scripts.pictures.frame import MARK, REFERENCE, WINDOW, panels

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

HOUR_MS: Final = 3_600_000
ROWS: Final = 200
SMALLEST: Final = 1e-12


def hours(rng: np.random.Generator, first: int, count: int, shift: float = 0.0) -> NDArray[np.float64]:
    """Values of `count` hours, float64[count, ROWS], whose mean follows the time of day."""
    cycle = 0.4 * np.sin(2 * np.pi * (first + np.arange(count)) / 24)
    return rng.normal(cycle[:, None] + shift, 1.0, (count, ROWS))


def budget_picture() -> Figure:
    """A daily cycle against the whole reference, and against the same hour of it."""
    rng = np.random.default_rng(5)
    days = 28
    known = hours(rng, 0, days * 24)
    times = np.repeat(np.arange(days * 24) * HOUR_MS, ROWS)
    reference = Reference.build({"event_time": times, "amount": known.reshape(-1)}, window_ms=HOUR_MS)
    rule = compile_rule(reference, [0], Budget.parse("1 per 30d"), HOUR_MS)
    (amount,) = reference.features
    live = np.concatenate([hours(rng, 0, 96), hours(rng, 96, 48, 0.35)])
    vectors = [amount.slots_of(values) for values in live]
    judged = [rule.judge({1: [v]}, (days * 24 + i) * HOUR_MS)[0] for i, v in enumerate(vectors)]
    plain = [cell_test(amount, v).p_value or 1.0 for v in vectors]
    figure, (top, bottom) = panels(rows=2, height_in=3.8, sharex=True, sharey=True)
    for ax, p, said in (
        (top, plain, "against the whole reference: the time of day is drift"),
        (bottom, [j.p_value or 1.0 for j in judged], f"against its hour: season “{rule.cells[0].season}”"),
    ):
        values = np.maximum(p, SMALLEST)
        low = values < rule.cells[0].level
        at = np.arange(len(values)) / 24
        ax.axhline(rule.cells[0].level, color=MARK, linewidth=1)
        ax.axvline(4, color=REFERENCE, linestyle=":", linewidth=1)
        ax.plot(at[~low], values[~low], "o", markersize=2.5, color=WINDOW)
        ax.plot(at[low], values[low], "o", markersize=2.5, color=MARK)
        ax.set(yscale="log", ylim=(SMALLEST / 5, 3), ylabel="p-value")
        ax.set_title(said)
    bottom.set_xlabel("day; from day 4 on the mean is 0.35 sd higher")
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {"budget": budget_picture}
