"""`driftline reference`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from detectors.performance import metrics
from detectors.reference import Reference
from detectors.reference.subject import Subject
from streams.cli.sparkline import sparkline
from streams.edges.embedded import EmbeddedKafka
from streams.edges.redis_store import RedisStore
from tests.cli import story
from tests.cli.conftest import Driftline


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "train.csv"
    pl.DataFrame(story.columns(2_000, 1) | {"customer": np.arange(2_000)}).write_csv(path)
    return path


@pytest.fixture
def embedded() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka(["predictions", "labels"]) as kafka:
        yield kafka


def test_build_makes_the_reference_that_the_library_makes_of_the_same_table(
    driftline: Driftline, tmp_path: Path, table: Path
) -> None:
    out = tmp_path / "r.json"
    options = ["--task", "binary", "--positive-class", "yes", "--ignore", "customer", "--type", "country=categorical"]

    ran = driftline("reference", "build", table, "--out", out, *options)

    assert ran.status == 0
    expected = Reference.build(table, task="binary", positive_class="yes", ignore=["customer"])
    assert Reference.load(out) == expected
    assert expected.content_hash in ran.out


def test_show_says_how_the_model_performed_and_whether_the_budget_is_verified(
    driftline: Driftline, tmp_path: Path, table: Path
) -> None:
    out = tmp_path / "r.json"
    driftline("reference", "build", table, "--out", out, "--task", "binary", "--positive-class", "yes")

    shown, said = driftline("reference", "show", out), driftline("reference", "show", out, "--json")

    reference = Reference.load(out)
    assert reference.outcomes is not None
    accuracy = metrics(reference.outcomes, "binary", reference.classes)["accuracy"]
    assert re.search(rf"accuracy\s+│\s+{accuracy.value:.4f}", shown.out)
    assert json.loads(said.out)["performance"]["accuracy"]["standard_error"] == accuracy.standard_error
    assert json.loads(said.out)["budget"] in shown.out.splitlines()
    assert json.loads(said.out)["budget"].startswith("budget not verified: ")


def test_build_cuts_the_reference_like_the_windows_it_is_told(driftline: Driftline, tmp_path: Path) -> None:
    table, out = tmp_path / "month.csv", tmp_path / "r.json"
    rng = np.random.default_rng(5)
    times = np.arange(20_000) * 60_000 + 1_767_225_600_000
    pl.DataFrame({"amount": rng.normal(size=len(times)), "event_time": times}).write_csv(table)

    ran = driftline("reference", "build", table, "--out", out, "--window", "1h")

    ordinary = Reference.load(out).ordinary
    assert ordinary is not None
    assert ordinary.window_ms == 3_600_000
    assert "the reference covers 14 days, 28 are needed" in ran.out
    wrong = driftline("reference", "build", table, "--out", out, "--window", "an hour")
    assert (wrong.status, "--window cannot be 'an hour'" in wrong.err) == (2, True)
    nothing = driftline("reference", "build", table, "--out", out, "--window", "0m")
    assert (nothing.status, "--window cannot be zero" in nothing.err) == (2, True)
    assert driftline("reference", "build", table, "--out", out, "--window", "3600000").out == ran.out


def test_build_refuses_a_class_that_is_not_in_the_table(driftline: Driftline, tmp_path: Path, table: Path) -> None:
    out = tmp_path / "r.json"

    ran = driftline("reference", "build", table, "--out", out, "--task", "binary", "--positive-class", "maybe")

    assert ran.status == 2
    assert "maybe" in ran.err
    assert not out.exists()


def test_build_needs_a_table_or_a_topic_and_not_both(driftline: Driftline, tmp_path: Path, table: Path) -> None:
    for arguments in ([], [table, "--from-topic", "10"]):
        ran = driftline("reference", "build", *arguments, "--out", tmp_path / "r.json")
        assert (ran.status, "either" in ran.err) == (2, True)


def test_build_from_a_topic_takes_the_first_events_of_the_model_with_their_labels(
    driftline: Driftline, tmp_path: Path, embedded: EmbeddedKafka
) -> None:
    events, labels = story.predictions(400), story.labels(400)
    other = [{**e, "model": "cards", "features": {"amount": 99.0}} for e in events[:50]]
    bad = {"prediction_id": "bad", "event_time": events[0]["event_time"]}
    twice = [{**label, "label": "no"} for label in labels[:100]]
    story.produce(embedded.bootstrap, "predictions", [*other, bad, *events], 4)
    story.produce(embedded.bootstrap, "labels", [*labels[:250], *twice], 4)
    config = story.write_config(tmp_path, story.Setting(bootstrap=embedded.bootstrap))
    out = tmp_path / "from_topic.json"

    ran = driftline("reference", "build", "--from-topic", "300", "--model", "loans", "--out", out, "--config", config)

    assert ran.status == 0, ran.err
    rows = {
        "features": [e["features"] for e in events[:300]],
        "prediction": [e["prediction"] for e in events[:300]],
        "label": [label["label"] for label in labels[:250]] + [None] * 50,
        "event_time": [e["event_time"] for e in events[:300]],
    }
    assert Reference.load(out) == Reference.build(rows, task="binary", positive_class="yes")


def test_build_from_a_topic_that_holds_too_few_events_says_how_many_there_are(
    driftline: Driftline, tmp_path: Path, embedded: EmbeddedKafka
) -> None:
    story.produce(embedded.bootstrap, "predictions", story.predictions(20), 4)
    config = story.write_config(tmp_path, story.Setting(bootstrap=embedded.bootstrap))
    options = ["--model", "loans", "--out", tmp_path / "r.json", "--config", config]

    ran = driftline("reference", "build", "--from-topic", "300", *options)

    assert ran.status == 2
    assert "holds 20 predictions of model 'loans', 300 were asked for" in ran.err


def test_show_has_a_line_for_every_subject(driftline: Driftline, tmp_path: Path) -> None:
    story.write_config(tmp_path)

    ran = driftline("reference", "show", tmp_path / "reference.json")

    assert ran.status == 0
    for word in ("amount", "country", "prediction", "label", "numeric", "categorical", "█"):
        assert word in ran.out


def test_show_as_json_can_be_read_by_a_program(driftline: Driftline, tmp_path: Path) -> None:
    story.write_config(tmp_path)

    shown = driftline("reference", "show", tmp_path / "reference.json", "--json").json

    assert isinstance(shown, dict)
    assert [(s["name"], s["n"]) for s in shown["subjects"]] == [
        ("amount", 2000),
        ("country", 2000),
        ("prediction", 2000),
    ]
    assert shown["rows"] == 2000


def test_a_published_reference_is_found_by_the_workers_and_never_replaced(
    driftline: Driftline, tmp_path: Path, redis_url: str
) -> None:
    config = story.write_config(tmp_path, story.Setting(redis=redis_url))
    second = tmp_path / "second.json"
    Reference.build(story.columns(500, 3), task="binary", positive_class="yes").save(second)
    options = ["--model", "loans", "--version", "v2", "--config", config]

    assert driftline("reference", "publish", tmp_path / "reference.json", *options).status == 0
    again = driftline("reference", "publish", second, *options)

    assert again.status == 2
    assert "already has the reference" in again.err
    first = (tmp_path / "reference.json").read_bytes()
    assert RedisStore(redis_url).reference("loans", "v2") == (json.loads(first)["content_hash"], first)


def test_the_bars_of_a_numeric_subject_show_its_density_and_not_its_equally_filled_bins() -> None:
    values = np.random.default_rng(1).exponential(1, 20_000)
    subject: Subject = Reference.build({"x": values}).features[0]

    bars = sparkline(subject)

    heights = [" ▁▂▃▄▅▆▇█".index(bar) for bar in bars]
    assert heights[0] == 8
    assert sorted(heights, reverse=True) == heights


def test_build_refuses_a_table_that_holds_nothing_of_the_models_answers(driftline: Driftline, tmp_path: Path) -> None:
    path, out = tmp_path / "mine.csv", tmp_path / "r.json"
    pl.DataFrame({"amount": [1.0, 2.0, 3.0] * 50, "y_pred": ["a", "b", "a"] * 50}).write_csv(path)

    ran = driftline("reference", "build", path, "--out", out, "--task", "binary", "--positive-class", "a")

    assert ran.status == 2
    assert "--prediction" in ran.err
    assert not out.exists()
    named = driftline(
        "reference", "build", path, "--out", out, "--task", "binary", "--positive-class", "a", "--prediction", "y_pred"
    )
    assert named.status == 0
