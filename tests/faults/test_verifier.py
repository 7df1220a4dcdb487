"""The verifier says "equal" of a real run, and of every planted error what is wrong."""

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
import redis
import yaml

from schemas import config as configuration
from schemas.config import Config
from streams.edges.embedded import free_ports
from tests.conftest import make_topic
from tests.faults import verifier, verifier_events, verifier_expected, verifier_journal, verifier_replay
from tests.faults import verifier_compare as compare
from tests.faults.verifier import Published, Verdict, judge, published, verify
from tests.faults.verifier_expected import Expected
from tests.faults.verifier_live import Watcher
from tests.faults.verifier_log import CannotLookError, Raw
from tests.faults.verifier_stored import Stored
from tests.integration import scenario, workers
from tests.services.kafka import KafkaService
from tests.services.redis import RedisService

PARTITIONS = 2
N = 6_000
"""Ten minutes of event time: ten windows, of which some are quiet, some drift, and some have wrong answers."""
KEEP = {"retention.ms": "-1", "message.timestamp.after.max.ms": "9223372036854775807"}
SCORES = 64
"""Scores are whole 64ths, of which the oracle sums the losses once each."""
Json = dict[str, Any]
Redis = Any
"""The client: what a command answers depends on its settings."""

pytestmark = pytest.mark.kafka


@dataclass(frozen=True)
class Run:
    """A finished run, and what its inputs come to."""

    config: Config
    path: Path
    expected: Expected
    outputs: Published
    metrics: dict[tuple[str, str], int]
    redis: Redis
    bootstrap: str

    def verify(self, **outputs: list[Raw]) -> Verdict:
        """The verdict, with other records in some output topics."""
        return judge(self.config, self.expected, replace(self.outputs, **outputs), Stored(self.config))  # type: ignore[arg-type]


def rounded(record: tuple[str, int, str, bytes]) -> tuple[str, int, str, bytes]:
    half, at, key, value = record
    if half == "predictions" and b'"score"' in value:
        event = orjson.loads(value)
        value = orjson.dumps(event | {"score": round(event["score"] * SCORES) / SCORES})
    return half, at, key, value


@pytest.fixture(scope="module")
def run(kafka: KafkaService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One worker reads a story to its end; its Redis stays."""
    folder = tmp_path_factory.mktemp("verifier")
    names = {half: make_topic(kafka, half, PARTITIONS, KEEP) for half in ("predictions", "labels")}
    written = ("control", "alerts", "retrain", "dead_letters", "journal", "features")
    names |= {name: make_topic(kafka, name, 2, {}) for name in written}
    with RedisService() as service:
        scenario.write_config(folder, kafka.bootstrap, service.url, names)
        path = folder / "monitor.yaml"
        said = yaml.safe_load(path.read_text())
        said["group"] = "verified"
        said["models"]["loans"]["windows"] |= {"size": "1m", "pane": "20s"}
        said["models"]["loans"]["labels"] = {"maturity": "10m", "horizon": "45m"}
        said["http"] = {"port": free_ports(1)[0]}
        path.write_text(yaml.safe_dump(said))
        config = configuration.load(path)
        scenario.produce(kafka.bootstrap, names, PARTITIONS, [rounded(r) for r in scenario.story(N)])
        with workers.worker(folder):
            workers.wait_until_read(config, PARTITIONS)
            metrics = verifier.scrape([f"http://127.0.0.1:{config.http.port}/metrics"])
        outputs = published(config)
        expected = verifier_expected.expected(config, outputs.journal.entries)
        yield Run(config, path, expected, outputs, metrics, redis.Redis.from_url(service.url), kafka.bootstrap)


def test_of_a_real_run_the_program_says_equal(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "verdict.json"
    assert verifier.main(["--config", str(run.path), "--json", str(out), "--processes", "1"]) == 0
    said = json.loads(out.read_text())
    assert said["equal"]
    checked = said["checked"]
    assert checked["records"] == sum(
        sum(ends.values())
        for ends in (
            workers.ends(run.bootstrap, t, PARTITIONS)
            for t in (run.config.topics.predictions, run.config.topics.labels)
        )
    )
    assert checked["dead_letters"] == 29
    assert checked["drift_windows"] == checked["performance_windows"] == checked["final_windows"] == 10
    assert checked["recomputed_alert_events"] >= 4
    assert checked["retrain_events"] >= 1


def test_the_metrics_add_up_to_the_ledger_and_one_that_does_not_is_named(run: Run) -> None:
    assert list(compare.metrics(run.config, run.expected, run.metrics)) == []
    key = (run.config.topics.labels, "conflict")
    (said,) = compare.metrics(run.config, run.expected, run.metrics | {key: run.metrics[key] + 1})
    assert "outcome conflict: expected" in said


def test_a_replay_of_a_real_run_is_equal_and_a_replay_of_another_is_not(run: Run) -> None:
    told = verifier_events.by_id([*run.outputs.alerts, *run.outputs.retrain], "both").events
    calm, stored = verifier_replay.replayed(run.path), Stored(run.config)
    assert list(verifier_replay.differences(run.config, calm, stored, told)) == []
    name = next(iter(told))
    others = {i: e for i, e in told.items() if i != name}
    (said,) = verifier_replay.differences(run.config, calm, stored, others)
    assert said.startswith(f"replayed event {name} is missing")


def test_it_says_that_it_could_not_look_where_nobody_answers(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert verifier.main(["--config", str(run.path), "--redis", "redis://127.0.0.1:1/0", "--processes", "1"]) == 2
    assert "could not look" in capsys.readouterr().err


# -- at any moment ----------------------------------------------------------------------------------------------------


def findings(run: Run) -> list[str]:
    watcher = Watcher(run.config)
    watcher.look()
    return list(watcher.wrong)


def test_of_a_real_run_nothing_is_wrong_at_any_moment(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "verdict.json"
    assert verifier.main(["--config", str(run.path), "--live", "--seconds", "0.1", "--json", str(out)]) == 0
    assert json.loads(out.read_text())["checked"] == {"looks": 1, "refused": 0}


def test_that_nobody_answered_is_no_finding(run: Run) -> None:
    away = ["--redis", "redis://127.0.0.1:1/0"]
    assert verifier.main(["--config", str(run.path), "--live", "--seconds", "0.1", *away]) == 2


def test_an_offset_beyond_the_end_is_seen_at_any_moment(run: Run, state: Redis) -> None:
    def ahead(head: Json) -> None:
        head["offsets"][run.config.topics.labels] += 1
        head["ledger"][run.config.topics.labels]["orphan"] += 1

    key = f"{task(run)}:head"
    state.hset(key, "body", sealed(state.hget(key, "body"), ahead))
    (said,) = findings(run)
    assert "and the log ends at" in said


def test_an_offset_that_went_back_is_seen_at_any_moment(run: Run, state: Redis) -> None:
    watcher = Watcher(run.config)
    watcher.look()

    def behind(head: Json) -> None:
        head["offsets"][run.config.topics.labels] -= 1
        head["ledger"][run.config.topics.labels]["orphan"] -= 1

    key = f"{task(run)}:head"
    state.hset(key, "body", sealed(state.hget(key, "body"), behind))
    watcher.look()
    (said,) = watcher.wrong
    assert "the committed offset went back from" in said


@pytest.mark.usefixtures("state")
def test_a_dead_letter_that_is_counted_and_was_not_sent_is_seen_at_any_moment(run: Run) -> None:
    change_ledger(run, "predictions", {"dead_letter": 1, "applied": -1})
    (said,) = findings(run)
    assert "dead letters are counted up to offset" in said


@pytest.mark.usefixtures("state")
def test_a_sum_that_is_not_right_is_seen_at_any_moment(run: Run) -> None:
    change_ledger(run, "predictions", {"applied": 1})
    (said,) = findings(run)
    assert "the ledger counts" in said


def test_a_decision_that_was_not_published_is_seen_at_any_moment(run: Run, state: Redis) -> None:
    def more(head: Json) -> None:
        head["alerts"]["opened"] += 1

    key = f"{model(run)}:head"
    state.hset(key, "body", sealed(state.hget(key, "body"), more))
    (said,) = findings(run)
    assert "alert events were decided and do not wait" in said


# -- state ------------------------------------------------------------------------------------------------------------


def task(run: Run, partition: int = 0) -> str:
    return f"driftline:{{task:{run.config.group}.predictions:{partition}}}"


def model(run: Run) -> str:
    return f"driftline:{{model:{run.config.group}:loans}}"


def sealed(data: bytes, change: Callable[[Any], Any]) -> bytes:
    """Sealed bytes with another payload under a right checksum."""
    magic, version, kind, _ = struct.unpack_from("<4sH4sI", data)
    value = msgspec.msgpack.decode(data[14:])
    payload = msgspec.msgpack.encode(change(value) or value)
    return struct.pack("<4sH4sI", magic, version, kind, zlib.crc32(payload)) + payload


@pytest.fixture
def state(run: Run) -> Iterator[Redis]:
    """Redis, put back as it was at the end."""
    before = {key: run.redis.dump(key) for key in run.redis.keys("*")}
    yield run.redis
    run.redis.flushall()
    for key, data in before.items():
        run.redis.restore(key, 0, data)


def change_ledger(run: Run, half: str, change: dict[str, int]) -> None:
    topic = getattr(run.config.topics, half)

    def counted(head: Json) -> None:
        for outcome, n in change.items():
            head["ledger"][topic][outcome] += n

    key = f"{task(run)}:head"
    run.redis.hset(key, "body", sealed(run.redis.hget(key, "body"), counted))


@pytest.mark.usefixtures("state")
def test_a_record_that_was_lost_is_named(run: Run) -> None:
    change_ledger(run, "predictions", {"applied": -1})
    said = run.verify().differences
    assert any("/0, outcome applied: expected" in d for d in said)
    assert any("the ledger counts" in d for d in said)


@pytest.mark.usefixtures("state")
def test_a_record_that_was_counted_twice_is_named(run: Run) -> None:
    change_ledger(run, "labels", {"duplicate": 1})
    said = run.verify().differences
    assert any("/0, outcome duplicate: expected" in d for d in said)
    assert len(said) == 2


@pytest.mark.usefixtures("state")
def test_a_record_with_the_wrong_outcome_is_named(run: Run) -> None:
    change_ledger(run, "labels", {"duplicate": 1, "conflict": -1})
    assert len(run.verify().differences) == 2


def test_offsets_that_stand_before_the_end_are_named(run: Run, state: Redis) -> None:
    def behind(head: Json) -> None:
        head["offsets"][run.config.topics.labels] -= 1

    key = f"{task(run, 1)}:head"
    state.hset(key, "body", sealed(state.hget(key, "body"), behind))
    assert any("partition 1, committed offset of labels" in d for d in run.verify().differences)


@pytest.mark.parametrize(("kind", "word"), [("drift", "p_value"), ("performance", "labels")])
def test_a_window_that_was_changed_is_named(run: Run, state: Redis, kind: str, word: str) -> None:
    start = int(state.zrange(f"{model(run)}:cells:{kind}-results:loans", 3, 3)[0])
    key = f"{model(run)}:cell:{kind}-results:loans:{start}"
    records = orjson.loads(state.get(key))
    if kind == "drift":
        records[0]["cells"]["a"][word] *= 1.0001
    else:
        records[0][word] += 1
    state.set(key, orjson.dumps(records))
    (said,) = run.verify().differences
    assert f"{kind} window loans/{start}/v1/champion" in said


def test_a_window_that_is_missing_is_named(run: Run, state: Redis) -> None:
    starts = f"{model(run)}:cells:drift-results:loans"
    start = int(state.zrange(starts, 2, 2)[0])
    state.zrem(starts, start)
    (said,) = run.verify().differences
    assert f"drift window loans/{start}/v1/champion is missing" in said


def test_a_window_that_nobody_counted_is_named(run: Run, state: Redis) -> None:
    start, made_up = int(state.zrange(f"{model(run)}:cells:drift-results:loans", 2, 2)[0]), 60_000
    (record,) = orjson.loads(state.get(f"{model(run)}:cell:drift-results:loans:{start}"))
    data = orjson.dumps([record | {"window": [made_up, 2 * made_up]}])
    state.set(f"{model(run)}:cell:drift-results:loans:{made_up}", data)
    state.zadd(f"{model(run)}:cells:drift-results:loans", {made_up: made_up})
    assert any("should not be there" in d for d in run.verify().differences)


def test_a_pane_with_one_event_more_is_named(run: Run, state: Redis) -> None:
    start = int(state.zrange(f"{task(run)}:cells:features:loans", -1, -1)[0])
    key = f"{task(run)}:cell:features:loans:{start}"

    def counted(entries: list[Any]) -> None:
        counts = bytearray(zlib.decompress(entries[0][3]))
        counts[0:8] = (int.from_bytes(counts[0:8], "little") + 1).to_bytes(8, "little")
        entries[0][3] = zlib.compress(bytes(counts))

    state.set(key, sealed(state.get(key), counted))
    (said,) = run.verify().differences
    assert f"pane of features, partition 0, loans/{start}" in said


def test_damaged_bytes_are_named(run: Run, state: Redis) -> None:
    key = f"{task(run)}:head"
    data = bytearray(state.hget(key, "body"))
    data[len(data) // 2] ^= 1
    state.hset(key, "body", bytes(data))
    assert any("damaged" in d for d in run.verify().differences)


def outbox_entry(name: str) -> bytes:
    payload = msgspec.msgpack.encode({"event_id": name, "topic": "driftline.alerts"})
    return struct.pack("<4sH4sI", b"drft", 2, b"outb", zlib.crc32(payload)) + payload


def test_events_that_wait_are_named(run: Run, state: Redis) -> None:
    state.hset(f"{model(run)}:outbox", 99, outbox_entry("nobody has it"))
    (said,) = run.verify().differences
    assert "1 events of loans wait in the outbox: nobody has it" in said


def test_events_that_are_published_and_not_acknowledged_are_no_difference(run: Run, state: Redis) -> None:
    state.hset(f"{model(run)}:outbox", 99, outbox_entry(orjson.loads(run.outputs.alerts[0].value or b"")["id"]))
    assert run.verify().equal


# -- topics -----------------------------------------------------------------------------------------------------------


def with_event(raw: Raw, change: Callable[[Json], None]) -> Raw:
    event = orjson.loads(raw.value or b"")
    change(event)
    return Raw(raw.offset, raw.time, raw.appended, raw.key, orjson.dumps(event), raw.headers)


def of_kind(records: list[Raw], *kinds: str) -> int:
    return next(i for i, r in enumerate(records) if orjson.loads(r.value or b"")["data"].get("kind") in kinds)


def test_an_alert_that_is_missing_is_named(run: Run) -> None:
    def without(records: list[Raw]) -> list[Raw]:
        at = of_kind(records, "drift")
        return records[:at] + records[at + 1 :]

    said = run.verify(alerts=without(run.outputs.alerts)).differences
    assert any(d.startswith("alert event ") and "is missing" in d for d in said)
    assert any(d.startswith("alerts of loans, published and") for d in said)


def test_an_alert_of_a_family_that_is_not_recomputed_is_missed_by_the_evaluator_s_count(run: Run) -> None:
    def without(records: list[Raw]) -> list[Raw]:
        at = of_kind(records, "proxy", "labels", "service")
        return records[:at] + records[at + 1 :]

    (said,) = run.verify(alerts=without(run.outputs.alerts)).differences
    assert said.startswith("alerts of loans, published and opened: expected")


def test_an_alert_that_came_twice_is_no_difference(run: Run) -> None:
    assert run.verify(alerts=run.outputs.alerts * 2).equal


def test_an_id_with_two_payloads_is_named(run: Run) -> None:
    def another(event: Json) -> None:
        event["data"]["summary"] += "!"

    def more(records: list[Raw]) -> list[Raw]:
        return [*records, with_event(records[0], another)]

    (said,) = run.verify(alerts=more(run.outputs.alerts)).differences
    assert "two payloads under id" in said


def test_an_alert_with_another_payload_is_named(run: Run) -> None:
    def another(event: Json) -> None:
        event["data"]["evidence"]["n"] += 1

    def changed(records: list[Raw]) -> list[Raw]:
        at = of_kind(records, "performance")
        return [*records[:at], with_event(records[at], another), *records[at + 1 :]]

    (said,) = run.verify(alerts=changed(run.outputs.alerts)).differences
    assert "n: expected" in said


def test_a_retrain_request_for_other_data_is_named(run: Run) -> None:
    def another(event: Json) -> None:
        next(iter(event["data"]["training_range"]["offsets"][run.config.topics.labels].values()))[1] += 1

    def changed(records: list[Raw]) -> list[Raw]:
        return [with_event(records[0], another), *records[1:]]

    (said,) = run.verify(retrain=changed(run.outputs.retrain)).differences
    assert said.startswith("retrain event ")
    assert "offsets: expected" in said


def test_an_event_that_nobody_should_have_decided_is_named(run: Run) -> None:
    def another(event: Json) -> None:
        event["id"] = "made up"

    def more(records: list[Raw]) -> list[Raw]:
        return [*records, with_event(records[of_kind(records, "drift")], another)]

    said = run.verify(alerts=more(run.outputs.alerts)).differences
    assert any("made up should not be there" in d for d in said)


def test_a_dead_letter_that_is_missing_is_named(run: Run) -> None:
    (said,) = run.verify(letters=run.outputs.letters[1:]).differences
    assert said.endswith("is missing")


def test_dead_letters_that_came_twice_are_no_difference(run: Run) -> None:
    assert run.verify(letters=run.outputs.letters * 2).equal


def test_a_dead_letter_of_a_sound_record_is_named(run: Run) -> None:
    def more(records: list[Raw]) -> list[Raw]:
        one = records[0]
        name = f"{run.config.topics.labels}/0/1".encode()
        return [*records, Raw(0, 0, one.appended, one.key, one.value, {**one.headers, "driftline.id": name})]

    (said,) = run.verify(letters=more(run.outputs.letters)).differences
    assert said.endswith("is of a record that is sound")


def test_a_dead_letter_with_other_bytes_is_named(run: Run) -> None:
    def changed(records: list[Raw]) -> list[Raw]:
        one = records[0]
        return [Raw(0, 0, one.appended, one.key, b"other bytes", one.headers), *records[1:]]

    (said,) = run.verify(letters=changed(run.outputs.letters)).differences
    assert said.endswith("does not hold the record's bytes")


def test_an_input_that_is_gone_cannot_be_looked_at(run: Run) -> None:
    gone = run.config.topics.model_copy(update={"labels": "nowhere"})
    with pytest.raises(CannotLookError, match="nowhere"):
        verify(run.config.model_copy(update={"topics": gone}))


# -- the journal ------------------------------------------------------------------------------------------------------

SHARD = "{task:driftline.predictions:3}"


def clock(time_ms: int, offset: int = 0) -> Json:
    return {
        "entry": "clock",
        "topic": "predictions",
        "time_ms": time_ms,
        "offsets": {"predictions": offset, "labels": 0},
    }


def entries(token: str, epoch: int, number: int, *said: Json) -> Json:
    return {
        "record": "entries",
        "shard": SHARD,
        "token": token,
        "epoch": epoch,
        "number": number,
        "entries": list(said),
    }


def claim(token: str, epoch: int) -> Json:
    return {"record": "claim", "shard": SHARD, "token": token, "epoch": epoch, "sequence": 0}


def understood(*records: Json) -> verifier_journal.Journal:
    raws = [Raw(i, 0, False, None, orjson.dumps(r), {}) for i, r in enumerate(records)]  # noqa: FBT003  # a plain value
    return verifier_journal.understood({0: raws})


def test_entries_count_in_the_order_of_the_log_and_a_repeat_counts_once() -> None:
    first, second = clock(1), clock(2, 5)
    journal = understood(
        claim("a", 1), entries("a", 1, 0, first), entries("a", 1, 0, first), entries("a", 1, 1, second)
    )
    assert journal.entries["predictions", 3] == [first, second]
    assert journal.wrong == []


def test_entries_of_a_worker_that_was_replaced_do_not_count() -> None:
    journal = understood(claim("a", 1), claim("b", 2), entries("a", 1, 0, clock(1)), entries("b", 2, 0, clock(2)))
    assert journal.entries["predictions", 3] == [clock(2)]
    assert journal.unheeded == 1


def test_a_claim_that_comes_second_with_the_same_epoch_changes_nothing() -> None:
    journal = understood(claim("a", 2), claim("b", 2), entries("a", 2, 0, clock(1)))
    assert journal.entries["predictions", 3] == [clock(1)]
    assert journal.unheeded == 1


def test_two_owners_under_one_epoch_are_named() -> None:
    journal = understood(claim("a", 2), claim("b", 2), entries("a", 2, 0, clock(1)), entries("b", 2, 0, clock(2)))
    assert "two owners" in journal.wrong[0]


def test_entries_that_go_back_in_the_log_are_named() -> None:
    journal = understood(claim("a", 1), entries("a", 1, 0, clock(1, 9)), claim("b", 2), entries("b", 2, 0, clock(2, 8)))
    assert "took effect before the one" in journal.wrong[0]


def test_a_clock_entry_that_a_record_contradicts_is_named() -> None:
    old = Raw(7, 99, True, None, b"", {})  # noqa: FBT003  # a plain value
    assert any(verifier_expected.untrue("predictions", 3, old, [clock(100, 7)]))
    assert not any(verifier_expected.untrue("predictions", 3, old, [clock(99, 7)]))
    assert not any(verifier_expected.untrue("predictions", 3, old, [clock(100, 8)]))
