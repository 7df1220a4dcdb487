"""Every bad input has one named outcome, nothing stops the partition, and everything received is accounted for (P1)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from detectors.reference import Reference
from schemas.config import ModelConfig
from schemas.errors import DeadLetterReason as Reason
from schemas.errors import ReferenceMismatch
from streams.edges.memory_journal import MemoryJournal
from streams.edges.memory_publisher import MemoryPublisher
from streams.edges.memory_store import MemoryStore
from streams.engine.plan import compile_plan
from streams.engine.records import batch_of
from streams.engine.store import FEATURES
from streams.host import Host
from streams.owned import OwnedTask
from streams.references import ReferenceBook, plans
from tests.property import story

if TYPE_CHECKING:
    from pathlib import Path

NOW = story.BEGIN
GOOD: dict[str, Any] = {
    "prediction_id": "good",
    "model": "loans",
    "model_version": "v1",
    "event_time": NOW,
    "features": {"a": 1.0, "c": "de"},
    "prediction": "yes",
    "score": 0.9,
}


def event(**changes: Any) -> bytes:  # noqa: ANN401  # JSON
    """A sound prediction with changes; ``...`` takes a field out."""
    return json.dumps({k: v for k, v in (GOOD | changes).items() if v is not ...}).encode()


BAD = [
    pytest.param(b'{"prediction_id": "x"', Reason.INVALID_JSON, "dead_letter", id="broken JSON"),
    pytest.param(event(model_version=...), Reason.MISSING_FIELD, "dead_letter", id="a missing field"),
    pytest.param(event(prediction_id=5), Reason.WRONG_TYPE, "dead_letter", id="a wrong type"),
    pytest.param(event(score=float("nan")), Reason.INVALID_JSON, "dead_letter", id="NaN"),
    pytest.param(event(model="nobody"), None, "unknown_model", id="an unknown model"),
    pytest.param(event(prediction_id="new", features={"z": 1}), None, "applied", id="an unknown feature"),
    pytest.param(event(event_time="2100-01-01T00:00:00Z"), None, "future", id="the year 2100"),
    pytest.param(event(event_time=NOW * 1000), Reason.BAD_EVENT_TIME, "dead_letter", id="microseconds"),
    pytest.param(event(prediction_id="big", note="x" * 5_000_000), None, "applied", id="5 MB, sound"),
    pytest.param(b"{" + b"x" * 5_000_000, Reason.INVALID_JSON, "dead_letter", id="5 MB of nothing"),
    pytest.param(None, Reason.TOMBSTONE, "dead_letter", id="a tombstone"),
    pytest.param(event(), None, "duplicate", id="a repeat"),
    pytest.param(event(prediction_id="old", event_time=NOW - 3_600_000), None, "late", id="an hour late"),
]


@pytest.fixture
def publisher() -> MemoryPublisher:
    """Where dead letters go."""
    return MemoryPublisher()


@pytest.fixture
def host(tmp_path: Path, publisher: MemoryPublisher) -> Host:
    """A host that owns one partition."""
    config, store = story.config(tmp_path), MemoryStore()
    book = ReferenceBook(config, store)
    groups = {"predictions": 1, "features": 1}
    made = Host(config, plans(config), groups, store, publisher, MemoryJournal(), book, lambda: 0.0, lambda: "")
    made.claim([("predictions", 0)])
    return made


def _owned(host: Host) -> OwnedTask:
    return host.tasks["predictions", 0]


@pytest.mark.parametrize(("value", "reason", "outcome"), BAD)
def test_a_bad_prediction_has_its_outcome_and_the_next_good_one_is_applied(
    host: Host, publisher: MemoryPublisher, value: bytes | None, reason: Reason | None, outcome: str
) -> None:
    values = [event(), value, event(prediction_id="after")]
    host.take(batch_of("predictions", [(0, i, NOW, v) for i, v in enumerate(values)]))
    ledger = _owned(host).task.outcomes()["predictions"]
    assert ({"applied": 3} if outcome == "applied" else {"applied": 2, outcome: 1}) == ledger
    assert ([] if reason is None else [(1, reason)]) == [(d.offset, d.rejected.reason) for d in publisher.dead_letters]
    host.commit(_owned(host))
    assert _owned(host).task.offsets == {"predictions": 3, "labels": 0}


def test_a_feature_that_no_reference_knows_is_counted_and_the_known_ones_count_as_missing(host: Host) -> None:
    values = [event(prediction_id=f"p{i}", features={"z": i, "c": "de"}) for i in range(5)]
    host.take(batch_of("predictions", [(0, i, NOW, v) for i, v in enumerate(values)]))
    task = _owned(host).task
    model = task.plan.by_name["loans"]
    assert task.unknown_features[model.index] == 5
    [(_, vector)] = task.open[FEATURES].vectors(model.index, NOW)
    counts = {
        subject.name: model.default.counts(vector, i).tolist() for i, subject in enumerate(model.default.subjects)
    }
    assert (counts["a"][-2], sum(counts["a"])) == (5, 5)
    assert (counts["c"][-2], sum(counts["c"])) == (0, 5)


def test_labels_are_applied_repeated_in_conflict_unknown_ahead_refused_or_they_wait(host: Host) -> None:
    host.take(batch_of("predictions", [(0, 0, NOW, event())]))

    def label(**changes: Any) -> bytes:  # noqa: ANN401  # JSON
        return json.dumps({"prediction_id": "good", "label": "yes", "event_time": NOW + 1} | changes).encode()

    values = [
        label(),
        label(),
        label(label="no"),
        label(prediction_id="nobody's"),
        label(model="nobody"),
        label(event_time="2100-01-01T00:00:00Z"),
        label(label=None),
        None,
    ]
    host.take(batch_of("labels", [(0, i, NOW, v) for i, v in enumerate(values)]))
    task = _owned(host).task
    expected = {"applied": 1, "duplicate": 1, "conflict": 1, "unknown_model": 1, "future": 1, "dead_letter": 2}
    found = {k: v for k, v in task.outcomes()["labels"].items() if v}
    assert expected == found
    assert task.join.waiting == 1
    assert len(values) == sum(found.values()) + task.join.waiting


def test_a_batch_of_nothing_but_bad_records_moves_the_offset(host: Host) -> None:
    host.take(batch_of("predictions", [(0, i, NOW, None) for i in range(7)]))
    host.take(batch_of("labels", [(0, i, NOW, b"[") for i in range(5)]))
    host.commit(_owned(host))
    assert _owned(host).task.offsets == {"predictions": 7, "labels": 5}
    ledgers = _owned(host).task.outcomes()
    assert (ledgers["predictions"], ledgers["labels"]["dead_letter"]) == ({"dead_letter": 7}, 5)


def test_records_that_come_again_are_not_counted_again(host: Host) -> None:
    rows = [(0, i, NOW, event(prediction_id=f"p{i}")) for i in range(10)]
    assert [host.take(batch_of("predictions", rows)), host.take(batch_of("predictions", rows[:4])), 0] == [10, 0, 0]
    assert _owned(host).task.outcomes()["predictions"] == {"applied": 10}


def test_a_reference_of_another_class_or_task_is_refused() -> None:
    table = {"a": [1.0, 2.0] * 50, "prediction": ["0", "1"] * 50, "label": ["0", "1"] * 50}
    made = Reference.build(table, task="binary", positive_class="1")
    said = {"task": "binary", "positive_class": "0", "reference": "unused.json"}
    with pytest.raises(ReferenceMismatch, match="positive_class"):
        compile_plan("predictions", {"m": ModelConfig.model_validate(said)}, {"m": [made]}, 0)
    config = ModelConfig.model_validate({"task": "regression", "reference": "unused.json"})
    with pytest.raises(ReferenceMismatch, match="regression"):
        compile_plan("predictions", {"m": config}, {"m": [made]}, 0)
