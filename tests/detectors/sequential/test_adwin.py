"""ADWIN against MOA's own answers and against a slow oracle."""

from __future__ import annotations

import itertools
import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.sequential.adwin import Adwin
from schemas.errors import StateCorrupt, StateNewer
from tests.oracle.adwin import SlowAdwin
from tests.oracle.moa import RUNS, Run


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_value_by_value_it_answers_exactly_as_moa_2021_07(run: Run) -> None:
    detector = Adwin(run.delta)
    alarms = [(i, detector.n) for i, value in enumerate(run.values()) if detector.update(value)]
    assert alarms == run.alarms
    assert (detector.n, detector.mean, detector.variance) == (run.width, run.mean, run.variance)


@pytest.mark.parametrize("size", [1, 3, 20, 100])
def test_panes_give_what_the_slow_oracle_finds_in_their_values(size: int) -> None:
    rng = random.Random(size)
    detector, oracle, changes = Adwin(0.05), SlowAdwin(0.05), 0
    for rate in (0.2, 0.7, 0.1):
        for _ in range(300 // size + 5):
            pane = [int(rng.random() < rate) for _ in range(size)]
            changed = detector.update_many(size, sum(pane), sum(pane))
            assert changed == oracle.update([float(v) for v in pane])
            assert detector.n == len(oracle.values)
            assert detector.window_start == sum(weight for weight, _ in oracle.buckets)
            changes += changed
    assert changes > 0


@pytest.mark.parametrize(("oldest", "changed"), [(6, False), (7, True)])
def test_a_side_of_a_cut_has_more_than_six_elements(oldest: int, changed: bool) -> None:  # noqa: FBT001  # what is expected
    for first, second in ((oldest, 122), (122, oldest)):
        detector, slow = Adwin(0.5), SlowAdwin(0.5)
        panes = [[1000.0] * first, [0.0] * second]
        found = [(detector.update_many(len(p), sum(p), 1000.0 * sum(p)), slow.update(p)) for p in panes]
        assert found == [(False, False), (changed, changed)]


@settings(max_examples=30, deadline=None)
@given(
    levels=st.lists(st.tuples(st.integers(1, 150), st.floats(-50, 50)), min_size=1, max_size=4),
    scale=st.sampled_from([0.0, 1.0, 30.0]),
    seed=st.integers(0, 1000),
)
def test_on_any_levels_it_cuts_where_the_slow_oracle_cuts(
    levels: list[tuple[int, float]], scale: float, seed: int
) -> None:
    rng = random.Random(seed)
    detector, oracle = Adwin(0.1), SlowAdwin(0.1)
    for length, level in levels:
        for _ in range(length):
            value = level + scale * rng.random()
            assert detector.update(value) == oracle.update([value])
    assert detector.n == len(oracle.values)
    assert detector.mean == pytest.approx(math.fsum(oracle.values) / detector.n, abs=1e-9)


@pytest.mark.parametrize(("before", "after", "direction"), [(0.1, 0.6, 1), (0.6, 0.1, -1)])
def test_direction_says_whether_the_mean_rose(before: float, after: float, direction: int) -> None:
    rng = random.Random(4)
    detector = Adwin()
    assert detector.direction == 0
    for rate in (before, after):
        for _ in range(1000):
            detector.update(rng.random() < rate)
    assert detector.direction == direction
    assert detector.window_start < 1100


def test_the_order_of_values_within_a_pane_plays_no_part() -> None:
    panes = [[1, 0, 0, 1], [1, 1, 1, 0]] * 100
    forwards, backwards = Adwin(), Adwin()
    for pane in panes:
        forwards.update_many(4, sum(pane), sum(v * v for v in pane))
        backwards.update_many(4, sum(reversed(pane)), sum(v * v for v in reversed(pane)))
    assert forwards.to_state() == backwards.to_state()


def test_a_pane_of_one_value_is_that_value() -> None:
    single, pane = Adwin(), Adwin()
    for value in itertools.islice(itertools.cycle([0.0, 0.5, 3.25]), 500):
        single.update(value)
        pane.update_many(1, value, value * value)
    assert single.to_state() == pane.to_state()


def test_sums_of_integers_are_exact_up_to_53_bits() -> None:
    detector = Adwin()
    for _ in range(40):
        detector.update_many(3, 2**47 + 1, 2**94)
    assert detector.to_state()["window"][:2] == [120, 40 * (2**47 + 1)]


def test_its_counts_last_for_the_largest_panes() -> None:
    detector = Adwin()
    for _ in range(1000):
        detector.update_many(1 << 40, 1 << 39, 1 << 39)
    assert (detector.n, detector.mean) == (1000 << 40, 0.5)
    with pytest.raises(ValueError, match="n >= 0"):
        detector.update_many((1 << 40) + 1, 0, 0)


@given(
    st.lists(st.one_of(st.sampled_from([0.0, 1.0]), st.floats(-50, 50)), max_size=300),
    st.integers(0, 300),
    st.sampled_from([0.002, 0.9]),
)
@settings(max_examples=40, deadline=None)
def test_one_by_one_or_in_any_batches_it_answers_the_same(values: list[float], cut: int, delta: float) -> None:
    one, batched = Adwin(delta), Adwin(delta)
    found = [one.update(x) for x in values]
    assert [*batched.update_each(values[:cut]), *batched.update_each(values[cut:])] == found
    assert batched.to_state() == one.to_state()


def test_panes_one_by_one_or_at_once_give_the_same() -> None:
    rng = random.Random(8)
    panes = [(n, rng.randint(0, n)) for n in (rng.randint(0, 300) for _ in range(500))]
    panes += [(n, n) for n, _ in panes[:100]]
    one, many = Adwin(0.05), Adwin(0.05)
    found = [one.update_many(n, k, k) for n, k in panes]
    assert any(found)
    assert many.update_panes([n for n, _ in panes], [k for _, k in panes], [k for _, k in panes]).tolist() == found
    assert many.to_state() == one.to_state()


def test_a_batch_with_one_wrong_value_or_pane_adds_nothing() -> None:
    detector = Adwin()
    with pytest.raises(ValueError, match="finite"):
        detector.update_each([1.0, math.nan])
    with pytest.raises(ValueError, match="one dimension"):
        detector.update_each([[1.0, 2.0]])
    with pytest.raises(ValueError, match="counts"):
        detector.update_panes([3, -1], [1, 1], [1, 1])
    with pytest.raises(ValueError, match="each"):
        detector.update_panes([3, 1], [1, 1], [1])
    with pytest.raises(ValueError, match="at most"):
        detector.update_panes([3, 1], [1, 1e101], [1, 1])
    assert detector.elements == 0


@given(st.integers(0, 400))
@settings(max_examples=20, deadline=None)
def test_a_restart_anywhere_changes_nothing(at: int) -> None:
    values = [(7 * i % 10) / 10 + (i > 250) for i in range(500)]
    whole, restarted = Adwin(), Adwin()
    found, again = [], []
    for i, value in enumerate(values):
        if i == at:
            restarted = Adwin.from_state(json.loads(json.dumps(restarted.to_state())))
        found.append(whole.update(value))
        again.append(restarted.update(value))
    assert again == found
    assert restarted.to_state() == whole.to_state()


def test_the_state_of_a_newer_driftline_is_refused() -> None:
    state = Adwin().to_state() | {"format": 2}
    with pytest.raises(StateNewer, match="format 2"):
        Adwin.from_state(state)


@pytest.mark.parametrize(
    "damage", [{"rows": None}, {"window": [5, 1]}, {"window": [5, 1, 0]}, {"delta": 7}, {"format": None}]
)
def test_a_damaged_state_is_refused(damage: dict[str, object]) -> None:
    with pytest.raises(StateCorrupt):
        Adwin.from_state(Adwin().to_state() | damage)


def test_an_empty_window_and_an_empty_pane_are_harmless() -> None:
    detector = Adwin()
    assert not detector.update_many(0, 0, 0)
    assert (detector.n, detector.mean, detector.variance, detector.window_start) == (0, 0.0, 0.0, 0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e101])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Adwin().update(value)
    with pytest.raises(ValueError, match="finite"):
        Adwin().update_many(2, value, 1.0)


def test_a_delta_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="delta"):
        Adwin(0)
