"""The budget, played out: months of worlds without drift, and shifts that must be seen.

Small versions of what `python -m loadtest quality` measures; seeds are fixed. Every feature of a world is judged by the rule that
its own reference gives.
"""

from __future__ import annotations

import pytest

from loadtest.quality.budget import CONTROL, delays, measure
from loadtest.quality.worlds import BY_NAME, Shift

FEATURES = [BY_NAME[name] for name in ("normal_1", "zero_inflated_2", "counts_2", "category_5")]
REFERENCES, MONTHS = 3, 4
MOST = 23
"""P(Poisson(12) > 23) = 0.001: twelve months that keep a budget of one."""


@pytest.mark.parametrize("world", ["independent", "ar", "daily", "weekly"])
def test_a_budget_of_one_a_month_is_kept_and_is_broken_where_the_ordinary_variation_is_ignored(world: str) -> None:
    found = {
        row.rule: row
        for row in measure(
            world,
            references=REFERENCES,
            months=MONTHS,
            rows=250,
            features=FEATURES,
            seed=3,
            control=world != "independent",
        )
    }
    for rule in ("scales: auto", "2 of 3"):
        assert found[rule].months == REFERENCES * MONTHS
        assert found[rule].episodes * found[rule].months <= MOST
        assert found[rule].per_1000_windows < 10
        assert found[rule].verified == 1
    if world != "independent":
        assert found[CONTROL].per_1000_windows > 200
        assert found[CONTROL].verified == 0


def test_a_level_that_wanders_is_not_called_verified() -> None:
    for row in measure("wandering", references=2, months=1, rows=1000, features=FEATURES[:2], seed=3):
        assert row.verified == 0


def test_a_week_of_reference_is_not_called_verified() -> None:
    for row in measure("independent", days=7, references=2, months=1, rows=250, features=FEATURES[:2], seed=3):
        assert row.verified == 0


def test_a_shift_of_a_tenth_of_a_standard_deviation_is_seen_in_five_windows_of_a_thousand() -> None:
    shift = Shift("mean + 0.1 sd", mean=0.1, only=("normal_1",))
    found = {d.rule: d for d in delays(shift, trials=30, longest=60)}
    assert found["scales: auto"].high <= 5
    assert found["scales: auto"].missed == found["2 of 3"].missed == 0
    assert found["scales: auto"].windows < found["2 of 3"].windows
