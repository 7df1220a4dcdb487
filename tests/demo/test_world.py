"""The demo's world changes what it says it changes, and nothing else. The oracles are the papers' rules, and scipy's tests."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from scipy.stats import chi2_contingency, ks_2samp

from streams.demo.world import (
    APPROVE,
    LABEL_DELAY_MS,
    MINUTE,
    PER_MINUTE,
    PHASES,
    RULE_MINUTE,
    SHIFT_MINUTE,
    SHIFTED,
    World,
    applicants,
    phase_number,
)

if TYPE_CHECKING:
    from streams.demo.world import Features

ROWS = 4_000
USUAL, SHIFT, RULE = PHASES


def old_rule(features: Features) -> bool:
    """Group A of function 1 of Agrawal, Imielinski & Swami (river counts from 0)."""
    return not 40 <= float(features["age"]) < 60


def new_rule(features: Features) -> bool:
    """Group A of function 3."""
    age, level = float(features["age"]), int(str(features["elevel"]).removeprefix("elevel-"))
    return level in ((0, 1) if age < 40 else (1, 2, 3) if age < 60 else (2, 3, 4))


def rows(phase: int, seed: int) -> list[tuple[Features, str]]:
    return list(islice(applicants(PHASES[phase], seed), ROWS))


def p_value(one: list[Features], other: list[Features], name: str) -> float:
    """Of the hypothesis that a feature is distributed alike in both."""
    first, second = [f[name] for f in one], [f[name] for f in other]
    if not isinstance(first[0], str):
        return float(ks_2samp(first, second).pvalue)
    counts = Counter(first), Counter(second)
    names = sorted({*first, *second}, key=str)
    return float(chi2_contingency([[c[n] for n in names] for c in counts]).pvalue)


@pytest.fixture(scope="module")
def usual() -> list[Features]:
    return [f for f, _ in rows(0, 1)]


def test_equal_seeds_make_equal_worlds_and_other_seeds_other_ones() -> None:
    first, again, other = (list(World(0, seed).minutes(0, 2)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_world_asked_in_slices_is_the_world_asked_at_once() -> None:
    whole, sliced = World(0), World(0)
    span = range(SHIFT_MINUTE - 2, SHIFT_MINUTE + 2)
    assert list(whole.minutes(span[0], span[-1] + 1)) == [a for m in span for a in sliced.minutes(m, m + 1)]


def test_the_shift_changes_the_shifted_features_and_no_other(usual: list[Features]) -> None:
    shifted = [f for f, _ in rows(1, 2)]
    changed = {name for name in usual[0] if p_value(usual, shifted, name) < 1e-4}
    assert changed == SHIFTED


def test_the_new_rule_changes_no_feature_beyond_the_shift() -> None:
    before, after = [f for f, _ in rows(1, 2)], [f for f, _ in rows(2, 5)]
    assert {name for name in before[0] if p_value(before, after, name) < 1e-4} == set()


def test_the_clerks_follow_the_old_rule_until_it_changes_and_the_new_one_from_then_on() -> None:
    for phase, rule, other in ((0, old_rule, new_rule), (1, old_rule, new_rule), (2, new_rule, old_rule)):
        decided = rows(phase, 3)
        follows, would = (sum(r(f) == (d == APPROVE) for f, d in decided) / ROWS for r in (rule, other))
        # The generator blurs the age after the decision: near 40 and 60 nobody can tell any more.
        assert follows > 0.9
        assert would < 0.6


def test_applications_come_evenly_and_are_decided_three_to_eight_minutes_later() -> None:
    found = list(World(1_000_000).minutes(0, 3))
    assert [a.number for a in found] == list(range(3 * PER_MINUTE))
    assert [a.at_ms for a in found] == [1_000_000 + i * MINUTE // PER_MINUTE for i in range(3 * PER_MINUTE)]
    delays = [a.decided_ms - a.at_ms for a in found]
    assert LABEL_DELAY_MS[0] <= min(delays) < max(delays) <= LABEL_DELAY_MS[1]


def test_the_phases_begin_at_their_minutes() -> None:
    minutes = (0, SHIFT_MINUTE - 1, SHIFT_MINUTE, RULE_MINUTE - 1, RULE_MINUTE, RULE_MINUTE + 60)
    assert [PHASES[phase_number(m)] for m in minutes] == [USUAL, USUAL, SHIFT, SHIFT, RULE, RULE]
