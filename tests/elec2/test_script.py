"""The program behind docs/elec2.md: its events say what the data set says, and its model knows no truth too early."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import polars as pl

from docs.scripts import elec2
from streams import logfile
from streams.logfile import Record
from tests.elec2.watched import PARTITIONS, ROWS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.elec2.watched import Row


def test_the_events_say_what_the_data_set_says(folder: Path, rows: list[Row], shared_data: Path) -> None:
    source = pl.read_csv(shared_data / "elec2.csv.gz")
    assert [row.label for row in rows] == source["class"].to_list()
    assert [row.time_ms for row in rows] == [elec2.BEGIN_MS + i * 30 * 60 * 1000 for i in range(ROWS)]
    features = [orjson.loads(r.value or b"") for r in logfile.read(folder / "events.jsonl.gz") if r.topic == "features"]
    for name in elec2.FEATURES:
        assert [e["features"][name] for e in features[:ROWS]] == source[name].to_list()
    assert all("date" not in e["features"] for e in features)


def test_no_answer_knows_a_truth_that_came_later(shared_data: Path) -> None:
    source = pl.read_csv(shared_data / "elec2.csv.gz").head(2_000)
    at = 1_500  # its truth is known to the answer two rows later, and to none before
    other = "UP" if source["class"][at] == "DOWN" else "DOWN"
    turned = source.with_columns(pl.Series("class", [*source["class"][:at], other, *source["class"][at + 1 :]]))
    scores = [[a.score for a in elec2.answers(table)] for table in (source, turned)]
    same = [a == b for a, b in zip(*scores, strict=True)]
    assert all(same[: at + 2])
    assert not same[at + 2]


def test_a_label_lands_on_the_partition_of_its_prediction(folder: Path) -> None:
    places: dict[str, dict[str, int]] = {"predictions": {}, "labels": {}, "features": {}}
    ends: dict[tuple[str, int], int] = {}
    for record in logfile.read(folder / "events.jsonl.gz"):
        assert record.offset == ends.get((record.topic, record.partition), 0)
        ends[record.topic, record.partition] = record.offset + 1
        places[record.topic][(record.key or b"").decode()] = record.partition
    named = [key for key in places["predictions"] if key.startswith("NSW-")]
    assert len(named) == ROWS
    assert [places["labels"][key] for key in named] == [places["predictions"][key] for key in named]
    assert len(ends) == 3 * PARTITIONS


def test_the_table_reads_events_from_a_topic_a_dump_and_a_replay_alike(tmp_path: Path) -> None:
    data: dict[str, object] = {"model": "market", "kind": "drift", "incident": "0123456789", "severity": "info"}
    data |= {"subject": {"feature": "day"}, "evidence": {"effect_size": 0.25}}
    event = orjson.dumps(
        {"id": "1", "type": "dev.driftline.alert.opened.v1", "time": "1997-05-15T00:00:00Z", "data": data}
    )
    logfile.write(tmp_path / "dump.jsonl", [Record("driftline.alerts", 0, 0, 0, b"market", event)])
    lines = [event, (tmp_path / "dump.jsonl").read_bytes(), orjson.dumps({"id": "1", "value": orjson.Fragment(event)})]
    tables = {elec2.table([line]) for line in lines}
    assert len(tables) == 1
    assert tables.pop().splitlines()[-1] == "| 1997-05-15 | market | drift | opened | 01234567 | day (0.25, info) |"
    assert len(elec2.table(lines, {"performance"}).splitlines()) == 2
