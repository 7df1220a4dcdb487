"""A task takes a bounded number of versions and variants of a model, and which ones depends on its own log alone (P2, P6)."""

from __future__ import annotations

import numpy as np
import orjson

from streams.engine.columns import NO_MODEL
from streams.engine.decode import PredictionDecoder
from streams.engine.task import Task
from streams.engine.task_streams import MAX_STREAMS, TaskStreams
from tests.engine.watched import plan

TIME = 1_767_225_600_000


def take(task: Task, decoder: PredictionDecoder, versions: list[str], first_offset: int = 0) -> list[int]:
    """Let a task read one prediction of each version; returns the rows it refused."""
    said = {"prediction_id": "x", "model": "loans", "event_time": TIME}
    values = [orjson.dumps(said | {"prediction_id": v, "model_version": v}) for v in versions]
    n = len(values)
    columns = decoder.decode(values)
    assert columns.rejected == []
    return task.predictions(columns, 0, n, np.arange(first_offset, first_offset + n), np.full(n, TIME))


def test_with_one_version_too_many_the_first_ones_go_on_and_the_others_are_refused() -> None:
    watched = plan({"loans": "binary"})
    decoder, task = PredictionDecoder(watched, "predictions"), Task(watched, "{shard}", "predictions", "labels")
    versions = [f"v{i}" for i in range(MAX_STREAMS + 6)]
    assert take(task, decoder, versions) == list(range(MAX_STREAMS, MAX_STREAMS + 6))
    again = [f"{v}" for v in reversed(versions)]
    assert take(task, decoder, again, 1000) == list(range(6))
    assert task.outcomes()["predictions"] == {"applied": MAX_STREAMS, "dead_letter": 12, "duplicate": MAX_STREAMS}


def test_what_one_task_takes_does_not_depend_on_the_tasks_beside_it() -> None:
    watched = plan({"loans": "binary"})
    decoder = PredictionDecoder(watched, "predictions")
    one, other = (Task(watched, f"{{{i}}}", "predictions", "labels") for i in range(2))
    assert take(one, decoder, [f"a{i}" for i in range(200)]) == []
    assert take(other, decoder, [f"b{i}" for i in range(200)]) == []
    assert [name for name, *_ in other.streams.names[0]] == [f"b{i}" for i in range(200)]


def test_streams_are_numbered_in_the_order_of_the_log_and_refused_rows_belong_to_no_model() -> None:
    watched = plan({"loans": "binary"})
    model = watched.models[0]
    for i in range(MAX_STREAMS + 1):
        model.stream(f"v{i}", "champion", None)
    streams = TaskStreams(watched)
    everyone = np.arange(MAX_STREAMS, -1, -1, dtype=np.int32)
    models, own, refused = streams.admit(np.zeros(len(everyone), np.int32), everyone)
    assert own[:-1].tolist() == list(range(MAX_STREAMS))
    assert refused == [MAX_STREAMS]
    assert models.tolist() == [0] * MAX_STREAMS + [NO_MODEL]
