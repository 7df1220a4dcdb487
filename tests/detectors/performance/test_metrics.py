"""Metrics against counting, their errors against simulation, and the p-value of a drop."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from detectors.performance import WORSE, Metric, count_classes, count_errors, drop_p_value, metrics
from tests.oracle import divergences, outcomes, scores

PAIRS = st.integers(2, 5).flatmap(
    lambda k: st.tuples(st.just(k), st.lists(st.tuples(*[st.integers(0, k - 1)] * 2), min_size=1, max_size=60))
)


@given(PAIRS)
def test_multiclass_metrics_are_what_counting_gives(case: tuple[int, list[tuple[int, int]]]) -> None:
    k, rows = case
    actual, predicted = [a for a, _ in rows], [p for _, p in rows]
    vector = count_classes(np.array(actual), np.array(predicted), "multiclass", k)
    found = metrics(vector, "multiclass", [str(i) for i in range(k)])
    assert {name: m.value for name, m in found.items()} == pytest.approx(outcomes.rates(actual, predicted, k))


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 99)), min_size=1, max_size=60))
def test_binary_metrics_are_what_counting_gives(rows: list[tuple[int, int, int]]) -> None:
    actual, predicted, bins = np.array(rows).T
    found = metrics(count_classes(actual, predicted, "binary", 2, (bins + 0.5) / 100), "binary", ("", "yes"))
    tp = int(((actual == 1) & (predicted == 1)).sum())
    said, was = int(predicted.sum()), int(actual.sum())
    assert found["accuracy"].value == pytest.approx((actual == predicted).mean())
    assert found["precision"].value == (pytest.approx(tp / said) if said else None)
    assert found["recall"].value == (pytest.approx(tp / was) if was else None)
    assert found["f1"].value == (pytest.approx(2 * tp / (said + was)) if said + was else None)
    passed, was_not = int(((actual == 0) & (predicted == 0)).sum()), int((actual == 0).sum())
    assert found["specificity"].value == (pytest.approx(passed / was_not) if was_not else None)
    negatives, positives = bins[actual == 0].tolist(), bins[actual == 1].tolist()
    both = bool(negatives and positives)
    expected = pytest.approx(divergences.roc_auc(negatives, positives)) if both else None
    assert found["roc_auc"].value == expected


def simulated(task: str, n: int, seed: int) -> dict[str, Metric]:
    rng = np.random.default_rng(seed)
    if task == "regression":
        label = rng.normal(size=n)
        return metrics(count_errors(label + rng.normal(0.1, 2, n), label), task, ())
    k = 2 if task == "binary" else 4
    actual = rng.choice(k, n, p=[0.8, 0.2] if k == 2 else [0.4, 0.3, 0.2, 0.1])
    score = np.clip(0.35 * actual + rng.beta(2, 4, n), 0, 1)
    wrong = rng.random(n) < 0.2
    predicted = np.where(wrong, rng.integers(0, k, n), actual) if k > 2 else (score > 0.5).astype(int)
    return metrics(count_classes(actual, predicted, task, k, score if k == 2 else None), task, [""] * k)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_standard_errors_are_the_deviation_over_repeated_samples(task: str) -> None:
    runs = [simulated(task, 400, seed) for seed in range(500)]
    for name in runs[0]:
        deviation = np.std([r[name].value or 0.0 for r in runs])
        stated = np.mean([r[name].standard_error or 0.0 for r in runs])
        assert stated == pytest.approx(deviation, rel=0.15), name


@pytest.mark.parametrize("rate", [0.03, 0.1, 0.5, 0.95])
@pytest.mark.parametrize("n", [5, 100])
def test_a_drop_of_a_rate_keeps_its_level_in_the_tail_at_any_n(rate: float, n: int) -> None:
    big, level = 10_000, 0.003
    reference = vector_of_errors(big, round(big * (1 - rate)))
    probability = sum(
        float(scipy.stats.binom.pmf(successes, n, rate))
        for successes in range(n + 1)
        if drop_p_value(reference, vector_of_errors(n, n - successes), "lower") <= level
    )
    assert probability <= level


def vector_of_errors(n: int, errors: int) -> Metric:
    vector = np.zeros(235, np.int64)
    vector[[0, 1]] = n, errors
    return metrics(vector, "binary", ("", "yes"))["accuracy"]


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_a_rate_is_compared_by_fishers_exact_test(n: int, m: int, data: st.DataObject) -> None:
    now, was = data.draw(st.integers(0, n)), data.draw(st.integers(0, m))
    fewer, more, _ = scores.fisher(now, n, was, m)
    reference, current = vector_of_errors(m, m - was), vector_of_errors(n, n - now)
    assert drop_p_value(reference, current, "lower") == pytest.approx(fewer, rel=1e-9)
    assert drop_p_value(reference, current, "higher") == pytest.approx(more, rel=1e-9)


def test_a_real_drop_is_found_and_a_rise_is_not() -> None:
    before, after = Metric(0.9, 0.003, 10_000), Metric(0.8, 0.02, 400)
    assert drop_p_value(before, after, "lower") < 1e-4
    assert drop_p_value(before, after, "higher") > 0.999
    assert drop_p_value(before, after, "apart") == pytest.approx(2 * drop_p_value(before, after, "lower"))
    assert drop_p_value(after, before, "apart") == pytest.approx(2 * drop_p_value(after, before, "higher"))
    assert drop_p_value(before, before, "apart") == 1.0


def test_a_small_reference_whose_error_strayed_inwards_is_not_certain() -> None:
    # Were both of one distribution, 100 values would have ten times the error of 10,000: 0.2, not 0.05.
    small, large = Metric(1.0, 0.05, 100), Metric(1.2, 0.02, 10_000)
    expected = scipy.stats.norm.sf(0.2 / np.hypot(0.2, 0.02))
    assert drop_p_value(small, large, "higher") == pytest.approx(expected, rel=1e-9)
    assert drop_p_value(large, small, "lower") == pytest.approx(expected, rel=1e-9)


def test_an_undefined_metric_is_no_drop() -> None:
    nothing = Metric(None, None, 0)
    known = Metric(0.9, 0.01, 100)
    assert drop_p_value(known, nothing, "lower") == 1.0
    assert drop_p_value(nothing, known, "lower") == 1.0
    assert drop_p_value(known, Metric(0.1, None, 1), "lower") == 1.0


def test_a_perfect_classifier_is_not_certain() -> None:
    actual = np.array([0] * 20 + [1] * 20)
    found = metrics(count_classes(actual, actual, "binary", 2, actual * 0.9), "binary", ("", "yes"))
    for name in ("accuracy", "precision", "recall", "f1", "specificity", "roc_auc", "pr_auc"):
        assert found[name].value == 1.0
        assert (found[name].standard_error or 0) > 0.01


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_no_outcomes_define_nothing(task: str) -> None:
    classes = ["", "yes"] if task == "binary" else ["a", "b", "other"] if task == "multiclass" else []
    empty = np.zeros({"binary": 235, "multiclass": 11, "regression": 1038}[task], np.int64)
    assert {m.value for m in metrics(empty, task, classes).values()} == {None}


def test_a_vector_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="length"):
        metrics(np.zeros(7, np.int64), "regression", ())


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_every_metric_has_a_direction_in_which_it_is_worse(task: str) -> None:
    assert set(simulated(task, 50, 1)) <= set(WORSE)


@pytest.mark.parametrize("actual", [0, 1])
@pytest.mark.parametrize("n", [1, 7])
def test_one_class_only_or_one_outcome_defines_what_it_can(actual: int, n: int) -> None:
    column = np.full(n, actual)
    found = metrics(count_classes(column, column, "binary", 2, np.full(n, 0.25)), "binary", ("", "yes"))
    assert found["accuracy"].value == 1.0
    assert found["roc_auc"].value is None
    assert found["pr_auc"].value == (1.0 if actual else None)
    assert found["brier"].value == pytest.approx((0.25 - actual) ** 2)
    assert (found["log_loss"].standard_error is None) == (n == 1)


def test_one_residual_has_values_and_no_errors() -> None:
    found = metrics(count_errors(np.array([3.0]), np.array([1.0])), "regression", ())
    assert [found[name].value for name in ("mae", "rmse", "bias")] == [2.0, 2.0, 2.0]
    assert {m.standard_error for m in found.values()} == {None}
