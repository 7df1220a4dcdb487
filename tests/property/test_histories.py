"""P1, P2, P8 over made-up histories: the engine comes to what the oracle comes to, however the history was worked off."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, given, settings

from streams.engine.store import ARRIVALS, FEATURES, PERFORMANCE
from tests.oracle import histories, join_oracle, panes
from tests.oracle.histories import FUTURE, POSITIVE, RULES
from tests.oracle.join_oracle import Label, Prediction
from tests.property.driver import STEPS, Driver, Step, reference

SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SETTINGS
@given(histories.PREDICTIONS, histories.LABELS, STEPS)
def test_every_record_and_every_count_is_the_oracles_however_the_log_is_cut_interleaved_and_interrupted(
    predictions: list[Prediction], labels: list[Label], steps: list[Step]
) -> None:
    driver = Driver(predictions, labels)
    driver.run(steps)
    expected = join_oracle.read(predictions, labels, RULES, FUTURE)

    ledger = driver.task.outcomes()
    assert expected.ledger() == Counter(ledger["predictions"])
    counted = Counter(ledger["labels"])
    orphans = counted.pop("orphan", 0)
    unjoined = orphans + driver.task.join.waiting
    assert expected.label_ledger() == +(counted + Counter(unjoined=unjoined))
    assert _surely_orphans(expected) <= orphans <= _perhaps_orphans(expected)

    watermark, label_clock = driver.task.times()
    for model in driver.task.plan.models:
        never = -(1 << 62)
        assert expected.watermark.get(model.name, never) == watermark[model.index]
        assert expected.label_clock.get(model.name, never) == label_clock[model.index]

    assert panes.feature_panes(expected, RULES, reference()) == driver.panes(FEATURES)
    assert panes.arrival_panes(expected, RULES, POSITIVE) == driver.panes(ARRIVALS)
    assert panes.performance_panes(expected, RULES, POSITIVE) == driver.panes(PERFORMANCE)


@SETTINGS
@given(histories.PREDICTIONS, histories.LABELS, STEPS)
def test_a_restored_task_has_the_digest_of_the_one_that_committed_and_ends_like_one_that_never_stopped(
    predictions: list[Prediction], labels: list[Label], steps: list[Step]
) -> None:
    driver = Driver(predictions, labels)
    for step in steps:
        driver.take(step.topic, step.size)
        if step.commit:
            driver.commit()
            before = driver.digest()
            driver.start()
            assert before == driver.digest()
        elif step.crash:
            driver.start()
    driver.run([])
    undisturbed = Driver(predictions, labels)
    undisturbed.run([])
    assert undisturbed.digest() == driver.digest()


def _behind(expected: join_oracle.Result, model: str | None) -> int | None:
    """The lower of watermark and label clock, of one model or of all; None while one of them has not started."""
    names = list(RULES) if model is None else [model]
    both = [clock.get(n) for n in names for clock in (expected.watermark, expected.label_clock)]
    known = [c for c in both if c is not None]
    return min(known) if len(known) == len(both) else None


def _surely_orphans(expected: join_oracle.Result) -> int:
    """Labels two horizons behind, with room for the slack and the two spans (an eighth of a horizon) of segments."""
    slack = max(r.pane + r.lateness for r in RULES.values())
    return sum(
        _age(expected, label, time) > slack + 2 * (_memory(label.model) // 8) for label, time in expected.unjoined
    )


def _perhaps_orphans(expected: join_oracle.Result) -> int:
    """Labels that are two horizons behind at all."""
    return sum(_age(expected, label, time) > 0 for label, time in expected.unjoined)


def _age(expected: join_oracle.Result, label: Label, time: int) -> float:
    behind = _behind(expected, label.model)
    return float("-inf") if behind is None else behind - 2 * _memory(label.model) - time


def _memory(model: str | None) -> int:
    return max(r.horizon for r in RULES.values()) if model is None else RULES[model].horizon
