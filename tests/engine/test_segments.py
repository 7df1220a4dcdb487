"""Segments: every event counts once in all traffic and once in each definition, in panes and in outcomes (P1, P2, P8)."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.performance import layout
from detectors.reference import Reference
from schemas.config import ModelConfig
from schemas.errors import DeadLetterReason
from schemas.identifiers import segment_text, segment_values
from streams.edges.memory_journal import MemoryJournal
from streams.edges.memory_store import MemoryStore
from streams.engine import cells, snapshot
from streams.engine.decode import LabelDecoder, PredictionDecoder
from streams.engine.outcomes import REMEMBERED
from streams.engine.plan import Plan, compile_plan
from streams.engine.records import batch_of
from streams.engine.segments import Segments, segments_of
from streams.engine.shape import HEADER
from streams.engine.shard import claim
from streams.engine.store import ARRIVALS, FEATURES, PERFORMANCE
from streams.engine.task import Task
from streams.engine.task_restore import restore
from streams.engine.task_streams import TaskStreams

if TYPE_CHECKING:
    from collections.abc import Sequence

T0 = 1_767_225_600_000
MINUTE = 60_000
SHARD = "{task:test:0}"
KNOWN = ("de", "fr", "it")
"""Countries of the reference, by frequency."""


def reference(**more: Any) -> Reference:  # noqa: ANN401  # whatever `Reference.build` takes
    table: dict[str, Any] = {
        "amount": [1.0, 2.0, 3.0, 4.0] * 50,
        "country": (["de"] * 5 + ["fr"] * 3 + ["it"] * 2) * 20,
        "prediction": ["yes", "no"] * 100,
        "score": [0.9, 0.1] * 100,
        "label": ["yes", "no"] * 100,
    }
    return Reference.build(table, task="binary", positive_class="yes", **more)


def config(segments: Sequence[Any], **more: Any) -> ModelConfig:  # noqa: ANN401  # fields of the configuration
    said = {"task": "binary", "positive_class": "yes", "reference": "unused.json", "segments": segments} | more
    return ModelConfig.model_validate(said)


def plan(segments: Sequence[Any], **more: Any) -> Plan:  # noqa: ANN401  # fields of the configuration
    return compile_plan("predictions", {"loans": config(segments, **more)}, {"loans": [reference()]}, 300_000)


def event(i: int, *, time: int, version: str = "v1", **more: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
    said = {"prediction_id": f"p{i}", "model": "loans", "model_version": version, "event_time": time}
    return said | {"prediction": "yes" if i % 3 else "no", "score": 0.7} | more


class Run:
    """One task over a list of predictions, then labels, in batches, with restarts."""

    def __init__(self, make: Any, store: MemoryStore | None = None) -> None:  # noqa: ANN401  # a plan's maker
        """Nothing read yet."""
        self.make, self.store, self.journal = make, store or MemoryStore(), MemoryJournal()
        self.start()

    def start(self) -> None:
        """Claim the shard and load what was committed."""
        made = self.make()
        self.decoder, self.labels = PredictionDecoder(made, "predictions"), LabelDecoder(made)
        self.shard = claim(self.store, self.journal, [SHARD], lambda: "token")[SHARD]
        body = self.shard.body
        self.task = (
            Task(made, SHARD, "predictions", "labels")
            if body is None
            else restore(made, SHARD, ("predictions", "labels"), body, self.store, None)
        )

    def take(self, topic: str, events: Sequence[dict[str, Any]]) -> None:
        """Read one batch."""
        at = self.task.offsets[topic]
        rows = [(0, at + i, T0 + 40 * MINUTE, json.dumps(e).encode()) for i, e in enumerate(events)]
        batch = batch_of(topic, rows)
        if topic == "predictions":
            columns = self.decoder.decode(batch.values)
            assert columns.rejected == []
            self.task.predictions(columns, 0, len(batch), batch.offset, batch.timestamp_ms)
        else:
            found = self.labels.decode(batch.values, batch.timestamp_ms)
            self.task.labels(found, 0, len(batch), batch.offset, batch.timestamp_ms)

    def commit(self) -> None:
        """Write what changed."""
        self.shard.commit(self.task.stage)
        self.task.committed()

    def cells(self, kind: str) -> dict[tuple[int, str, str], list[int]]:
        """(start, version, segment) -> vector, of every cell in the store."""
        self.commit()
        starts = self.store.starts(SHARD, kind, "loans", 0, 1 << 62)
        found = {}
        for at, data in zip(starts, self.store.cells([(SHARD, (kind, "loans", s)) for s in starts]), strict=True):
            for entry in cells.decode(data or b"", "test"):
                found[at, entry.version, entry.segment] = snapshot.unpack_vector(entry.vector).tolist()
        return found


def test_each_event_counts_in_all_traffic_and_once_in_each_definition() -> None:
    run = Run(lambda: plan(["country", ["country", "channel"]], follow={"channel": ["web", "app"]}))
    run.take(
        "predictions",
        [
            event(0, time=T0, features={"country": "de"}, segments={"channel": "web"}),
            event(1, time=T0, features={"country": "de"}, segments={"country": "fr", "channel": "tv"}),
            event(2, time=T0, features={"country": "xx", "channel": "app"}),
            event(3, time=T0, features={}),
            event(4, time=T0, features={"country": None, "channel": "web"}, segments={"country": ""}),
        ],
    )
    rows = {segment: vector[0] for (_, _, segment), vector in run.cells(FEATURES).items()}
    assert rows == {
        "": 5,
        "country=de": 1,
        "country=fr": 1,
        "country=other": 1,
        "country=missing": 2,
        "country=de,channel=web": 1,
        "country=other,channel=other": 2,
        "country=missing,channel=missing": 2,
    }


COUNTRIES = st.sampled_from(["de", "fr", "it", "xx", "yy", "", "other", "missing", None])
CHANNELS = st.sampled_from(["web", "app", "tv", "a,b=c\\d", 1, 1.0, True, 2.5, ["list"], None])
EVENTS = st.lists(
    st.tuples(COUNTRIES, COUNTRIES, CHANNELS, st.sampled_from(["v1", "v2"]), st.integers(0, 9), st.booleans()),
    min_size=1,
    max_size=40,
)


def value(segments: dict[str, str], features: dict[str, Any], name: str) -> str:
    """The value of a name: from the segments, else the features; written from the page, not from the code."""
    found = segments[name] if name in segments else features.get(name)
    if isinstance(found, str):
        return found or "missing"
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, int) or (isinstance(found, float) and found == int(found)):
        return str(int(found))
    return "missing"


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=8), st.integers(1, 3))
def test_panes_and_outcomes_are_those_of_a_dictionary_however_it_was_cut(
    drawn: list[Any], steps: list[tuple[int, bool]], most: int
) -> None:
    made: list[dict[str, Any]] = []
    rows: Counter[tuple[int, str, str]] = Counter()
    remembered: Counter[tuple[int, str, str]] = Counter()
    outcomes: Counter[tuple[int, str, str]] = Counter()
    came: list[str] = []
    for i, (said, feature, channel, version, minute, labelled) in enumerate(drawn):
        segments = {} if said is None else {"country": said}
        features = {"country": feature, "channel": channel}
        made.append(event(i, time=T0 + minute * MINUTE, version=version, segments=segments, features=features))
        country, way = (value(segments, features, name) for name in ("country", "channel"))
        # country: the first `most` of the reference; (channel): the first `most` that come
        one = country if country in {*KNOWN[:most], "missing"} else "other"
        if way not in {"missing", "other"} and way not in came and len(came) < most:
            came.append(way)
        two = way if way in {*came, "missing"} else "other"
        streams = ["", segment_text(["country"], [one]), segment_text(["channel"], [two])]
        for stream in streams:
            rows[T0 + minute * MINUTE, version, stream] += 1
            remembered[T0, version, stream] += 1
            outcomes[T0, version, stream] += labelled

    def new() -> Plan:
        return plan(["country", "channel"], segment_values=most, windows={"lateness": "1h"})

    run = Run(new)
    at = 0
    for size, crash in steps:
        run.take("predictions", made[at : at + size]) if made[at : at + size] else None
        at += len(made[at : at + size])
        run.commit()
        if crash:
            run.start()
    if made[at:]:
        run.take("predictions", made[at:])
    run.commit()
    run.start()
    labels = [
        {"prediction_id": f"p{i}", "label": "yes", "event_time": T0 + 20 * MINUTE} for i, d in enumerate(drawn) if d[5]
    ]
    if labels:
        run.take("labels", labels)
    assert {k: v[0] for k, v in run.cells(FEATURES).items()} == rows
    performance = run.cells(PERFORMANCE)
    assert {k: v[REMEMBERED] for k, v in performance.items()} == remembered
    assert {k: v[0] for k, v in performance.items() if v[0]} == +outcomes
    arrived = {k: v[HEADER + layout.N] for k, v in run.cells(ARRIVALS).items()}
    assert arrived == {(T0 + 20 * MINUTE, *k[1:]): n for k, n in (+outcomes).items()}


@pytest.mark.parametrize("segments", [{"country": 1}, {"country": None}, {"x": ["de"]}, ["de"], "de", None])
def test_segments_that_are_no_object_of_texts_make_a_dead_letter(segments: object) -> None:
    columns = PredictionDecoder(plan(["country"]), "predictions").decode(
        [json.dumps(event(0, time=T0, segments=segments)).encode(), json.dumps(event(1, time=T0)).encode()]
    )
    assert [(r.row, r.reason) for r in columns.rejected] == [(0, DeadLetterReason.WRONG_TYPE)]
    assert columns.segments[0].rows.tolist() == [1]


def test_a_value_that_is_too_long_counts_as_other() -> None:
    run = Run(lambda: plan(["shop"]))
    run.take("predictions", [event(i, time=T0, segments={"shop": "x" * n}) for i, n in enumerate([256, 257, 10_000])])
    rows = {s: v[0] for (_, _, s), v in run.cells(FEATURES).items()}
    assert rows == {"": 3, "shop=" + "x" * 256: 1, "shop=other": 2}


def test_a_repeated_prediction_with_another_segment_is_a_duplicate() -> None:
    run = Run(lambda: plan(["country"]))
    run.take("predictions", [event(0, time=T0, segments={"country": c}) for c in ("de", "fr")])
    assert run.task.outcomes()["predictions"] == {"applied": 1, "duplicate": 1}
    assert {s: v[0] for (_, _, s), v in run.cells(FEATURES).items()} == {"": 1, "country=de": 1}


def test_segments_may_come_and_go_while_the_state_stays() -> None:
    run = Run(lambda: plan([]))
    run.take("predictions", [event(0, time=T0, features={"country": "de"})])
    run.commit()
    run.make = lambda: plan(["country"])
    run.start()
    run.take("predictions", [event(1, time=T0, features={"country": "de"})])
    run.commit()
    run.make = lambda: plan([])
    run.start()
    run.take("predictions", [event(2, time=T0, features={"country": "de"})])
    run.take("labels", [{"prediction_id": f"p{i}", "label": "yes", "event_time": T0} for i in range(3)])
    assert {s: v[0] for (_, _, s), v in run.cells(FEATURES).items()} == {"": 3, "country=de": 1}
    assert {s: v[0] for (_, _, s), v in run.cells(PERFORMANCE).items()} == {"": 3, "country=de": 1}


def test_beyond_the_cohorts_that_the_join_can_tell_apart_rows_count_as_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.engine.task_streams.MAX_COHORTS", 2)
    run = Run(lambda: plan(["country"]))
    run.take(
        "predictions", [event(i, time=T0, segments={"country": c}) for i, c in enumerate(["de", "fr", "it", "de"])]
    )
    rows = {s: v[0] for (_, _, s), v in run.cells(FEATURES).items()}
    assert rows == {"": 4, "country=de": 2, "country=fr": 1, "country=other": 1}


def test_beyond_the_streams_of_a_task_values_count_as_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.engine.task_streams.MAX_SEGMENT_STREAMS", 2)
    run = Run(lambda: plan(["country"]))
    run.take(
        "predictions", [event(i, time=T0, segments={"country": c}) for i, c in enumerate(["de", "fr", "it", "de"])]
    )
    rows = {s: v[0] for (_, _, s), v in run.cells(FEATURES).items()}
    assert rows == {"": 4, "country=de": 2, "country=fr": 1, "country=other": 1}


def followed(made: Segments) -> list[Any]:
    return [None if d.known is None else sorted(d.known) for d in made.definitions]


def test_which_values_are_followed_is_said_by_reference_or_configuration_before_the_order_of_coming() -> None:
    assert followed(segments_of(config(["country"]), reference())) == [[("de",), ("fr",), ("it",)]]
    assert followed(segments_of(config(["country"], segment_values=2), reference())) == [[("de",), ("fr",)]]
    assert followed(segments_of(config(["shop"]), reference())) == [None]
    assert followed(segments_of(config(["shop"], follow={"shop": ["b", "a"]}), reference())) == [[("a",), ("b",)]]
    both = config(["country", ["shop", "country"]], follow={"shop": ["b", "a"]}, segment_values=3)
    # weights b 1, a 1/2 times de 100, fr 60, it 40: the three largest are b-de 100, b-fr 60, a-de 50
    assert followed(segments_of(both, reference()))[1] == [("a", "de"), ("b", "de"), ("b", "fr")]
    built = reference(segments=["country"], segment_values=1)
    assert followed(segments_of(config(["country"]), built)) == [[("de",)]]
    assert [list(segment_values(k).values()) for k in built.segments] == [["de"], ["other"]]


def test_the_budget_is_half_for_all_traffic_and_half_for_what_can_be_followed() -> None:
    model = plan(["country", "shop"], segment_values=4).models[0]
    streams = {"whole": 1, "segments": 3 + 2 + 4 + 2}
    segment = model_stream("country=de")
    assert model.share(model_stream("")) + streams["segments"] * model.share(segment) == pytest.approx(1)
    assert model.share(model_stream("")) == 0.5
    assert plan([]).models[0].share(model_stream("")) == 1
    assert model.budget(segment).false_alarms == pytest.approx(0.5 / 11)


def model_stream(segment: str) -> Any:  # noqa: ANN401  # a StreamKey
    from schemas.identifiers import StreamKey  # noqa: PLC0415  # beside the one who uses it

    return StreamKey("loans", "v1", "champion", segment)


def test_cohorts_have_the_same_numbers_after_a_restart() -> None:
    run = Run(lambda: plan(["country", ["country", "channel"]]))
    rng = random.Random(1)
    events = [
        event(i, time=T0, segments={"country": rng.choice("abcde"), "channel": rng.choice("xyz")}) for i in range(200)
    ]
    run.take("predictions", events)
    run.commit()
    before: TaskStreams = run.task.streams
    run.start()
    after = run.task.streams
    assert after.members == before.members
    assert after.names == before.names
    run.take("predictions", events)
    assert after.members == before.members
    assert run.task.outcomes()["predictions"] == {"applied": 200, "duplicate": 200}


@given(st.lists(st.tuples(st.text(min_size=1), st.text()), min_size=1, max_size=4, unique_by=lambda p: p[0]))
def test_the_text_of_a_segment_tells_names_and_values(pairs: list[tuple[str, str]]) -> None:
    assert segment_values(segment_text(*zip(*pairs, strict=True))) == dict(pairs)
    assert segment_values("") == {}


def test_events_of_a_batch_are_counted_without_a_loop_over_them() -> None:
    """The maps are over distinct values: a dictionary that counts its misses sees one for each."""
    run = Run(lambda: plan(["country"]))
    columns = run.decoder.decode(
        [json.dumps(event(i, time=T0, segments={"country": "de"})).encode() for i in range(50)]
    )
    (found,) = columns.segments.values()
    assert found.texts == ("missing", "de")
    assert np.array_equal(found.codes, np.ones((1, 50), np.int64))


def test_values_followed_as_they_came_go_on_being_followed_after_a_restart_and_no_others() -> None:
    run = Run(lambda: plan(["shop"], segment_values=2))
    run.take("predictions", [event(i, time=T0, segments={"shop": s}) for i, s in enumerate("ab")])
    run.commit()
    run.start()
    run.take("predictions", [event(i, time=T0, version="v2", segments={"shop": s}) for i, s in enumerate("cab")])
    rows = {(v, s): found[0] for (_, v, s), found in run.cells(FEATURES).items() if s}
    assert rows == {
        ("v1", "shop=a"): 1,
        ("v1", "shop=b"): 1,
        ("v2", "shop=a"): 1,
        ("v2", "shop=b"): 1,
        ("v2", "shop=other"): 1,
    }


def test_what_a_segment_counts_is_what_a_task_without_segments_counts_of_its_rows_alone() -> None:
    rng = random.Random(4)
    events = []
    for i in range(150):
        country = rng.choice([*KNOWN, "xx"])
        features = {"amount": rng.uniform(0, 5), "country": country}
        answer = rng.choice(["yes", "no"])
        more: dict[str, Any] = {"features": features, "segments": {"channel": rng.choice("ab")}, "prediction": answer}
        events.append(event(i, time=T0 + rng.randrange(30) * MINUTE, score=rng.random(), **more))
    known = [{"prediction_id": f"p{i}", "label": rng.choice(["yes", "no"])} for i in range(0, 150, 2)]
    labels = [x | {"event_time": T0 + (31 + 50 * i) * MINUTE} for i, x in enumerate(known)]
    segmented = Run(lambda: plan(["country", ["channel", "country"]], windows={"lateness": "1h"}))
    segmented.take("predictions", events)
    segmented.take("labels", labels)
    found = {kind: segmented.cells(kind) for kind in (FEATURES, ARRIVALS, PERFORMANCE)}
    segments = {segment for vectors in found.values() for _, _, segment in vectors}
    assert len(segments) == 1 + 4 + 8
    for segment in segments:
        alone = Run(lambda: plan([], windows={"lateness": "1h"}))
        mine = [e for e in events if segment in {"", *of(e)}]
        ids = {e["prediction_id"] for e in mine}
        alone.take("predictions", mine)
        alone.take("labels", [x for x in labels if x["prediction_id"] in ids])
        for kind, vectors in found.items():
            # Offsets apart: those of the whole log, and of these records alone.
            expected = {at: v[:1] + v[HEADER:] for (at, _, _), v in alone.cells(kind).items()}
            assert {at: v[:1] + v[HEADER:] for (at, _, s), v in vectors.items() if s == segment} == expected


def of(said: dict[str, Any]) -> list[str]:
    """The segments of an event of the test above: by the page, no list knows `channel`, so that pairs are followed as they come."""
    country, channel = said["features"]["country"], said["segments"]["channel"]
    one = country if country in KNOWN else "other"
    both = f"channel={channel},country={country}"
    return [f"country={one}", both]
