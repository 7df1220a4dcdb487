"""Reading the state without owning it: what `driftline status` stands on."""

from __future__ import annotations

import time
from pathlib import Path

import orjson
import pytest

from schemas.config import Config, load
from schemas.errors import RetryLater, StateMissing
from streams.cli.status import _delay, _labels
from streams.digest import digest
from streams.edges.memory_journal import MemoryJournal
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
    outside = (store, MemoryPublisher(), MemoryJournal(), book)
    host = Host(config, plans(config), counts, *outside, time.monotonic, lambda: "")
    for partition in range(2):
        host.claim([("predictions", partition)])
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


def test_the_status_says_how_complete_the_labels_of_the_latest_windows_were(config: Config, store: Store) -> None:
    host = worked(config, store)
    last = story.predictions()[-1]["event_time"]
    for partition in range(2):
        for topic in ("predictions", "labels"):
            host.silent("predictions", partition, topic, last + 100 * story.MINUTE)
    while host.tick():
        pass

    (model,) = read_status(config, store).models
    early, final = model.last_windows["performance"], model.coverage["final"]
    assert [(r["labels"], r["remembered"], r["coverage"], r["final"]["coverage"]) for r in early] == [
        (924, 924, 1.0, 1.0),
        (76, 76, 1.0, 1.0),
    ]
    assert (final.labels, final.remembered, final.coverage) == (76, 76, 1.0)
    assert final == model.coverage["mature"]
    assert final.delay_p50_ms is not None
    assert abs(final.delay_p50_ms - story.MINUTE) <= story.MINUTE / 8
    table = list(_labels(model))
    assert [(row[1], row[3], row[4]) for row in table] == [
        ("at maturity", "76 of 76", "100%"),
        ("at the horizon", "76 of 76", "100%"),
    ]


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (None, "none"),
        (0, "0 ms"),
        (1_999, "1999 ms"),
        (2_500, "2.5 s"),
        (61_440, "61 s"),
        (7_200_000, "2 h"),
        (10**9, "11 d"),
    ],
)
def test_a_delay_is_said_in_a_unit_that_fits_it(ms: int | None, said: str) -> None:
    assert _delay(ms) == said
