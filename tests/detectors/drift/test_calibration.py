"""Without drift p-values are what they say: uniform where they can be, never too small, at every size of window.

Windows are drawn from the exact probability of each bin, from a fixed seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.stats

from detectors import drift
from detectors.drift import Cells, combine
from detectors.drift.cells import ANDERSON, CHI2
from detectors.reference import Reference, Subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

WINDOWS = 4000
SIZES = (50, 200, 1000, 5000, 50_000)
N = 50_000
EXACT = 10**9
"""Rows of a reference without sampling error."""
CLASSES = 1 / np.arange(1, 201)


@dataclass(frozen=True)
class Shape:
    """A distribution: how values are drawn, and the probability of (-inf, x) for edges x, or of each category."""

    draw: Callable[[np.random.Generator], NDArray[Any]]
    below: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
    shares: dict[str, float] | None = None


def discrete(law: object) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    return lambda x: law.cdf(np.ceil(x) - 1)  # type: ignore[attr-defined]  # scipy.stats has no types


SHAPES = {
    "normal": Shape(lambda g: g.normal(size=N), scipy.stats.norm.cdf),
    "lognormal": Shape(lambda g: g.lognormal(size=N), scipy.stats.lognorm(1).cdf),
    "exponential": Shape(lambda g: g.exponential(size=N), scipy.stats.expon.cdf),
    "uniform": Shape(lambda g: g.random(N), scipy.stats.uniform.cdf),
    "counts": Shape(lambda g: g.poisson(3, N), discrete(scipy.stats.poisson(3))),
    "zero-inflated": Shape(
        lambda g: np.where(g.random(N) < 0.9, 0.0, g.exponential(size=N)),
        lambda x: np.where(x > 0, 0.9 + 0.1 * scipy.stats.expon.cdf(x), 0.0),
    ),
    "five classes": Shape(
        lambda g: g.choice(list("abcde"), N, p=[0.5, 0.3, 0.15, 0.04, 0.01]),
        shares=dict(zip("abcde", [0.5, 0.3, 0.15, 0.04, 0.01], strict=True)),
    ),
    "200 classes": Shape(
        lambda g: g.choice(200, N, p=CLASSES / CLASSES.sum()).astype(str),
        shares={str(i): float(p) for i, p in enumerate(CLASSES / CLASSES.sum())},
    ),
}
CONTINUOUS = ("normal", "lognormal", "exponential", "uniform")


@cache
def subject(name: str) -> Subject:
    return Reference.build({"x": SHAPES[name].draw(np.random.default_rng(1))}).features[0]


@cache
def shares(name: str) -> NDArray[np.float64]:
    """The exact probability of each slot of the subject."""
    shape, of = SHAPES[name], subject(name)
    found = np.zeros(of.width)
    if shape.below is not None:
        cumulative = np.concatenate(([0.0], shape.below(of.edges), [1.0]))
        found[:-2] = np.diff(cumulative)
    else:
        known = {c: i for i, c in enumerate(of.categories)} | dict.fromkeys(of.others, of.bins)
        for category, share in (shape.shares or {}).items():
            found[known.get(category, of.bins + 1)] += share
    exact: NDArray[np.float64] = found / found.sum()
    return exact


@cache
def statistics(name: str, n: int) -> drift.CellStatistics:
    of, p = subject(name), shares(name)
    windows = np.random.default_rng([n, len(name)]).multinomial(n, p, WINDOWS)
    return Cells([of], [np.rint(p * EXACT).astype(np.int64)]).statistics(windows)


def too_many(p: NDArray[np.float64], level: float, allowed: float) -> bool:
    """Whether more p-values are at most `level` than a size of `allowed * level` makes likely (one time in 10,000)."""
    return int((p <= level).sum()) > int(scipy.stats.binom.ppf(0.9999, len(p), allowed * level))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", SHAPES)
def test_the_p_value_of_a_cell_is_never_too_small(name: str, n: int) -> None:
    p, _ = combine(statistics(name, n))
    assert not np.isnan(p).any()
    for level, allowed in ((0.1, 1.0), (0.01, 1.15), (0.001, 1.7)):  # 1.7: as STATISTICS states for the tail
        assert not too_many(p, level, allowed), (level, (p <= level).mean() / level)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_p_values_of_both_tests_of_continuous_values_are_uniform(name: str, n: int) -> None:
    found = statistics(name, n)
    sampling = 1.95 / np.sqrt(WINDOWS)  # Kolmogorov's law: exceeded once in 1,000
    # The saddlepoint is off by up to 0.02 in the middle of its range.
    assert scipy.stats.kstest(found.p_value[ANDERSON], "uniform").statistic < 0.02 + sampling
    if n > 50:  # 50 rows in five groups give chi-squared few values to take
        assert scipy.stats.kstest(found.p_value[CHI2], "uniform").statistic < sampling


@pytest.mark.parametrize("n", [50, 1000, 5000, 50_000])
@pytest.mark.parametrize("name", ["normal", "five classes"])
def test_p_values_hold_against_references_that_are_samples_themselves(name: str, n: int) -> None:
    of, p = subject(name), shares(name)
    rng = np.random.default_rng(n)
    windows, references = rng.multinomial(n, p, 2000), rng.multinomial(N, p, 2000)
    found = Cells([of], [references]).statistics(windows, np.arange(2000))
    judged, _ = combine(found)
    for level, allowed in ((0.1, 1.0), (0.01, 1.15), (0.001, 1.7)):
        assert not too_many(judged, level, allowed), (level, (judged <= level).mean() / level)


TABLES = {
    "ten equal bins": np.full(10, 0.1),
    "zeros": np.array([0.9, *np.full(9, 0.1 / 9)]),
    "200 classes": CLASSES / CLASSES.sum(),
    "two classes": np.array([0.98, 0.02]),
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    ("statistic", "allowed"),
    [
        (drift.chi2, (1.05, 1.2, 1.9)),
        (drift.g_test, (1.05, 1.2, 1.3)),
        (drift.anderson_darling, (1.2, 1.35, 1.9)),
        (drift.ks, (1.0, 1.0, 1.0)),
    ],
)
@pytest.mark.parametrize(("n", "reference_n"), [(50, 50_000), (200, 400), (1000, 50_000)])
def test_p_values_of_two_count_vectors_are_never_too_small(
    statistic: Callable[..., drift.DriftResult],
    allowed: tuple[float, ...],
    table: str,
    n: int,
    reference_n: int,
) -> None:
    rng = np.random.default_rng([n, len(table)])
    references = rng.multinomial(reference_n, TABLES[table], 2000)
    windows = rng.multinomial(n, TABLES[table], 2000)
    p = np.array([statistic(r, c).p_value for r, c in zip(references, windows, strict=True)])
    for level, factor in zip((0.1, 0.01, 0.001), allowed, strict=True):
        assert not too_many(p, level, factor), (level, (p <= level).mean() / level)


@pytest.mark.parametrize("statistic", [drift.psi, drift.jensen_shannon, drift.hellinger])
def test_the_p_value_of_a_divergence_is_that_of_the_g_test(statistic: Callable[..., drift.DriftResult]) -> None:
    rng = np.random.default_rng(3)
    for shares_of in TABLES.values():
        for reference_n, n in ((400, 200), (50_000, 50), (50_000, 1000)):
            counts = rng.multinomial(reference_n, shares_of), rng.multinomial(n, shares_of)
            assert statistic(*counts).p_value == drift.g_test(*counts).p_value


@pytest.mark.parametrize(("n", "reference_n"), [(20, 30), (50, 5000)])
def test_dealing_rows_at_random_makes_wassersteins_p_value_valid(n: int, reference_n: int) -> None:
    rng = np.random.default_rng(n)
    table = np.array([0.6, 0.2, 0.1, 0.1])
    p = np.array(
        [drift.wasserstein(rng.multinomial(reference_n, table), rng.multinomial(n, table)).p_value for _ in range(600)]
    )
    for level in (0.5, 0.1, 0.01):
        assert not too_many(p, level, 1.0), level
    assert (p <= 0.1).mean() > 0.06


@pytest.mark.parametrize("rare", [False, True])
def test_a_reference_that_is_smaller_than_the_window_does_not_fill_groups_that_only_the_window_fills(
    rare: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    rng = np.random.default_rng(6)
    p = []
    for _ in range(100):
        rows = rng.poisson(3.0, (31, 1000)).astype(np.float64)
        if rare:
            rows = np.where(rng.random((31, 1000)) < 0.99, 0.0, rng.exponential(size=(31, 1000)))
        subject = Reference.build({"x": rows[0, :60]}).subjects[0]
        p.append(Cells([subject]).test([np.stack([subject.slots_of(row) for row in rows[1:]])]).p_value)
    # With groups that expect 10 in the window only, these were 0.05 and 0.07.
    assert float((np.concatenate(p) <= 0.01).mean()) <= 0.01
