"""Real data: the New South Wales electricity market and a model that learns it, as docs/elec2.md shows it, on a real Kafka."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from docs.scripts import elec2
from schemas import config as configuration
from schemas.outbox import payload
from streams import logfile
from streams.replay import Replay
from tests.conftest import make_topic
from tests.elec2 import watched
from tests.elec2.watched import PARTITIONS, ROWS
from tests.services.redis import RedisService

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.elec2.watched import Row, Watched
    from tests.services.kafka import KafkaService

COMES_TO_LIFE = 17_424
ALIVE = {"vicprice", "vicdemand", "transfer"}
WEEK_MS = 7 * 24 * 3600 * 1000
ROWS_A_WEEK = 336

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def market(kafka: KafkaService, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """What one worker made of it."""
    live = tmp_path_factory.mktemp("live")
    for file in folder.iterdir():
        shutil.copy(file, live)
    names = ("predictions", "labels", "features", "control", "alerts", "retrain", "dead_letters", "journal")
    topics = {name: make_topic(kafka, f"elec2-{name.replace('_', '-')}", PARTITIONS, {}) for name in names}
    with RedisService() as redis:
        config = watched.configure(live, kafka.bootstrap, redis.url, topics)
        yield watched.run(config, live)


def opened(found: Watched, model: str, subjects: set[str], kind: str = "drift") -> list[dict[str, Any]]:
    events = [orjson.loads(value) for value in found.alerts.values()]
    return [
        e
        for e in events
        if e["type"] == "dev.driftline.alert.opened.v1"
        and e["data"]["model"] == model
        and e["data"]["kind"] == kind
        and e["data"]["subject"]["feature"] in subjects
    ]


def week_of(row: int) -> int:
    """The start of the window that a row lies in: windows are counted from 1970, so a week begins on a Thursday."""
    return (elec2.BEGIN_MS + row * elec2.STEP_MS) // WEEK_MS * WEEK_MS


def test_every_record_is_accounted_for_and_every_label_joins(market: Watched) -> None:
    counted = {half: {k: n for k, n in ledger.items() if n} for half, ledger in market.ledgers.items()}
    labels = counted["labels"]
    assert counted["predictions"] == {"applied": ROWS + PARTITIONS}
    assert counted["features"] == {"applied": ROWS + PARTITIONS}
    assert labels.pop("waiting", 0) + labels.pop("orphan", 0) == PARTITIONS  # the closing labels name nothing
    assert labels == {"applied": ROWS}
    assert market.received == dict.fromkeys(watched.INPUTS, ROWS + PARTITIONS)
    assert {half: sum(ledger.values()) for half, ledger in market.ledgers.items()} == market.received


@pytest.mark.parametrize("model", ["market", "half_hours"])
def test_the_columns_that_come_to_life_lead_the_first_incident_that_can_know(market: Watched, model: str) -> None:
    alerts = opened(market, model, ALIVE)
    assert sorted(e["data"]["subject"]["feature"] for e in alerts) == sorted(ALIVE)
    # Row 17,424 lies four days into its week; that week and the next are the first two of three that can agree.
    first = week_of(COMES_TO_LIFE)
    assert COMES_TO_LIFE - (first - elec2.BEGIN_MS) // elec2.STEP_MS == 4 * 48
    confirming = [[first, first + WEEK_MS], [first + WEEK_MS, first + 2 * WEEK_MS]]
    assert len({e["data"]["incident"] for e in alerts}) == 1
    for event in alerts:
        data, evidence = event["data"], event["data"]["evidence"]
        assert [data["window"]["start_ms"], data["window"]["end_ms"]] == confirming[1]
        assert [[w["start_ms"], w["end_ms"]] for w in evidence["windows"]] == confirming
        ranked = [(name, size) for name, size, _ in evidence["features"]]
        assert {name for name, _ in ranked[:3]} == ALIVE
        assert min(size for _, size in ranked[:3]) >= 15
        features = [size for name, size in ranked[3:] if name in elec2.FEATURES]
        assert 0 < max(features) < 0.2
        assert data["severity"] == "critical"
        assert evidence["n"] == ROWS_A_WEEK


@pytest.mark.parametrize("model", ["market", "half_hours"])
def test_constant_columns_are_quiet_before_and_never_again(market: Watched, model: str) -> None:
    for record in market.windows[model, "drift"]:
        begin = record["window"][0]
        if record["rows"] < 50:  # too few to decide; the closing record's window
            continue
        assert {record["cells"][name]["rejected"] for name in ALIVE} == {begin >= week_of(COMES_TO_LIFE)}


def test_nothing_that_only_tells_the_time_ever_alerts(market: Watched) -> None:
    assert opened(market, "market", {"day", "period"}) == []
    assert opened(market, "half_hours", {"day", "period"}) == []


def test_the_feature_pipeline_and_the_model_saw_the_same_drift(market: Watched) -> None:
    half_hours = {tuple(r["window"]): r["cells"] for r in market.windows["half_hours", "drift"]}
    model = {tuple(r["window"]): r["cells"] for r in market.windows["market", "drift"]}
    assert half_hours.keys() == model.keys()
    for window, cells in half_hours.items():
        for name in elec2.FEATURES:
            assert cells[name]["psi"] == model[window][name]["psi"]
            assert cells[name]["p_value"] == model[window][name]["p_value"]


def test_performance_of_every_window_is_what_naive_counting_gives(market: Watched, rows: list[Row]) -> None:
    naive: dict[int, list[Row]] = {}
    for row in rows:
        naive.setdefault(row.time_ms // WEEK_MS * WEEK_MS, []).append(row)
    found = {r["window"][0]: r for r in market.windows["market", "performance"] if r["labels"]}
    assert found.keys() == naive.keys()
    assert sum(r["labels"] for r in found.values()) == ROWS
    for begin, week in naive.items():
        metrics = found[begin]["metrics"]
        assert metrics["accuracy"]["n"] == len(week)
        assert metrics["accuracy"]["value"] == sum(r.prediction == r.label for r in week) / len(week)
        hits = sum(r.prediction == r.label == "UP" for r in week)
        assert metrics["precision"]["value"] == hits / sum(r.prediction == "UP" for r in week)
        assert metrics["recall"]["value"] == hits / sum(r.label == "UP" for r in week)


def test_a_replay_of_the_file_decides_the_same_without_a_broker(market: Watched, folder: Path) -> None:
    path = folder / "replayed.yaml"
    path.write_text((folder / "monitor.yaml").read_text() + "group: elec2\n")
    replay = Replay(configuration.load(path), logfile.read(folder / "events.jsonl.gz"))
    replay.run()
    assert {e.event_id: payload(e.value) for e in replay.events} == market.alerts
    records = list(replay.windows())
    for (model, kind), expected in market.windows.items():
        mine = [r for r in records if r["model"] == model and r["kind"] == kind]
        assert [{k: v for k, v in r.items() if k not in {"model", "kind"}} for r in mine] == expected


@pytest.mark.parametrize("model", ["market", "half_hours"])
def test_columns_that_come_to_life_are_out_of_range_in_the_first_week_that_holds_any_of_it(
    market: Watched, model: str
) -> None:
    first = week_of(COMES_TO_LIFE)
    alive = [e for e in opened(market, model, ALIVE, "quality") if e["data"]["subject"]["metric"] == "out_of_range"]
    assert sorted(e["data"]["subject"]["feature"] for e in alive) == sorted(ALIVE)
    for event in alive:
        data = event["data"]
        assert [data["window"]["start_ms"], data["window"]["end_ms"]] == [first, first + WEEK_MS]
        assert data["evidence"]["value"] == 3 * 48 / ROWS_A_WEEK
        assert data["severity"] == "critical"


def test_nothing_is_missing_mistyped_or_constant_in_two_and_a_half_years(market: Watched) -> None:
    events = [orjson.loads(value)["data"] for value in market.alerts.values()]
    quality = [(d["model"], d["subject"]["metric"]) for d in events if d["kind"] == "quality"]
    assert set(quality) == {("market", "out_of_range"), ("half_hours", "out_of_range")}


def test_the_page_shows_the_alerts_that_were_published(market: Watched) -> None:
    page = (Path(__file__).parents[2] / "docs" / "elec2.md").read_text()
    assert elec2.table(market.alerts.values(), {"drift"}) in page
    quality = elec2.table(market.alerts.values(), {"quality"}).splitlines()
    assert "\n".join(line for line in quality if "half_hours" in line and "resolved" not in line) in page
    performance = elec2.table(market.alerts.values(), {"performance"}).splitlines()
    assert "\n".join(line for line in performance if "accuracy" in line) in page
