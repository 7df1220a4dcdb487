"""The e-detector against its definition, its guarantee by enumeration and simulation, and the laws of its state."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom, binomtest, norm

from detectors.sequential.e_detector import EDetector, wilson
from tests.oracle import e_detector as oracle

BITS = st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=30)
UNIT = st.floats(0, 1)


def bits(seed: int, *segments: tuple[int, float]) -> NDArray[np.float64]:
    """Independent bits: (length, rate) of each segment."""
    rng = np.random.default_rng(seed)
    return np.concatenate([(rng.random(length) < rate).astype(float) for length, rate in segments])


# -- what it computes -------------------------------------------------------------------------------------------------


@given(st.lists(UNIT, min_size=1, max_size=25), st.floats(0.01, 0.99))
@settings(max_examples=60, deadline=None)
def test_its_value_is_the_sum_over_all_starts_of_the_products_since(values: list[float], m: float) -> None:
    rising, falling = EDetector(m, arl=1e15), EDetector(m, arl=1e15, alternative="less")
    both = EDetector(m, arl=1e15, alternative="two-sided")
    for x in values:
        assume(not any([rising.update(x), falling.update(x), both.update(x)]))  # after an alarm the sums start anew
    panes = [[x] for x in values]
    up, down = oracle.rise(panes, m), oracle.fall(panes, m)
    assert rising.value == pytest.approx(up, rel=1e-9)
    assert falling.value == pytest.approx(down, rel=1e-9)
    assert both.value == pytest.approx((up + down) / 2, rel=1e-9)


@given(st.lists(st.lists(st.sampled_from([0.0, 1.0]), max_size=12), min_size=1, max_size=12), st.floats(0.05, 0.95))
@settings(max_examples=60, deadline=None)
def test_a_pane_of_bits_counts_the_product_of_its_values(panes: list[list[float]], m: float) -> None:
    detector = EDetector(m, arl=1e15)
    for pane in panes:
        assume(not detector.update_many(len(pane), sum(pane), sum(pane)))
    assert detector.value == pytest.approx(oracle.rise([p for p in panes if p], m), rel=1e-9)


@given(st.lists(UNIT, min_size=2, max_size=12), st.floats(0.05, 0.95))
@settings(max_examples=100, deadline=None)
def test_a_pane_of_other_values_counts_less_than_their_product_and_more_with_squares_than_without(
    pane: list[float], m: float
) -> None:
    for alternative, exact in (("greater", oracle.rise([pane], m)), ("less", oracle.fall([pane], m))):
        with_squares, without = (EDetector(m, arl=1e15, alternative=alternative) for _ in range(2))  # type: ignore[arg-type]  # from the tuple above
        with_squares.update_many(len(pane), math.fsum(pane), math.fsum(x * x for x in pane))
        without.update_many(len(pane), math.fsum(pane))
        assert without.value <= with_squares.value * (1 + 1e-9)
        assert with_squares.value <= exact * (1 + 1e-6)


def test_a_pane_of_equal_values_or_of_zeros_and_one_other_value_loses_nothing() -> None:
    for pane in ([0.5] * 6, [0.0, 0.0, 0.25, 0.25, 0.0]):
        detector = EDetector(0.2, arl=1e15)
        detector.update_many(len(pane), sum(pane), sum(x * x for x in pane))
        assert detector.value == pytest.approx(oracle.rise([pane], 0.2), rel=1e-12)


# -- what it guarantees -----------------------------------------------------------------------------------------------


def expected_value(n: int, m: float) -> float:
    """What the e-detector is worth on average after one pane of `n` independent bits of rate m, over all 2**n of them."""
    total = 0.0
    for k, probability in enumerate(binom.pmf(np.arange(n + 1), n, m)):
        detector = EDetector(m, arl=1e15)
        detector.update_many(n, k, k)
        total += probability * detector.value
    return total


@pytest.mark.parametrize("m", [0.001, 0.2, 0.5, 0.93])
@pytest.mark.parametrize("n", [1, 2, 40])
def test_under_the_baseline_a_pane_of_bits_neither_earns_nor_loses_on_average(m: float, n: int) -> None:
    assert expected_value(n, m) == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("m", [0.001, 0.2, 0.5, 0.93])
def test_under_the_baseline_a_large_pane_earns_nothing_on_average(m: float) -> None:
    # A little below 1: a factor beyond e**500 is cut, and is worth its tiny probability times itself.
    assert 0.95 < expected_value(1000, m) <= 1 + 1e-9


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_under_the_baseline_no_distribution_of_a_pane_earns_on_average(alternative: str) -> None:
    support, probabilities = [0.0, 0.3, 1.0], [0.5, 0.3, 0.2]
    m = sum(x * p for x, p in zip(support, probabilities, strict=True))
    expected = 0.0
    for at in itertools.product(range(3), repeat=4):
        pane = [support[i] for i in at]
        detector = EDetector(m, arl=1e15, alternative=alternative)  # type: ignore[arg-type]  # from the list above
        detector.update_many(4, sum(pane), sum(x * x for x in pane))
        expected += math.prod(probabilities[i] for i in at) * detector.value
    assert 0.9 < expected <= 1 + 1e-9


@pytest.mark.parametrize(("alternative", "m"), [("greater", 0.2), ("less", 0.2), ("two-sided", 0.5), ("greater", 0.01)])
def test_false_alarms_come_at_most_once_per_arl_values(alternative: str, m: float) -> None:
    detector = EDetector(m, arl=500, alternative=alternative)  # type: ignore[arg-type]  # from the list above
    alarms = int(detector.update_each(bits(3, (1_000_000, m))).sum())
    assert 0.5 * 2000 < alarms <= 2000  # the bound is nearly tight: 0.5 shows that these are alarms at all


def test_false_alarms_come_at_most_once_per_arl_panes() -> None:
    rng = np.random.default_rng(5)
    n = rng.integers(1, 200, 100_000)
    k = rng.binomial(n, 0.2)
    alarms = int(EDetector(0.2, arl=500).update_panes(n, k, k).sum())
    assert 50 < alarms <= 200


def test_it_sees_a_rise_from_0_2_to_0_3_in_about_250_values() -> None:
    delays = []
    for seed in range(60):
        alarms = np.flatnonzero(EDetector(0.2).update_each(bits(seed, (2000, 0.2), (3000, 0.3)))) - 1999
        delays.append(alarms[alarms > 0][0])
    assert 200 < np.mean(delays) < 290


def test_a_change_within_the_tolerance_raises_no_alarm_and_one_beyond_it_does() -> None:
    detector = EDetector(0.2, tolerance=0.05)
    assert not detector.update_each(bits(1, (100_000, 0.24))).any()
    assert detector.update_each(bits(2, (3000, 0.35))).any()
    assert list(detector.null) == pytest.approx([0.15, 0.25])


def test_a_tolerance_moves_each_side_away_from_the_baseline() -> None:
    values = [0.0, 1.0, 0.25, 0.0]
    rising, falling = EDetector(0.5, tolerance=0.1), EDetector(0.5, tolerance=0.1, alternative="less")
    for x in values:
        rising.update(x)
        falling.update(x)
    assert rising.value == pytest.approx(oracle.rise([[x] for x in values], 0.6))
    assert falling.value == pytest.approx(oracle.fall([[x] for x in values], 0.4))


@given(st.integers(0, 5000), st.integers(1, 5000))
@settings(max_examples=50, deadline=None)
def test_the_margin_of_an_estimated_baseline_is_wilsons_interval(errors: int, n: int) -> None:
    errors = min(errors, n)
    confidence = 2 * norm.cdf(1.64) - 1
    expected = binomtest(errors, n).proportion_ci(confidence, method="wilson")
    both = [expected.low, expected.high]
    assert list(wilson(errors / n, n, 1.64)) == pytest.approx(both, abs=1e-9)
    assert list(EDetector(errors / n, baseline_n=n).null) == pytest.approx(both, abs=1e-9)


@given(st.integers(1, 60), st.floats(0.05, 0.95), st.floats(1, 30))
@settings(max_examples=30, deadline=None)
def test_under_the_baseline_a_dispersed_pane_earns_nothing_on_average(n: int, m: float, dispersion: float) -> None:
    expected = 0.0
    for k, probability in enumerate(binom.pmf(np.arange(n + 1), n, m)):
        detector = EDetector(m, arl=1e15)
        detector.update_many(n, k, k, dispersion=dispersion)
        expected += probability * detector.value
    assert expected <= 1 + 1e-9


def test_a_dispersion_is_a_root_of_the_factor() -> None:
    for n, k in ((1, 1), (20, 7)):
        detector = EDetector(0.3, arl=1e15)
        detector.update_many(n, k, k, dispersion=4)
        factors = [(1 + 0.7 * stake) ** (k / 4) * (1 - 0.3 * stake) ** ((n - k) / 4) for stake, _ in oracle.bets(0.3)]
        weights = [weight for _, weight in oracle.bets(0.3)]
        assert detector.value == pytest.approx(sum(w * f for w, f in zip(weights, factors, strict=True)))
    with pytest.raises(ValueError, match="dispersion of at least 1"):
        detector.update_many(4, 2, 2, dispersion=0.5)


@pytest.mark.parametrize("confirm", [1, 2, 3])
def test_from_nothing_no_alarm_rests_on_fewer_updates_than_it_has_to(confirm: int) -> None:
    detector = EDetector(0.2, arl=1000, confirm=confirm)
    found = [detector.update_many(10_000, 10_000, 10_000) for _ in range(6)]
    assert found.index(True) + 1 >= confirm
    assert found.index(True) + 1 <= confirm + 1
    again = EDetector.from_state(detector.to_state())
    assert [again.update_many(10**6, 10**6, 10**6) for _ in range(5)] == [
        detector.update_many(10**6, 10**6, 10**6) for _ in range(5)
    ]


# -- what it says -----------------------------------------------------------------------------------------------------


@given(BITS, st.floats(0.05, 0.95))
@settings(max_examples=60, deadline=None)
def test_the_estimated_change_is_the_start_from_which_the_best_bet_earned_most(values: list[float], m: float) -> None:
    detector = EDetector(m, arl=1e15)
    for x in values:
        detector.update(x)
    since = len(values) - detector.window_start
    earned = oracle.earnings([[x] for x in values], m)
    assert earned[since] == pytest.approx(max(earned), rel=1e-9)
    assert detector.n == len(values) - since
    assert detector.mean == pytest.approx(sum(values[since:]) / detector.n)


def test_the_estimated_change_lies_near_the_true_one() -> None:
    missed, means = [], []
    for seed in range(40):
        detector, values = EDetector(0.2), bits(seed, (3000, 0.2), (2000, 0.35))
        at = next(i for i, x in enumerate(values) if detector.update(x) and i >= 3000)
        missed.append(abs(at + 1 - detector.window_start - 3000))
        means.append(detector.mean)
    assert np.median(missed) < 30
    assert 0.35 < np.median(means) < 0.42  # above the truth: an alarm comes where chance has helped


@pytest.mark.parametrize(("after", "direction"), [(0.7, 1), (0.1, -1)])
def test_two_sided_it_says_whether_the_mean_rose(after: float, direction: int) -> None:
    detector = EDetector(0.4, alternative="two-sided")
    assert detector.direction == 0
    values = bits(2, (1000, 0.4), (300, after))
    assert next(i for i, x in enumerate(values) if detector.update(x)) > 1000
    assert detector.direction == direction
    assert (detector.mean > 0.4) == (direction > 0)


def test_one_sided_it_does_not_see_the_other_side() -> None:
    assert not EDetector(0.5).update_each(np.zeros(5000)).any()
    assert not EDetector(0.5, alternative="less").update_each(np.ones(5000)).any()


def test_the_update_after_an_alarm_starts_anew() -> None:
    detector, fresh = EDetector(0.25), EDetector(0.25)
    while not detector.update(1):
        pass
    assert detector.n > 1
    assert detector.value >= 100_000
    detector.update(0)
    fresh.update(0)
    assert (detector.value, detector.n, detector.direction) == (fresh.value, 1, 1)


# -- laws -------------------------------------------------------------------------------------------------------------


@given(st.lists(UNIT, min_size=1, max_size=40), st.integers(0, 40), st.sampled_from(["greater", "less", "two-sided"]))
@settings(max_examples=50, deadline=None)
def test_one_by_one_or_in_any_batches_it_answers_the_same(values: list[float], cut: int, alternative: str) -> None:
    one, batched = (EDetector(0.3, arl=20, alternative=alternative) for _ in range(2))  # type: ignore[arg-type]  # from the list above
    found = [one.update(x) for x in values]
    again = [*batched.update_each(values[:cut]), *batched.update_each(values[cut:])]
    assert again == found
    assert batched.to_state() == one.to_state()


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.floats(0, 1)), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_panes_one_by_one_or_at_once_give_the_same(rows: list[tuple[int, int, float]]) -> None:
    panes = []
    for n, k, share in rows:
        total = min(k, n) * 1.0
        least = total * total / n if n else 0.0
        panes.append((n, total, least + share * (total - least)))
    one, many = (EDetector(0.3, arl=20, alternative="two-sided") for _ in range(2))
    found = [one.update_many(*pane) for pane in panes]
    assert many.update_panes(*map(list, zip(*panes, strict=True))).tolist() == found
    assert many.to_state() == one.to_state()


def test_a_pane_of_one_value_is_that_value_and_a_pane_of_none_is_nothing() -> None:
    single, pane = EDetector(0.3), EDetector(0.3)
    for x in (0.0, 0.5, 1.0, 0.125):
        single.update(x)
        pane.update_many(1, x, x * x)
        assert not pane.update_many(0, 0, 0)
    assert pane.to_state() == single.to_state()


@given(st.integers(0, 300))
@settings(max_examples=20, deadline=None)
def test_a_restart_anywhere_changes_nothing(at: int) -> None:
    values = bits(7, (150, 0.2), (150, 0.8))
    whole, restarted = (EDetector(0.2, arl=300, baseline_n=400, alternative="two-sided") for _ in range(2))
    found, again = [], []
    for i, x in enumerate(values):
        if i == at:
            restarted = EDetector.from_state(json.loads(json.dumps(restarted.to_state())))
        found.append(whole.update(x))
        again.append(restarted.update(x))
    assert any(found)
    assert again == found
    assert restarted.to_state() == whole.to_state()
    assert restarted.parameters == whole.parameters


def test_other_bounds_are_the_same_on_another_scale() -> None:
    values = bits(11, (500, 0.25), (400, 0.5)) * 0.75
    plain, wide = EDetector(0.25), EDetector(-6.0, bounds=(-8, 0), tolerance=0.0)
    scaled = [wide.update(8 * x - 8) for x in values]
    assert [plain.update(x) for x in values] == scaled
    assert any(scaled)
    assert wide.value == plain.value
    assert wide.mean == pytest.approx(8 * plain.mean - 8)


def test_panes_on_other_bounds_are_scaled_too() -> None:
    pane = [0.25, 0.5, 1.0, 0.0]
    plain, wide = EDetector(0.25), EDetector(-6.0, bounds=(-8, 0))
    there = [8 * x - 8 for x in pane]
    plain.update_many(4, sum(pane), sum(x * x for x in pane))
    wide.update_many(4, sum(there), sum(x * x for x in there))
    assert wide.value == pytest.approx(plain.value)
    at_once = EDetector(-6.0, bounds=(-8, 0))
    at_once.update_panes([4], [sum(there)], [sum(x * x for x in there)])
    assert at_once.value == wide.value


# -- edges ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("baseline", [0.0, 1.0])
@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_a_baseline_at_a_bound_is_no_trouble(baseline: float, alternative: str) -> None:
    detector = EDetector(baseline, alternative=alternative)  # type: ignore[arg-type]  # from the list above
    assert not detector.update_each([baseline] * 1000).any()
    found = detector.update_each([1 - baseline] * 10).any()
    assert found == (alternative != ("greater" if baseline else "less"))
    assert math.isfinite(detector.value)


def test_an_enormous_pane_raises_an_alarm_and_no_overflow() -> None:
    detector = EDetector(0.2, arl=1e15)
    assert detector.update_many(10**12, 10**12, 10**12)
    assert math.isfinite(detector.value)
    assert not detector.update_many(10**12, 0, 0)
    assert detector.value == 0.0


def test_before_the_first_value_there_is_nothing_to_say() -> None:
    detector = EDetector(0.2)
    assert (detector.n, detector.mean, detector.window_start, detector.value) == (0, 0.0, 0, 0.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1.1])
def test_values_outside_the_bounds_are_refused(value: float) -> None:
    detector = EDetector(0.2)
    with pytest.raises(ValueError, match="between 0 and 1"):
        detector.update(value)
    with pytest.raises(ValueError, match="between 0 and 1"):
        detector.update_each([0.5, value])
    assert detector.n == 0


@pytest.mark.parametrize("pane", [(-1, 0, 0), (4, 5, 5), (4, -1, 1), (4, 2, 3), (4, 2, 0.5), (2, math.nan, 1)])
def test_panes_that_no_values_can_make_are_refused(pane: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match=r"pane|values|counts"):
        EDetector(0.2).update_many(*pane)
    with pytest.raises(ValueError, match=r"pane|values|counts"):
        EDetector(0.2).update_panes(*([part] for part in pane))


@pytest.mark.parametrize(
    "wrong",
    [
        {"baseline": 1.5},
        {"baseline": math.nan},
        {"arl": 1},
        {"arl": math.inf},
        {"alternative": "up"},
        {"tolerance": -0.1},
        {"baseline_n": 0},
        {"confirm": 0},
        {"bounds": (1, 0)},
        {"bounds": (0, math.inf)},
    ],
)
def test_parameters_outside_their_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EDetector(**({"baseline": 0.2} | wrong))  # type: ignore[arg-type]  # wrong on purpose
