"""What is decided about segments: each against its own part of the reference, within the budget, and where a model is worst."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from detectors.performance import count_classes
from detectors.reference import Reference
from schemas.alerts import AlertEvent
from schemas.config import ModelConfig
from schemas.identifiers import StreamKey
from schemas.settings import Topics
from streams.engine import announce, drift_family, performance_family, quality_family, sequential_family
from streams.engine.families import Book, stream_of, stream_text
from streams.engine.plan import Model, compile_plan
from streams.engine.shape import HEADER
from streams.engine.windows import Window
from tests.engine.outcome_vectors import by_arrival, by_prediction
from tests.engine.watched import TIME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from streams.engine.alerts import Change

SIZE = 600_000
WHOLE = StreamKey("loans", "v1", "champion")
DE, FR, XX = (WHOLE._replace(segment=f"country={c}") for c in ("de", "fr", "xx"))
SHARE = {"de": 0.7, "fr": 0.3}
"""Of the rows of each country, those that are positive: a segment is never like all traffic."""


@cache
def reference() -> Reference:
    """Amounts around 0 in de, around 2 in fr; answers right nine times in ten in both."""
    rng = np.random.default_rng(5)
    n = 20_000
    country = rng.choice(["de", "fr"], n, p=[0.6, 0.4])
    label = rng.random(n) < np.where(country == "de", SHARE["de"], SHARE["fr"])
    answer = label ^ (rng.random(n) < 0.1)
    table = {
        "amount": rng.normal(size=n) + 2 * (country == "fr"),
        "country": country.tolist(),
        "prediction": np.where(answer, "yes", "no").tolist(),
        "label": np.where(label, "yes", "no").tolist(),
    }
    return Reference.build(table, task="binary", positive_class="yes", segments=["country"])


def model(**more: Any) -> Model:  # noqa: ANN401  # fields of the configuration
    said = {"task": "binary", "positive_class": "yes", "reference": "unused.json", "segments": ["country"]} | more
    config = ModelConfig.model_validate(said)
    return compile_plan("predictions", {"loans": config}, {"loans": [reference()]}, 0).models[0]


def window(watched: Model, i: int, vectors: Mapping[StreamKey, NDArray[np.int64]]) -> Window:
    made = Window(TIME + i * SIZE, TIME + (i + 1) * SIZE, {s: (reference().shape_hash, v) for s, v in vectors.items()})
    made.references = {s: watched.reference_of(s, reference().shape_hash, None) for s in vectors}
    return made


def features(amount: NDArray[np.float64], country: list[str]) -> NDArray[np.int64]:
    """A pane's vector of these rows."""
    columns = {"amount": amount, "country": country, "prediction": ["yes"] * len(country)}
    counts = [s.slots_of(columns[s.name]) for s in reference().subjects]  # type: ignore[arg-type]  # lists and arrays alike
    return np.concatenate(([len(country), 0, len(country)], *counts)).astype(np.int64)


def drift(watched: Model, shift: float) -> list[Change]:
    """Three windows of 1,200 rows in which the amounts of fr have moved."""
    rng = np.random.default_rng(7)
    book = Book()
    changes: list[Change] = []
    for i in range(3):
        de, fr = features(rng.normal(size=720), ["de"] * 720), features(2 + shift + rng.normal(size=480), ["fr"] * 480)
        xx = features(rng.normal(size=400), ["xx"] * 400)
        made = window(watched, i, {WHOLE: de + fr, DE: de, FR: fr, XX: xx})
        found, records = drift_family.step(book, watched, made, lambda s, _, m=made: {1: m.streams[s][1]})  # type: ignore[misc]
        changes += found
        assert [r["segment"] for r in records] == ["", "country=de", "country=fr", "country=xx"]
        assert quality_family.step(Book(), watched, made)[0] == []
    return changes


def test_a_segment_is_compared_with_its_own_part_of_the_reference() -> None:
    watched = model(monitors=[{"drift": "features"}])
    assert {c.stream for c in drift(watched, 0.0) if c.subject == "amount"} <= {WHOLE}
    assert not [c for c in drift(watched, 0.0) if c.stream in {DE, FR, XX}]
    moved = [c for c in drift(watched, 1.0) if c.subject == "amount"]
    assert {c.stream for c in moved} == {WHOLE, FR}
    assert len({c.condition.incident for c in moved}) == 1
    assert len({c.condition.alert_id for c in moved}) == 2


def test_an_alert_names_its_segment() -> None:
    (change,) = [
        c for c in drift(model(monitors=[{"drift": "features"}]), 1.0) if c.stream == FR and c.subject == "amount"
    ]
    event = announce.alert(change, "test", Topics(), "now")
    data = msgspec.json.decode(event.value, type=AlertEvent)
    assert data.data.subject.segment == {"country": "fr"}
    assert data.subject == "loans/v1/champion/country=fr/amount"
    assert data.data.summary.startswith("loans v1 (country=fr): amount has drifted")


def outcomes(n: int, wrong: int) -> NDArray[np.int64]:
    """So many labelled answers, half of them positive."""
    actual = np.arange(n) % 2
    return count_classes(actual, actual ^ (np.arange(n) < wrong), "binary", 2)


def test_a_segment_that_got_worse_is_named_and_so_is_where_the_model_is_worst() -> None:
    watched = model(monitors=[{"performance": ["accuracy"]}])
    parts = {DE: outcomes(3000, 300), FR: outcomes(1000, 400), XX: outcomes(400, 60)}
    vectors = {WHOLE: sum(parts.values()), **parts}
    book = Book()
    changes: list[Change] = []
    records: list[dict[str, Any]] = []
    for i in range(2):
        made = window(watched, i, {s: by_prediction(np.asarray(v)) for s, v in vectors.items()})
        found, kept = performance_family.step(book, watched, made)
        changes, records = changes + found, records + kept
    assert {c.stream for c in changes} == {WHOLE, FR}  # of xx the reference knows nothing
    (whole,) = [c for c in changes if c.stream == WHOLE]
    assert [(s.segment, s.labels) for s in whole.evidence.segments] == [({"country": "fr"}, 1000)]
    assert whole.summary.endswith("worst in country=fr)")
    (of_fr,) = [c for c in changes if c.stream == FR]
    assert of_fr.evidence.segments == []
    assert [w["segment"] for w in records[0]["worst"]["accuracy"]] == ["country=fr"]
    assert records[0]["worst"]["accuracy"][0]["value"] == pytest.approx(0.6)
    assert all("worst" not in r for r in records[1:4])


def test_a_segment_without_a_part_in_the_reference_has_no_sequential_alarm() -> None:
    watched = model()
    series: dict[str, Any] = {}
    for i in range(40):
        wrong = 0 if i < 20 else 80
        vector = by_arrival(outcomes(100, wrong))
        sequential_family.step(Book(), series, watched, window(watched, i, {FR: vector, XX: vector}))
    assert list(series) == [stream_text(FR)]


@pytest.mark.parametrize("segment", ["", "country=de", "a=b,c=d"])
def test_the_key_of_a_stream_in_a_book_tells_the_stream(segment: str) -> None:
    stream = WHOLE._replace(segment=segment)
    assert stream_of("loans", stream_text(stream)) == stream


def test_header_of_feature_vectors_is_what_the_tests_above_assume() -> None:
    vector = features(np.zeros(3), ["de"] * 3)
    assert len(vector) == model().default.width
    assert vector[:HEADER].tolist() == [3, 0, 3]
