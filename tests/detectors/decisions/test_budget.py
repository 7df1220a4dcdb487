"""The budget's arithmetic, against the formula and against playing it out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.decisions import LARGEST_LEVEL, SHARES, Budget, level, parse_confirm, severity
from schemas.errors import ConfigError

HOUR, DAY = 3_600_000, 86_400_000
ONE = Budget(1, 30 * DAY)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 per 30d", Budget(1, 30 * DAY)),
        ("0.5 per 12h", Budget(0.5, 12 * HOUR)),
        ("2 per 1 w", Budget(2, 7 * DAY)),
        (" 3 per 1500ms ", Budget(3, 1500)),
    ],
)
def test_a_budget_is_read_as_it_is_written(text: str, expected: Budget) -> None:
    assert Budget.parse(text) == expected


@pytest.mark.parametrize("text", ["", "1", "per 30d", "1 per month", "0 per 30d", "1 per 0d", "-1 per 3d", "1per30d"])
def test_what_is_no_budget_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="1 per 30d"):
        Budget.parse(text)


def test_a_confirmation_is_read_and_an_impossible_one_refused() -> None:
    assert parse_confirm("2 of 3") == (2, 3)
    for text in ("3 of 2", "0 of 1", "2/3"):
        with pytest.raises(ConfigError, match="2 of 3"):
            parse_confirm(text)


def test_two_of_three_and_one_alone_have_the_stated_levels() -> None:
    whole = Budget(1 / SHARES["drift"], 30 * DAY)  # so that drift alone has a budget of 1
    assert level(whole, "drift", HOUR, 20) == pytest.approx(0.0059, abs=5e-5)
    assert level(whole, "drift", HOUR, 20, (1, 1)) == pytest.approx(1 / (720 * 20))


def test_the_families_together_spend_the_budget_once() -> None:
    assert SHARES["performance"] == SHARES["sequential"]  # they share their 0.3
    assert sum(SHARES.values()) - SHARES["sequential"] == pytest.approx(1)


@pytest.mark.parametrize("confirm", [(1, 1), (2, 3), (1, 2), (3, 3), (2, 4)])
def test_played_out_the_rule_starts_as_many_alarms_as_the_budget_says(confirm: tuple[int, int]) -> None:
    k, m = confirm
    budget, cells, windows = Budget(40, 1_000_000), 10, 1_000_000
    a = level(budget, "drift", 1, cells, confirm)
    rejects = np.random.default_rng(5).random((cells, windows)) < a
    earlier = np.zeros((cells, windows), int)
    for back in range(1, m):
        earlier[:, back:] += rejects[:, :-back]
    alarms = int((rejects & (earlier >= k - 1)).sum())
    assert abs(alarms - 16) <= 4 * 16**0.5 + 1


@given(st.floats(0.01, 100), st.integers(1, 1000), st.sampled_from(sorted(SHARES)))
def test_a_level_grows_with_the_budget_and_falls_with_the_cells(alarms: float, cells: int, family: str) -> None:
    def at(b: float, c: int) -> float:
        return level(Budget(b, 30 * DAY), family, HOUR, c)

    assert 0 < at(alarms, cells + 1) <= at(alarms, cells) <= at(2 * alarms, cells) <= LARGEST_LEVEL


@pytest.mark.parametrize(
    ("family", "window", "cells", "confirm"),
    [("taste", HOUR, 1, (2, 3)), ("drift", 0, 1, (2, 3)), ("drift", HOUR, 0, (2, 3)), ("drift", HOUR, 1, (3, 2))],
)
def test_a_level_that_has_no_meaning_is_refused(family: str, window: int, cells: int, confirm: tuple[int, int]) -> None:
    with pytest.raises(ConfigError):
        level(ONE, family, window, cells, confirm)


@pytest.mark.parametrize(
    ("tier", "expected"),
    [
        ("low", ["info", "info", "warning"]),
        ("normal", ["info", "warning", "critical"]),
        ("high", ["warning", "critical", "critical"]),
    ],
)
def test_size_and_tier_make_the_severity(tier: str, expected: list[str]) -> None:
    assert [severity(psi, tier) for psi in (0.099, 0.1, 0.25)] == expected


def test_an_unknown_tier_is_refused() -> None:
    with pytest.raises(ConfigError, match="low, normal or high"):
        severity(0.2, "highest")
