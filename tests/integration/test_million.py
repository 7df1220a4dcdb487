"""A million predictions, their labels one to thirty days late, through a real Kafka and two real workers, exact to the unit."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from schemas.config import Config
from schemas.identifiers import model_tag, task_tag
from streams.edges.redis_store import RedisStore
from streams.engine import cells, outcomes, snapshot
from streams.engine.evaluator import DRIFT_RESULTS, PERFORMANCE_RESULTS
from streams.engine.outcomes import Outcomes
from streams.engine.store import ARRIVALS, EVERY, FEATURES, LABELS, PERFORMANCE
from streams.references import plans
from tests.conftest import TopicMaker
from tests.integration import late_labels, workers
from tests.integration.late_labels import BUSY, END, PARTITIONS, RULES, Traffic
from tests.oracle.late_labels import COUNTS, Counts, Stream, count
from tests.services.kafka import KafkaService

CASES = 1_000_000
KEEP = {"retention.ms": "-1", "message.timestamp.after.max.ms": "9223372036854775807"}
TIMEOUT_S = 240
"""Reading takes 40 s on two cores that nobody else uses."""

pytestmark = pytest.mark.kafka


def test_a_million_predictions_with_labels_up_to_thirty_days_late_are_counted_to_the_unit(
    kafka: KafkaService, redis_url: str, topics: TopicMaker, tmp_path: Path
) -> None:
    inputs = {half: topics(half, partitions=PARTITIONS, config=KEEP) for half in ("predictions", "labels")}
    outputs = {name: topics(name) for name in ("control", "alerts", "retrain", "dead_letters", "journal", "features")}
    folders = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        config = late_labels.write_config(folder, kafka.bootstrap, redis_url, inputs | outputs, folder.name)
    with collected_less(), contextlib.ExitStack() as running:
        victim, _ = [running.enter_context(workers.worker(f)) for f in folders]
        made = late_labels.traffic(CASES)
        records = late_labels.batches(made, inputs, range(BUSY))
        workers.wait_until_shared(config, PARTITIONS, members=2)
        late_labels.produce(kafka.bootstrap, itertools.islice(records, len(made) // (2 * late_labels.BATCH)))
        kill_once_it_has_worked(victim, config)
        late_labels.produce(kafka.bootstrap, records)
        assert sum(workers.committed(config, PARTITIONS).values()) < sent(made, range(BUSY)), (
            "inconclusive: all was read"
        )
        running.enter_context(workers.worker(folders[0], "again"))
        expected = Counts()
        for partition in range(BUSY):
            expected.add(count(made.predictions[partition], made.labels[partition], RULES))
        assert expected.predictions["applied"] > CASES
        assert min(*expected.predictions.values(), *expected.labels.values()) >= CASES // 2_000, "a kind is missing"
        wait_until_committed(config, sent(made, range(BUSY)))

        check_ledger(folders[0], config, expected, waiting=3 * BUSY)
        check_cells(config, expected)

        # The partition that nobody had heard of yet: now that its clocks are known, the windows may be decided.
        late_labels.produce(kafka.bootstrap, late_labels.batches(made, inputs, [BUSY]))
        expected.add(count(made.predictions[BUSY], made.labels[BUSY], RULES))
        wait_until_committed(config, sent(made, range(PARTITIONS)))
        wait_until_decided(config, expected)
    check_ledger(folders[0], config, expected, waiting=3 * PARTITIONS)
    check_windows(config, expected)


@contextlib.contextmanager
def collected_less() -> Iterator[None]:
    """No garbage collection: four million tuples that all live would be walked again and again."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def sent(made: Traffic, partitions: Iterable[int]) -> int:
    """How many records some partitions have."""
    return sum(len(made.predictions[p]) + len(made.labels[p]) for p in partitions)


def kill_once_it_has_worked(victim: subprocess.Popen[bytes], config: Config) -> None:
    """SIGKILL after the first commits."""
    deadline = time.monotonic() + TIMEOUT_S
    while not sum(workers.committed(config, PARTITIONS).values()):
        assert time.monotonic() < deadline, "no worker committed a record"
        time.sleep(0.05)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait(10) == -signal.SIGKILL, "inconclusive: the worker had ended by itself"


def wait_until_committed(config: Config, records: int) -> None:
    """Return when the committed offsets add up to ``records``."""
    deadline = time.monotonic() + TIMEOUT_S
    while (now := sum(workers.committed(config, PARTITIONS).values())) < records:
        assert time.monotonic() < deadline, f"{now} of {records} records are committed after {TIMEOUT_S} s"
        time.sleep(0.2)


def wait_until_decided(config: Config, expected: Counts) -> None:
    """Return when every window of predictions and every window of labels is evaluated, but the last one."""
    wanted = {DRIFT_RESULTS: over(expected.rows), PERFORMANCE_RESULTS: over(expected.remembered)}
    deadline = time.monotonic() + TIMEOUT_S
    for kind, windows in wanted.items():
        while missing := windows - decided(config, kind):
            assert time.monotonic() < deadline, (
                f"{len(missing)} of {len(windows)} {kind} are missing after {TIMEOUT_S} s"
            )
            time.sleep(0.2)


def over(starts: Iterable[tuple[Stream, int]]) -> set[tuple[str, int]]:
    """The windows, as (model, start), that something was counted in and that are over."""
    return {(stream[0], at // RULES.window * RULES.window) for stream, at in starts if at < END}


def decided(config: Config, kind: str) -> set[tuple[str, int]]:
    """The windows that an evaluator has a result of."""
    store = RedisStore(config.redis.url)
    return {
        (model, at)
        for model in config.models
        for at in store.starts(model_tag(config.group, model), kind, model, 0, 1 << 62)
    }


def check_ledger(folder: Path, config: Config, expected: Counts, waiting: int) -> None:
    """What ``driftline status`` tells: every outcome as planned, and received = sum of outcomes + waiting."""
    command = [sys.executable, "-m", "streams.cli.main", "status", "--json", "--config", str(folder / "monitor.yaml")]
    said = json.loads(subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout)
    found: dict[str, Counter[str]] = {config.topics.predictions: Counter(), config.topics.labels: Counter()}
    received: Counter[str] = Counter()
    for task in said["tasks"]:
        for topic, became in task["outcomes"].items():
            found[topic].update(became)
        received.update(task["offsets"])
    left = sum(task["waiting"] for task in said["tasks"])
    planned = Counter(expected.labels)
    planned["orphan"] -= waiting  # the closing labels are nobody's, and not old enough to be given up
    assert found[config.topics.predictions] == expected.predictions
    assert (found[config.topics.labels], left) == (planned, waiting)
    assert received[config.topics.predictions] == sum(expected.predictions.values())
    assert received[config.topics.labels] == sum(expected.labels.values())


def check_cells(config: Config, expected: Counts) -> None:
    """Every pane that is counted, of all partitions: rows by pane, outcomes by arrival and by window of the prediction."""
    models = plans(config)["predictions"].by_name
    rows = panes(config, FEATURES)
    assert {key: int(vector[0]) for key, vector in rows.items()} == expected.rows
    arrivals = panes(config, ARRIVALS)
    assert {key: block(outcomes.arrival(models[key[0][0]], v)) for key, v in arrivals.items()} == expected.arrivals
    windows = panes(config, PERFORMANCE)
    assert {key: outcomes.remembered(models[key[0][0]], v) for key, v in windows.items()} == expected.remembered
    mature = {key: block(outcomes.mature(models[key[0][0]], v)) for key, v in windows.items()}
    assert {key: found for key, found in mature.items() if found[0]} == expected.mature
    final = {key: block(outcomes.final(models[key[0][0]], v)) for key, v in windows.items()}
    assert {key: found for key, found in final.items() if found[0]} == expected.final
    arrived = panes(config, LABELS)
    assert {(model.replace(EVERY, ""), at): int(v[0]) for ((model, _, _), at), v in arrived.items()} == expected.arrived


def block(found: Outcomes) -> list[int]:
    """What the naive count has of a block: the sums of losses aside, everything."""
    return [*found.counts[:COUNTS].tolist(), *found.delays.tolist()]


def panes(config: Config, kind: str) -> dict[tuple[Stream, int], NDArray[np.int64]]:
    """The stored vectors of a kind by (stream, start), added up over partitions."""
    store = RedisStore(config.redis.url)
    found: dict[tuple[Stream, int], NDArray[np.int64]] = {}
    wanted = [
        (shard, (kind, model, at))
        for shard in (task_tag(f"{config.group}.predictions", p) for p in range(PARTITIONS))
        for model in (*config.models, EVERY)
        for at in store.starts(shard, kind, model, 0, 1 << 62)
    ]
    for (shard, (_, model, at)), data in zip(wanted, store.cells(wanted), strict=True):
        for entry in cells.decode(data or b"", f"{shard} {kind} {at}"):
            key = (model, entry.version, entry.variant), at
            vector = snapshot.unpack_vector(entry.vector)
            found[key] = found[key] + vector if key in found else vector
    return found


def check_windows(config: Config, expected: Counts) -> None:
    """What the evaluators kept of every window but the last, which is not over."""
    rows: Counter[tuple[Stream, int]] = Counter()
    for (stream, pane), n in expected.rows.items():
        if pane < END:
            rows[stream, pane // RULES.window * RULES.window] += n
    assert {key: record["rows"] for key, record in records(config, DRIFT_RESULTS).items()} == rows
    judged = records(config, PERFORMANCE_RESULTS)
    remembered = {key: n for key, n in expected.remembered.items() if key[1] < END}
    assert {key: record["remembered"] for key, record in judged.items()} == remembered
    check_revision(judged, expected.mature, remembered)
    check_revision({key: record["final"] for key, record in judged.items()}, expected.final, remembered)


def check_revision(
    found: dict[tuple[Stream, int], dict[str, Any]],
    expected: dict[tuple[Stream, int], list[int]],
    remembered: dict[tuple[Stream, int], int],
) -> None:
    """What one revision told of every window: labels, coverage, accuracy."""
    labels = {key: expected[key][0] if key in expected else 0 for key in remembered}
    right = {key: (vector[0] - vector[1]) / vector[0] for key, vector in expected.items()}
    assert {key: record["labels"] for key, record in found.items()} == labels
    assert {key: record["coverage"] for key, record in found.items()} == {
        k: labels[k] / n for k, n in remembered.items()
    }
    assert {key: record["metrics"]["accuracy"]["value"] for key, record in found.items() if record["labels"]} == right


def records(config: Config, kind: str) -> dict[tuple[Stream, int], dict[str, Any]]:
    """The evaluators' records of a kind by (stream, start of the window)."""
    store, found = RedisStore(config.redis.url), {}
    for model in config.models:
        shard = model_tag(config.group, model)
        starts = store.starts(shard, kind, model, 0, 1 << 62)
        for data in store.cells([(shard, (kind, model, at)) for at in starts]):
            for record in orjson.loads(data or b"[]"):
                found[(model, record["version"], record["variant"]), record["window"][0]] = record
    return found
