"""The laws that are fitted to a reference's own windows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import chdtrc
from scipy.stats import kstest

from detectors.decisions.nulls import NU_ANDERSON, Dispersion, scores, spiked_tail
from detectors.drift.anderson import null_law, tail_probability
from detectors.drift.cells import ANDERSON, CHI2, SHARE, Cells, CellStatistics, combine
from detectors.reference import Reference, Subject

RNG = np.random.default_rng(7)
REFERENCE = Reference.build({"x": RNG.normal(size=40_000), "k": RNG.choice(["a", "b", "c"], 40_000, p=[0.6, 0.3, 0.1])})


def tail(x: list[float], mean: float, variance: float, phi: float, psi: float, nu: float) -> np.ndarray:
    values = np.array(x)
    full = [np.full(len(values), v) for v in (mean, variance, phi * mean, psi * variance, nu)]
    return spiked_tail(values, *full)


@pytest.mark.parametrize("freedom", [2, 5, 9, 20])
def test_without_dispersion_the_law_is_that_of_chi_squared(freedom: int) -> None:
    x = [float(freedom), 2.0 * freedom, 2.0 * freedom + 20]
    expected = chdtrc(freedom, np.array(x))
    assert tail(x, freedom, 2 * freedom, 1, 1, max(1, freedom - 1)) == pytest.approx(expected, rel=0.04)


def test_without_dispersion_the_law_is_within_15_per_cent_of_that_of_anderson_darling() -> None:
    counts = tuple([500.0] * 20)
    weights = null_law(counts)[2]
    x = [1.5, 2.5, 4.0, 6.0, 9.0]
    found = tail(x, float(weights.sum()), float(2 * weights @ weights), 1, 1, NU_ANDERSON)
    assert found == pytest.approx([tail_probability(counts, v) for v in x], rel=0.15)


@pytest.mark.parametrize(("a", "b", "nu"), [(10.0, 1.0, 8), (3.0, 1.0, 2), (30.0, 2.0, 19), (1.0, 1.0, 1)])
def test_the_law_is_that_of_its_two_weights(a: float, b: float, nu: int) -> None:
    """Drawn from the definition: a X_1 + b X_nu, recovered from its mean and variance."""
    drawn = a * RNG.chisquare(1, 2_000_000) + b * RNG.chisquare(nu, 2_000_000)
    mean, variance = 1.0 + nu, 2 * (1.0 + nu)
    phi, psi = (a + b * nu) / mean, (a * a + b * b * nu) / (1 + nu)
    x = np.quantile(drawn, [0.5, 0.9, 0.99, 0.999])
    expected = [(drawn >= v).mean() for v in x]
    assert tail(x.tolist(), mean, variance, phi, psi, nu) == pytest.approx(expected, rel=0.06)


@given(st.floats(1, 50), st.floats(1, 3000), st.floats(0, 1e4), st.sampled_from([1.0, 6.3, 9.0, 20.0]))
def test_a_tail_is_a_probability_that_falls_with_the_statistic(phi: float, psi: float, x: float, nu: float) -> None:
    one, more = tail([x, x * 1.1 + 0.1], nu + 1, 2 * (nu + 1), phi, psi, nu)
    assert 0 <= more <= one + 1e-6 <= 1 + 1e-6


def windows_of(subject: Subject, rows: int, windows: int, clump: int, seed: int) -> np.ndarray:
    """Slot vectors of windows whose rows come in clumps of equal values: 1 is independent."""
    rng = np.random.default_rng(seed)
    shares = subject.counts / subject.counts.sum()
    return (rng.multinomial(rows // clump, shares, size=windows) * clump).astype(np.int64)


def statistics(subject: Subject, windows: np.ndarray, *, own: bool = False) -> CellStatistics:
    baseline = windows.sum(axis=0) if own else subject.counts * 1000
    return Cells([subject], [baseline]).statistics(windows, own=own)


@pytest.mark.parametrize("subject", REFERENCE.subjects, ids=lambda s: s.name)
def test_the_moments_are_those_of_the_windows_and_never_below_independent_ones(subject: Subject) -> None:
    for clump in (1, 8):
        found = statistics(subject, windows_of(subject, 800, 400, clump, 3), own=True)
        law = Dispersion.fit(found, 800)
        for test, (phi, psi) in ((ANDERSON, law.anderson), (CHI2, law.chi2)):
            s, m, v = found.statistic[test], found.mean[test], found.variance[test]
            if np.isnan(s).all():
                assert (phi, psi) == (1, 1)
                continue
            ratio = max(1.0, sum(s) / sum(m))
            squares = sum((x - ratio * y) ** 2 for x, y in zip(s, m, strict=True))
            assert phi == pytest.approx(ratio, abs=1e-4)
            assert psi == pytest.approx(max(1.0, squares / sum(v)), abs=1e-2)
            assert phi == pytest.approx(clump, rel=0.15)


def test_calibrated_p_values_of_clumped_windows_are_right_where_independent_ones_are_not() -> None:
    """The law itself: fitted to so many windows that what is left is its form and the error of the 20,000 judged."""
    subject = REFERENCE.subjects[0]
    law = Dispersion.fit(statistics(subject, windows_of(subject, 800, 20_000, 8, 1), own=True), 800)
    live = statistics(subject, windows_of(subject, 800, 20_000, 8, 2))
    calibrated, plain = law.p_values(live, 800), combine(live)[0]
    assert (plain < 0.006).mean() > 0.5
    three_errors = 3 * np.sqrt(0.006 * 0.994 / 20_000)  # 27 % of 0.006
    assert (calibrated < 0.006).mean() == pytest.approx(0.006, abs=three_errors)
    assert (calibrated < 0.05).mean() <= 0.05


def test_laws_fitted_to_four_weeks_of_clumped_windows_do_not_reject_too_often_on_average() -> None:
    """So few windows know the tail badly: a single law rejects between 0.0014 and 0.0096 of windows where 0.006 is asked."""
    subject = REFERENCE.subjects[0]
    live = statistics(subject, windows_of(subject, 800, 20_000, 8, 2))
    found = []
    for seed in range(20):
        law = Dispersion.fit(statistics(subject, windows_of(subject, 800, 672, 8, 100 + seed), own=True), 800)
        found.append((law.p_values(live, 800) < 0.006).mean())
    assert np.mean(found) <= 0.006


def test_a_calibrated_p_value_is_never_below_the_independent_one() -> None:
    subject = REFERENCE.subjects[1]
    live = statistics(subject, windows_of(subject, 800, 2000, 3, 2))
    for law in (Dispersion(), Dispersion((2, 9), (3, 4), 1.5, 1.2), Dispersion((1, 1), (1, 1.5))):
        assert (law.p_values(live, 800) >= combine(live)[0] * (1 - 1e-12)).all()


def test_without_dispersion_the_p_value_is_the_independent_one() -> None:
    subject = REFERENCE.subjects[0]
    live = statistics(subject, windows_of(subject, 800, 500, 1, 2))
    assert Dispersion().p_values(live, 800).tolist() == combine(live)[0].tolist()


def test_more_rows_than_the_reference_had_widen_what_is_beyond_independent_and_fewer_do_not() -> None:
    subject = REFERENCE.subjects[0]
    live = statistics(subject, windows_of(subject, 1600, 200, 4, 2))
    law = Dispersion((3, 9), (3, 9))
    at_home, larger = law.p_values(live, 1600), law.p_values(live, 400)
    assert law.p_values(live, 10_000).tolist() == at_home.tolist()
    assert (larger >= at_home).all()
    assert larger.mean() > at_home.mean()


def test_a_heavy_tail_of_the_scores_is_stretched_back() -> None:
    subject = REFERENCE.subjects[0]
    live = statistics(subject, windows_of(subject, 800, 2000, 6, 2))
    plain, stretched = Dispersion().p_values(live, 800), Dispersion(tail=2.0).p_values(live, 800)
    start = np.exp(-3.0)
    assert stretched[plain >= start].tolist() == plain[plain >= start].tolist()
    beyond = plain < start
    assert scores(stretched[beyond]) == pytest.approx(3 + (scores(plain[beyond]) - 3) / 2)


def test_the_exact_test_of_a_share_is_calibrated_by_its_mean_score() -> None:
    rng = np.random.default_rng(3)
    reference = Reference.build({"x": np.where(rng.random(200_000) < 0.002, 1.0, 0.0)})
    subject = reference.subjects[0]
    clumped = np.zeros((600, subject.width), np.int64)
    clumped[:, -3] = 0
    ones = rng.poisson(0.2, 600) * 10
    zero, one = np.argsort(-subject.counts)[:2]
    clumped[:, one], clumped[:, zero] = ones, 1000 - ones
    found = statistics(subject, clumped, own=True)
    tested = found.p_value[SHARE]
    law = Dispersion.fit(found, 1000)
    assert law.share == pytest.approx(max(1.0, float(scores(tested).mean())), abs=1e-4)
    assert law.share > 1.2


def test_a_dispersion_reads_back() -> None:
    law = Dispersion((1.5, 2.5), (1, 1), 3, 1.25)
    assert Dispersion.from_list(law.to_list()) == law
    for numbers in ([], [1] * 5, [1, 1, 1, 1, 1, 0.9], [float("nan")] * 6):
        with pytest.raises(ValueError, match=r"six numbers|unpack"):
            Dispersion.from_list(numbers)


def test_p_values_of_independent_windows_stay_uniform_enough_after_fitting() -> None:
    subject = REFERENCE.subjects[0]
    law = Dispersion.fit(statistics(subject, windows_of(subject, 1000, 672, 1, 5), own=True), 1000)
    p = law.p_values(statistics(subject, windows_of(subject, 1000, 4000, 1, 6)), 1000)
    assert kstest(p, "uniform", alternative="greater").pvalue > 1e-3
