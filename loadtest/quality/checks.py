"""The figures that ``python -m loadtest quality --check`` insists on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtest.quality.budget import Delay, Months
    from loadtest.quality.sequential import Row

RULE = "scales: auto"
"""What a model gets unless it is configured otherwise."""
MOST_EPISODES = 1.1
"""Episodes per 28 days at a budget of 1."""
HELD = ("independent", "ar", "daily")
"""Worlds in which the mean must not be above."""
INTERVAL_HELD = ("weekly",)
"""Worlds in which the 95 % interval must reach down to the budget."""
MOST_WINDOWS = 5.0
"""Mean delay for a shift of 0.1 sd in windows of 1,000 rows."""
SHIFT = "mean + 0.1 sd"
DETECTOR = "e-detector, baseline from 10,000 labels"
MOST_LABELS = 290.0
"""Mean delay for an error rate that rises from 0.2 to 0.3."""
MOST_FALSE_ALARMS = 1.0
"""False alarms per 100,000 labels of the same detector."""


@dataclass(frozen=True, slots=True)
class Check:
    """One figure beside what it must not exceed."""

    what: str
    figure: float
    most: float

    @property
    def holds(self) -> bool:
        """Whether it does; a figure that is missing (NaN) does not."""
        return self.figure <= self.most


def checks(episodes: Sequence[Months], delays: Sequence[Delay], sequential: Sequence[Row]) -> list[Check]:
    """Return all checks; what was not measured is a figure that does not hold."""
    nan = float("nan")
    found = {row.world: row for row in episodes if row.rule == RULE and row.days == 28}  # noqa: PLR2004  # the budget's own period
    made = [
        Check(f"episodes per 28 days, {world}", found[world].episodes if world in found else nan, MOST_EPISODES)
        for world in HELD
    ]
    made += [
        Check(
            f"episodes per 28 days, {world}, low end of the interval", found[world].low if world in found else nan, 1.0
        )
        for world in INTERVAL_HELD
    ]
    delay = [row.windows for row in delays if (row.rule, row.shift, row.world) == (RULE, SHIFT, "independent")]
    made.append(Check(f"windows until {SHIFT} is seen", delay[0] if delay else nan, MOST_WINDOWS))
    bits = [row for row in sequential if row.detector == DETECTOR]
    made.append(Check(f"labels until 0.2 -> 0.3 is seen, {DETECTOR}", bits[0].delay_03 if bits else nan, MOST_LABELS))
    rate = bits[0].false_alarms if bits else nan
    made.append(Check(f"false alarms per 100,000 labels, {DETECTOR}", rate, MOST_FALSE_ALARMS))
    return made
