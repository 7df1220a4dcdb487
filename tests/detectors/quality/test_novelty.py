"""New categories: exact where one is rare, and no more alarms than promised where many are."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest

from detectors.quality.novelty import novelty_p_values, singles
from detectors.reference import Subject
from detectors.reference.build import MAX_CATEGORIES, MAX_OTHERS
from tests.oracle.shares import binomial_at_least, splits

if TYPE_CHECKING:
    from numpy.typing import NDArray


def subject(counts: NDArray[np.int64]) -> Subject:
    """The reference of categories that came so often, as `Reference.build` would make it."""
    came = np.sort(counts[counts > 0])[::-1]
    names = tuple(f"c{i:05}" for i in range(len(came)))
    top, rest = came[:MAX_CATEGORIES], came[MAX_CATEGORIES:]
    slots = np.array([*top, rest[:MAX_OTHERS].sum(), rest[MAX_OTHERS:].sum(), 0, 0], np.int64)
    named = MAX_CATEGORIES + MAX_OTHERS
    return Subject("f", "categorical", np.zeros(0), names[:MAX_CATEGORIES], names[MAX_CATEGORIES:named], slots)


def rare(count: int, times: float, rows: int) -> NDArray[np.float64]:
    """So many categories that each are expected so often in the reference, and a common one."""
    return np.append(np.full(count, times / rows), 1 - count * times / rows)


def p_value(reference: Subject, hits: int, n: int) -> float:
    once, expected = singles(reference)
    arrays = (np.array([once]), np.array([expected]), np.array([reference.n]), np.array([hits]), np.array([n]))
    return float(novelty_p_values(*arrays)[0])


def test_the_categories_that_came_once_stand_in_for_what_is_new() -> None:
    assert singles(subject(np.array([50, 20, 2, 2, 1, 1, 1]))) == (3, 4 / 3)
    assert singles(subject(np.array([50, 20]))) == (0, 0.0)


def test_the_p_value_is_the_binomial_tail_in_clumps() -> None:
    # f1 = 5, f2 = 10: the rarest are expected 4 times among 1,000 rows, so 0.8 times in 200, and a clump is 1.8 rows.
    reference = subject(np.array([975, *([2] * 10), *([1] * 5)]))
    assert reference.n == 1_000
    for hits in (1, 2, 9, 30):
        clumps = int(hits / 1.8)
        expected = float(binomial_at_least(clumps, 3 + clumps, Fraction(200, 1_200))) if clumps else 1.0
        assert p_value(reference, hits, 200) == pytest.approx(expected, rel=1e-12)


def test_categories_that_come_several_times_a_window_are_no_more_alarming() -> None:
    rng = np.random.default_rng(23)
    shares = rare(200, 6, 10_000)
    before, now = rng.poisson(10_000 * shares, (6_000, 201)), rng.poisson(1_000 * shares, (6_000, 201))
    once, twice = (before == 1).sum(axis=1), (before == 2).sum(axis=1)
    hits = np.where(before == 0, now, 0).sum(axis=1)
    total = np.full(6_000, 10_000)
    p = novelty_p_values(once, 2 * twice / np.maximum(1, once), total, hits, now.sum(axis=1))
    alone = novelty_p_values(once, np.zeros(6_000), total, hits, now.sum(axis=1))
    assert (p <= 0.001).mean() <= 0.001
    assert (alone <= 0.001).mean() > 0.002  # what it would be without clumps


def test_where_counts_are_not_kept_it_is_the_most_that_can_have_come_once() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        counts = rng.geometric(rng.uniform(0.05, 0.9), rng.integers(201, 900))
        assert (counts == 1).sum() <= singles(subject(counts))[0] <= len(counts)


@pytest.mark.parametrize(("rare", "reference_n", "n"), [(1, 8, 4), (2, 8, 4), (3, 7, 3), (4, 6, 4)])
def test_one_rare_category_exceeds_no_level_over_all_splits(rare: int, reference_n: int, n: int) -> None:
    rows = ["common"] * (reference_n + n - rare) + ["rare"] * rare
    seen: Counter[float] = Counter()
    for before, now in splits(rows, n):
        known = Counter(before)
        seen[p_value(subject(np.array(list(known.values()))), sum(r not in known for r in now), n)] += 1
    total, spent = sum(seen.values()), 0
    for p in sorted(seen):
        spent += seen[p]
        assert Fraction(spent, total) <= Fraction(p) + Fraction(1, 10**12)


POPULATIONS = {
    "Zipf, 2,000": 1 / np.arange(1, 2001),
    "Zipf, exponent 1.5": 1 / np.arange(1, 10_001) ** 1.5,
    "1,000 of 5": rare(1_000, 5, 10_000),
    "150 of 5": rare(150, 5, 10_000),
    "150 of 1": rare(150, 1, 10_000),
    "5,000 alike": np.full(5_000, 1.0),
    "30,000 alike": np.full(30_000, 1.0),
}


@pytest.mark.parametrize("name", POPULATIONS)
def test_features_that_always_bring_something_new_alarm_no_more_than_promised(name: str) -> None:
    rng = np.random.default_rng(17)
    shares = POPULATIONS[name] / POPULATIONS[name].sum()
    runs = 60 if name == "30,000 alike" else 300
    reference_n = 50_000 if name == "30,000 alike" else 10_000
    n = reference_n // 10
    found = []
    for _ in range(runs):
        before, now = rng.poisson(reference_n * shares), rng.poisson(n * shares)
        # Beyond the names that a reference keeps, its own categories are unknown too.
        order = np.argsort(-before, kind="stable")
        known = order[: min(MAX_CATEGORIES + MAX_OTHERS, int((before > 0).sum()))]
        found.append(p_value(subject(before), int(now.sum() - now[known].sum()), int(now.sum())))
    for level in (0.1, 0.02):
        allowed = level + 2.6 * np.sqrt(
            level * (1 - level) / runs
        )  # 0.5 % of seeds would exceed it at the level itself
        assert np.mean(np.array(found) <= level) <= allowed


def test_the_naive_test_of_nothing_in_the_reference_would_alarm_all_the_time() -> None:
    counts = np.random.default_rng(3).poisson(10_000 * np.full(5_000, 1 / 5_000))
    reference = subject(counts)
    expected = int(1_000 * (counts == 0).mean())
    assert p_value(reference, expected, 1_000) > 0.01
    naive = novelty_p_values(*(np.array([v]) for v in (0, 0.0, reference.n, expected, 1_000)))
    assert naive[0] < 1e-50
