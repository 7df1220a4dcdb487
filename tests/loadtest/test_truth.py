"""What the load test holds the pipeline against: counted here once more, one value at a time."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from loadtest import workload
from loadtest.answer import Answer, differences
from loadtest.measure import Cost, Stages
from tests.oracle import delays, outcomes
from tests.oracle.slots import slot

N = 300
MADE = workload.rows(N, 0.5, seed=3, step_ms=1_000)
REFERENCE = workload.reference()
TRUTH = workload.truth_of(MADE, REFERENCE)


def right() -> Answer:
    ledgers = {"predictions": {"applied": N}, "labels": {"applied": MADE.labels}}
    return Answer(ledgers, dict(TRUTH.panes), list(TRUTH.outcomes), 1, 0)


def test_the_known_truth_is_what_counting_the_events_one_by_one_gives() -> None:
    events = [json.loads(value) for _, _, value in workload.predictions(MADE)]
    panes: dict[int, tuple[int, list[int]]] = {}
    width = sum(s.width for s in REFERENCE.subjects)
    for event in events:
        start = event["event_time"] - event["event_time"] % 60_000
        rows, slots = panes.get(start, (0, [0] * width))
        first = 0
        for subject in REFERENCE.subjects:
            value = event["features"].get(subject.name, event.get(subject.name))
            slots[first + slot(subject, value)] += 1
            first += subject.width
        panes[start] = rows + 1, slots
    assert panes == TRUTH.panes


def test_the_known_outcomes_are_what_joining_the_labels_one_by_one_gives() -> None:
    events = {key: json.loads(value) for key, _, value in workload.predictions(MADE)}
    labels = [json.loads(value) for _, _, value in workload.labels(MADE)]
    mine = [events[label["prediction_id"]] for label in labels]
    actual = [int(label["label"] == workload.POSITIVE) for label in labels]
    predicted = [int(event["prediction"] == workload.POSITIVE) for event in mine]
    scores = [event["score"] for event in mine]
    late = [label["event_time"] - event["event_time"] for label, event in zip(labels, mine, strict=True)]
    counted = outcomes.classes(actual, predicted, 2, scores, binary=True)
    assert [*counted, *delays.histogram(late)] == TRUTH.outcomes


def test_every_event_is_unique_and_about_545_bytes() -> None:
    values = [value for _, _, value in workload.predictions(MADE)]
    assert len(set(values)) == N
    assert 530 < sum(map(len, values)) / N < 560
    assert all(len(json.loads(value)["features"]) == 20 for value in values)


def test_a_right_answer_has_no_differences() -> None:
    assert differences(right(), TRUTH) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"ledgers": {"predictions": {"applied": N - 1}, "labels": {"applied": MADE.labels}}},
            "predictions: 300 produced",
        ),
        (
            {"ledgers": {"predictions": {"applied": N, "late": 1}, "labels": {"applied": MADE.labels}}},
            "predictions: 300",
        ),
        ({"ledgers": {"predictions": {"applied": N}, "labels": {}}}, "labels:"),
        ({"panes": {k: v for k, v in TRUTH.panes.items() if k != min(TRUTH.panes)}}, "1 are missing"),
        ({"panes": {**TRUTH.panes, 0: (0, [])}}, "1 should not be there"),
        ({"panes": {k: (n + 1, v) for k, (n, v) in TRUTH.panes.items()}}, "histograms: 5 of 5"),
        (
            {"outcomes": [0, *TRUTH.outcomes[1:]]},
            f"outcomes of labels (n, errors, confusion, ...): 0 instead of {MADE.labels} at 0",
        ),
        ({"outcomes": TRUTH.outcomes[:-1]}, f"None instead of 0 at {len(TRUTH.outcomes) - 1}"),
        ({"unequal": 1}, "1 of them with other bytes"),
        ({"cells": 0}, "Redis holds 0"),
    ],
)
def test_every_kind_of_wrong_answer_is_named(changed: dict[str, object], said: str) -> None:
    answer = right()
    for name, value in changed.items():
        setattr(answer, name, value)
    (sentence,) = differences(answer, TRUTH)
    assert said in sentence


def test_labels_are_not_asked_for_where_none_were_sent() -> None:
    answer = right()
    answer.ledgers["labels"], answer.outcomes = {}, []
    assert differences(answer, replace(TRUTH, labels=0)) == []


def test_a_stage_inside_another_is_counted_once_and_the_stages_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.thread_time", lambda: clock[0])

    class Work:
        def inner(self) -> None:
            clock[0] += 3.0

        def outer(self) -> None:
            clock[0] += 1.0
            self.inner()
            self.inner()

    stages = Stages()
    stages.watch(Work, "inner", "in")
    stages.watch(Work, "outer", "out")
    Work().outer()
    Work().inner()
    assert stages.seconds == {"in": 9.0, "out": 1.0}
    per_event = stages.per_event(Cost(cpu_s=15.0, system_s=0.0, thread_s=12.0, wall_s=20.0), events=1)
    assert per_event == {"in": 9e9, "out": 1e9, "rest": 2e9, "client threads": 3e9}
