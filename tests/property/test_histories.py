"""P1, P2, P8 over made-up histories: the engine comes to what the oracle comes to, however the history was worked off."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import HealthCheck, given, settings

from streams.engine.store import ARRIVALS, FEATURES, PERFORMANCE
from tests.oracle import histories, join_oracle, panes
from tests.oracle.histories import BASE, FUTURE, POSITIVE, RULES
from tests.oracle.join_oracle import Label, Prediction
from tests.property.driver import STEPS, Driver, Step, reference

SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SETTINGS
@given(histories.HISTORY, STEPS)
def test_every_record_and_every_count_is_the_oracles_however_the_log_is_cut_interleaved_and_interrupted(
    history: tuple[list[Prediction], list[Label]], steps: list[Step]
) -> None:
    driver = Driver(*history)
    driver.run(steps)
    expected = join_oracle.read(*history, RULES, FUTURE)

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
    assert panes.label_panes(expected, RULES) == driver.label_panes()


@SETTINGS
@given(histories.HISTORY, STEPS)
def test_a_restored_task_has_the_digest_of_the_one_that_committed_and_ends_like_one_that_never_stopped(
    history: tuple[list[Prediction], list[Label]], steps: list[Step]
) -> None:
    driver = Driver(*history)
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
    undisturbed = Driver(*history)
    undisturbed.run([])
    assert undisturbed.digest() == driver.digest()


def test_a_label_is_never_forgotten_before_the_prediction_that_it_labelled() -> None:
    rule = RULES["m1"]
    span = rule.horizon // 8  # a segment's; entries leave by whole segments
    ends = (
        rule.horizon + span // 2 + 1
    )  # the prediction is in the segment that just stays, the label in the one that just goes
    label_time = next(t for t in range(BASE, BASE + span) if (t + ends - rule.horizon) % span == 0)
    now = label_time + ends + rule.horizon + rule.pane + rule.lateness
    answer = Prediction(0, label_time, id="a", model="m1", version="v1", event_time=label_time + rule.horizon)
    answer = replace(answer, record_time=answer.event_time)
    history = (
        [answer, replace(answer, offset=1, id="b", event_time=now, record_time=now)],
        [
            Label(0, label_time, id="a", label="yes", model="m1", event_time=label_time),
            Label(1, now, id="c", label="yes", model="m1", event_time=now),
        ],
    )
    driver = Driver(*history)
    driver.run([])
    assert driver.task.outcomes()["labels"]["applied"] == 1
    before = driver.digest()
    driver.start()
    assert before == driver.digest()


def test_the_digest_of_a_task_does_not_depend_on_what_else_its_process_has_met() -> None:
    history = histories.predictions_of(7, 80), histories.labels_of(7, 80)
    alone, among_others = Driver(*history), Driver(*history)
    for model in among_others.task.plan.models:
        for version in ("v0", "v1 of another partition", "v3"):
            model.stream(version, "champion", None)
    alone.run([])
    among_others.run([])
    assert alone.digest() == among_others.digest()


def _passed(expected: join_oracle.Result, model: str) -> float:
    """Labels that name a model and are older than this can join nothing more; -inf while one of its clocks has not started."""
    clocks = expected.watermark.get(model), expected.label_clock.get(model)
    known = [c for c in clocks if c is not None]
    return min(known) - _memory(None) if len(known) == len(clocks) else float("-inf")


def _behind(expected: join_oracle.Result, model: str | None) -> float:
    """The same in clock time; of labels that name none, by the model that needs them longest, be it seen or not."""
    if model is not None:
        return _passed(expected, model) + _memory(None) - _memory(model)
    unseen = max(expected.watermark.values(), default=float("-inf")) - 2 * _memory(None)
    return min(_passed(expected, name) if name in expected.watermark else unseen for name in RULES)


def _surely_orphans(expected: join_oracle.Result) -> int:
    """Labels a horizon behind, with room for the slack and the span (an eighth of a horizon) of a segment."""
    slack = max(r.pane + r.lateness for r in RULES.values())
    return sum(_age(expected, label, time) > slack + _memory(label.model) // 8 for label, time in expected.unjoined)


def _perhaps_orphans(expected: join_oracle.Result) -> int:
    """Labels that are a horizon behind at all."""
    return sum(_age(expected, label, time) > 0 for label, time in expected.unjoined)


def _age(expected: join_oracle.Result, label: Label, time: int) -> float:
    return _behind(expected, label.model) - time


def _memory(model: str | None) -> int:
    return max(r.horizon for r in RULES.values()) if model is None else RULES[model].horizon
