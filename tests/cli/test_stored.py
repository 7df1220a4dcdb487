"""Reading the state without owning it: what `driftline status` stands on."""

from __future__ import annotations

import time
from pathlib import Path

import orjson
import pytest

from schemas.config import Config, load
from schemas.errors import RetryLater, StateMissing
from streams.digest import digest
from streams.edges.memory_publisher import MemoryPublisher
from streams.edges.memory_store import MemoryStore
from streams.edges.redis_store import RedisStore
from streams.engine.records import batch_of
from streams.engine.store import Head, Store
from streams.host import Host
from streams.references import ReferenceBook, plans
from streams.status import read_status
from streams.stored import read_state
from tests.cli import story


def worked(config: Config, store: Store) -> Host:
    """A host that has read the story into two tasks and committed everything."""
    book = ReferenceBook(config, store)
    counts = {"predictions": 2}
    host = Host(config, plans(config), counts, store, MemoryPublisher(), book, time.monotonic, lambda: "")
    for partition in range(2):
        host.claim("predictions", partition)
    for topic, events in (("predictions", story.predictions()), ("labels", story.labels(shift=0))):
        rows = [(i % 2, i // 2, e["event_time"], orjson.dumps(e)) for i, e in enumerate(events)]
        host.take(batch_of(topic, sorted(rows)))
    for owned in host.tasks.values():
        host.commit(owned)
    host.tick()
    return host


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(story.write_config(tmp_path))


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Store:
    return MemoryStore() if request.param == "memory" else RedisStore(request.getfixturevalue("redis_url"))


def test_the_digest_of_the_stored_state_is_the_digest_of_the_host_that_wrote_it(config: Config, store: Store) -> None:
    host = worked(config, store)

    assert digest(store, read_state(config, store)) == digest(store, host)


def test_reading_the_state_takes_nothing_away_from_its_owner(config: Config, store: Store) -> None:
    host = worked(config, store)

    read_state(config, store)

    for owned in host.tasks.values():
        host.commit(owned)  # raises OwnershipLost or CommitConflict if somebody else had claimed or committed


def test_state_that_changes_while_it_is_read_is_not_taken_for_one_state(config: Config) -> None:
    class Busy(MemoryStore):
        looks = 0

        def peek(self, shard: str) -> Head:
            self.looks += 1
            head = super().peek(shard)
            return Head(head.sequence + self.looks, head.body)

    store = Busy()
    worked(config, store)

    with pytest.raises(RetryLater):
        read_state(config, store)


def test_a_group_that_never_worked_has_no_state_to_take_a_digest_of(config: Config, store: Store) -> None:
    with pytest.raises(StateMissing, match="no state"):
        read_state(config, store)


def test_the_status_counts_what_every_task_has_read(config: Config, store: Store) -> None:
    worked(config, store)

    status = read_status(config, store)

    assert [(t.partition, t.offsets) for t in status.tasks] == [
        (0, {"predictions": 500, "labels": 500}),
        (1, {"predictions": 500, "labels": 500}),
    ]
    assert all(t.outcomes == {"predictions": {"applied": 500}, "labels": {"applied": 500}} for t in status.tasks)
    (model,) = status.models
    assert model.watermark == story.predictions()[-2]["event_time"]
    assert (model.windows, model.request, model.open_alerts) == (1, None, [])
    assert [record["rows"] for record in model.last_windows["drift"]] == [924]
