"""`driftline replay` over plain tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from streams.tables import prediction_records, table_records
from tests.cli import story
from tests.cli.conftest import Driftline


def frames(shift: float = 0.0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The story as two plain tables."""
    flat = [
        {**{k: v for k, v in e.items() if k != "features"}, **e["features"]} for e in story.predictions(shift=shift)
    ]
    return pl.DataFrame(flat), pl.DataFrame(story.labels(shift=shift))


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_tables_of_every_kind_are_counted_to_the_last_row(driftline: Driftline, tmp_path: Path, suffix: str) -> None:
    config = story.write_config(tmp_path)
    paths = [tmp_path / f"{name}.{suffix}" for name in ("scored", "truth")]
    for path, frame in zip(paths, frames(), strict=True):
        write: Callable[[Path], None] = getattr(frame, {"jsonl": "write_ndjson"}.get(suffix, f"write_{suffix}"))
        write(path)

    ran = driftline("replay", "--predictions", paths[0], "--labels", paths[1], "--config", config, "--json")

    assert ran.json == {
        "records": {"predictions": {"applied": story.EVENTS}, "labels": {"applied": story.EVENTS}},
        # Two windows of predictions; each is looked at once for drift and once for performance.
        "models": {"loans": {"windows": 4}},
        "alert_events": 0,
        "retrain_events": 0,
    }


def test_a_shift_gives_alert_events_and_windows_as_files(driftline: Driftline, tmp_path: Path) -> None:
    config = story.write_config(tmp_path, story.Setting(model={"alerts": {"confirm": "1 of 1"}}))
    scored, _ = frames(shift=2.0)
    scored.write_parquet(tmp_path / "scored.parquet")
    out = tmp_path / "out"

    ran = driftline("replay", "--predictions", tmp_path / "scored.parquet", "--config", config, "--out", out)

    assert ran.status == 0, ran.err
    opened = [e for e in lines(out / "events.jsonl") if e["value"]["type"].endswith("opened.v1")]
    assert "amount" in {e["value"]["data"]["subject"].get("feature") for e in opened}
    assert all((e["topic"], e["key"], e["id"]) == ("driftline.alerts", "loans", e["value"]["id"]) for e in opened)
    windows = [w for w in lines(out / "windows.jsonl") if w["kind"] == "drift"]
    assert sum(w["rows"] for w in windows) == story.EVENTS
    assert windows[0]["cells"]["amount"]["rejected"]


def test_a_table_without_a_needed_column_is_refused_by_name(driftline: Driftline, tmp_path: Path) -> None:
    config = story.write_config(tmp_path)
    frames()[0].drop("model_version").write_csv(tmp_path / "scored.csv")

    ran = driftline("replay", "--predictions", tmp_path / "scored.csv", "--config", config)

    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert "no column 'model_version'" in ran.err


def test_a_row_that_is_no_event_is_dead_lettered_and_not_lost(driftline: Driftline, tmp_path: Path) -> None:
    config = story.write_config(tmp_path)
    scored, _ = frames()
    broken = scored.with_columns(model_version=pl.when(pl.col("prediction_id") != "p7").then("model_version"))
    broken.write_parquet(tmp_path / "scored.parquet")

    ran = driftline("replay", "--predictions", tmp_path / "scored.parquet", "--config", config, "--json")

    assert isinstance(ran.json, dict)
    assert ran.json["records"] == {"predictions": {"applied": story.EVENTS - 1, "dead_letter": 1}, "labels": {}}


def test_dates_become_milliseconds_numbered_ids_become_text_and_other_columns_features(tmp_path: Path) -> None:
    path = tmp_path / "scored.parquet"
    moment = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    row = {
        "prediction_id": 7,
        "model": "loans",
        "model_version": 2,
        "event_time": moment,
        "score": 0.5,
        "age": float("nan"),
    }
    pl.DataFrame([row]).write_parquet(path)

    (record,) = prediction_records(path, "predictions")

    assert (record.offset, record.timestamp, record.key) == (0, story.BEGIN, b"7")
    assert orjson.loads(record.value or b"") == {
        "prediction_id": "7",
        "model": "loans",
        "model_version": "2",
        "event_time": story.BEGIN,
        "score": 0.5,
        "features": {"age": None},
    }


def test_a_label_without_a_time_is_known_at_its_predictions(tmp_path: Path) -> None:
    scored, truth = frames()
    scored.write_csv(tmp_path / "scored.csv")
    truth.drop("event_time").reverse().write_csv(tmp_path / "truth.csv")

    records = list(table_records(tmp_path / "scored.csv", tmp_path / "truth.csv", ("predictions", "labels")))

    at = {r.key: r.timestamp for r in records if r.topic == "predictions"}
    assert {r.key: orjson.loads(r.value or b"")["event_time"] for r in records if r.topic == "labels"} == at
