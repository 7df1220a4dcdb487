"""Quality monitors: the fault each is for opens an alert in time, ordinary traffic opens none, and a life ends as it should."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

from detectors.reference import Reference
from schemas.config import Alerts, FeatureSetConfig, ModelConfig
from schemas.control import RetrainSucceeded
from schemas.identifiers import StreamKey
from schemas.settings import Topics
from streams.engine import announce, quality_family
from streams.engine.evaluator import Evaluator
from streams.engine.families import Book
from streams.engine.plan import compile_plan
from streams.engine.retrain import Request
from streams.engine.shape import HEADER
from streams.engine.windows import Window
from streams.replay import Replay
from tests.property import story

if TYPE_CHECKING:
    from pathlib import Path

    from streams.engine.alerts import Change
    from streams.engine.plan import Model

STREAM = StreamKey("loans", "v1", "champion")
SIZE = 600_000
ROWS = 20_000
N = 1_000
Values = dict[str, list[Any]]


def traffic(rng: np.random.Generator, n: int, *, missing: float = 0.001) -> Values:
    """Rows as the reference has them: a number that is missing now and then, a category, a number with two values."""
    amounts = [None if gap else v for gap, v in zip(rng.random(n) < missing, rng.normal(100, 20, n), strict=True)]
    return {
        "amount": amounts,
        "country": rng.choice(["de", "fr", "uk"], n, p=[0.7, 0.29, 0.01]).tolist(),
        "a:b": rng.choice([0.0, 1.0], n).tolist(),
    }


REFERENCE = Reference.build(
    {**traffic(np.random.default_rng(1), ROWS), "prediction": ["yes", "no"] * (ROWS // 2)},
    task="binary",
    positive_class="yes",
)


def watched(**said: Any) -> Model:  # noqa: ANN401  # fields of ModelConfig
    config = {"task": "binary", "positive_class": "yes", "reference": "unused.json"} | said
    return compile_plan("predictions", {"loans": ModelConfig.model_validate(config)}, {"loans": [REFERENCE]}, 0).models[
        0
    ]


class Stream:
    """One stream of windows through the family."""

    def __init__(self, model: Model) -> None:
        self.model, self.book, self.at, self.random = model, Book(), 0, np.random.default_rng(2)

    def see(self, values: Values | None = None, /, **changes: list[Any]) -> list[Change]:
        """One window: ordinary traffic with ``changes``."""
        found = (traffic(self.random, N) if values is None else values) | changes
        reference = self.model.reference
        slots = [s.slots_of(found.get(s.name, ["yes", "no"])) for s in reference.subjects]
        vector = np.concatenate([np.zeros(HEADER, np.int64), *slots])
        window = Window(self.at, self.at + SIZE, {STREAM: (reference.shape_hash, vector)})
        window.references = {STREAM: reference}
        self.at += SIZE
        changes_, self.kept = quality_family.step(self.book, self.model, window)
        return changes_

    def told(self, values: Values | None = None, /, **changes: list[Any]) -> list[tuple[str, str, str]]:
        """What one window changes: transition, subject, severity."""
        return [(c.transition, c.subject, c.condition.severity) for c in self.see(values, **changes)]


def with_nulls(stream: Stream, share: float) -> list[Any]:
    return traffic(stream.random, N, missing=share)["amount"]


def test_five_per_cent_of_nulls_open_an_alert_after_one_window() -> None:
    stream = Stream(watched())
    assert stream.told() == []
    [change] = stream.see(amount=with_nulls(stream, 0.06))
    assert (change.transition, change.subject, change.condition.severity) == ("opened", "amount:missing", "warning")
    assert change.evidence.statistic == "missing"
    assert change.evidence.reference_value == pytest.approx(0.001, abs=0.001)
    assert change.evidence.value == pytest.approx(0.06, abs=0.02)
    assert change.evidence.n == N
    assert change.summary.startswith("loans v1: amount is missing in ")
    assert stream.told(amount=with_nulls(stream, 0.06)) == []


def test_a_small_leak_opens_an_alert_when_two_of_three_windows_agree() -> None:
    stream = Stream(watched())
    leak = [None] * 8 + traffic(stream.random, N - 8, missing=0)["amount"]
    assert stream.told(amount=leak) == []
    assert stream.told() == []
    assert stream.told(amount=leak) == [("opened", "amount:missing", "info")]


def test_a_feature_that_is_gone_is_critical_at_once_and_resolves_after_three_good_windows() -> None:
    stream = Stream(watched())
    assert stream.told(country=[None] * N) == [("opened", "country:missing", "critical")]
    assert [stream.told() for _ in range(3)] == [[], [], [("resolved", "country:missing", "critical")]]


@pytest.mark.parametrize(
    ("subject", "changes"),
    [
        ("country:unseen", {"country": ["xx"] * 100 + ["de"] * 600 + ["fr"] * 300}),
        ("amount:out_of_range", {"amount": [500.0] * 60}),
        ("amount:type_error", {"amount": ["n/a"] * 60}),
        ("a:b:constant", {"a:b": [1.0] * N}),
    ],
)
def test_each_fault_opens_its_alert(subject: str, changes: Values) -> None:
    stream = Stream(watched())
    values = {k: [*v, *traffic(stream.random, N - len(v), missing=0)[k]] for k, v in changes.items()}
    assert [(t, s) for t, s, _ in stream.told(**values)] == [("opened", subject)]


def test_an_alert_that_grows_escalates_and_a_high_tier_is_stricter() -> None:
    stream = Stream(watched(tier="high"))
    assert stream.told(amount=with_nulls(stream, 0.03)) == [("opened", "amount:missing", "warning")]
    assert stream.told(amount=with_nulls(stream, 0.1)) == [("escalated", "amount:missing", "critical")]


def test_the_worst_comes_first_and_all_are_ranked_in_the_evidence() -> None:
    stream = Stream(watched())
    changes = stream.see(country=[None] * N, amount=with_nulls(stream, 0.2))
    assert [c.subject for c in changes] == ["country:missing", "amount:missing"]
    assert [f.feature for f in changes[1].evidence.features] == ["country:missing", "amount:missing"]
    assert len({c.condition.incident for c in changes}) == 1


def test_the_event_names_the_feature_and_the_check() -> None:
    stream = Stream(watched())
    [change] = stream.see({**traffic(stream.random, N), "a:b": [1.0] * N})
    event = orjson.loads(announce.alert(change, "group", Topics(), "2026-01-01T00:00:00Z").value)
    subject = event["data"]["subject"]
    assert (subject["feature"], subject["metric"], event["data"]["kind"]) == ("a:b", "constant", "quality")
    assert event["subject"] == "loans/v1/champion/a:b:constant"
    assert event["data"]["evidence"]["bins"] == [["from 1", pytest.approx(0.5, abs=0.02), 1.0]] or event["data"][
        "evidence"
    ]["bins"] == [["= 1", pytest.approx(0.5, abs=0.02), 1.0]]


def test_a_handful_of_rows_decides_nothing() -> None:
    stream = Stream(watched())
    assert stream.told({name: [None] * 9 for name in ("amount", "country", "a:b")}) == []
    assert stream.book.conditions == {}


def test_beside_a_small_reference_one_window_decides_and_none_confirms_another() -> None:
    stream = Stream(watched())
    many = 3 * N  # the reference has less than ten times as many rows
    leak = {
        **traffic(stream.random, many),
        "amount": [None] * 15 + traffic(stream.random, many - 15, missing=0)["amount"],
    }
    assert [stream.told(leak) for _ in range(4)] == [[]] * 4
    gone = {**traffic(stream.random, many), "amount": [None] * many}
    assert stream.told(gone) == [("opened", "amount:missing", "critical")]


def test_only_those_who_want_it_have_it() -> None:
    stream = Stream(watched(monitors=[{"drift": "features"}]))
    assert stream.told(country=[None] * N) == []
    assert stream.kept == {}
    assert watched(monitors=[{"quality": "features"}]).config.quality  # type: ignore[union-attr]  # a model's


def test_a_feature_set_is_always_watched() -> None:
    plain = Reference.build(traffic(np.random.default_rng(1), ROWS))
    config = FeatureSetConfig.model_validate({"reference": "unused.json"})
    stream = Stream(compile_plan("features", {"loans": config}, {"loans": [plain]}, 0).models[0])
    assert stream.told(country=[None] * N) == [("opened", "country:missing", "critical")]


def test_both_rules_together_spend_the_familys_share() -> None:
    alerts = Alerts(false_alarms="1 per 30d")
    once, confirmed, alone = quality_family.levels(alerts, 3_600_000, 40)
    tests = 30 * 24 * 40
    assert tests * once == pytest.approx(0.1)
    assert 2 * tests * confirmed**2 == pytest.approx(0.1)
    assert tests * alone == pytest.approx(0.2)
    assert quality_family.levels(Alerts(confirm="1 of 1"), 3_600_000, 40) == (alone, 0.0, alone)


def test_ordinary_traffic_stays_within_the_budget_and_leaves_hardly_a_trace() -> None:
    # 1,000 windows at a budget of one false alarm in 2 windows: quality may spend a fifth of it, 100 alerts. Exact tests of
    # rare things spend much less, because there is no number of hits whose probability is just the level.
    stream = Stream(watched(alerts={"false_alarms": "1 per 20m", "cooldown": 0}))
    opened = 0
    for _ in range(1_000):
        opened += sum(c.transition == "opened" for c in stream.see())
    assert 0 < opened <= 100
    assert len(stream.book.conditions["v1\x1fchampion"]) < len(quality_family.checks_of(REFERENCE).cells)


def test_the_record_of_a_window_holds_what_was_found() -> None:
    stream = Stream(watched())
    stream.see({**traffic(stream.random, N, missing=0), "country": ["xx"] * 2 + ["de"] * (N - 2)})
    [record] = stream.kept.values()
    assert list(record) == ["country:unseen"]
    assert (record["country:unseen"]["n"], record["country:unseen"]["share"]) == (N, 0.002)
    assert 0 < record["country:unseen"]["p_value"] < 0.1


def test_a_new_version_resolves_the_alerts_of_the_old_one() -> None:
    model = watched(retrain={})
    evaluator = Evaluator(model, ["task"], "group", Topics(), str)
    stream = Stream(model)
    stream.book = evaluator.head.quality
    stream.see(country=[None] * N)
    evaluator.head.policy.flight = Request("key", "started", 10**9, [], 0, SIZE, 0)
    evaluator.command(RetrainSucceeded(model="loans", request="key", model_version="v2", by="test"), 0, 0)
    [event] = [orjson.loads(e.value) for _, e in evaluator.events]
    assert event["type"] == "dev.driftline.alert.resolved.v1"
    assert (event["data"]["kind"], event["data"]["subject"]["metric"]) == ("quality", "missing")
    assert stream.see(country=[None] * N) == []


def test_in_a_whole_replay_quality_alerts_are_published_and_no_retraining_listens_to_them(tmp_path: Path) -> None:
    config = story.config(tmp_path)
    records = sorted(
        (r for rows in story.records(5).values() for r in rows), key=lambda r: (r.timestamp, r.topic, r.partition)
    )
    replay = Replay(config, records)
    replay.run()
    events = [orjson.loads(e.value) for e in replay.events if e.topic == config.topics.alerts]
    opened = {
        (e["data"]["model"], e["data"]["subject"]["feature"], e["data"]["subject"]["metric"])
        for e in events
        if e["data"]["kind"] == "quality"
    }
    assert opened == {(model, "a", "out_of_range") for model in ("loans", "customers")}
    quality = {e["data"]["alert_id"] for e in events if e["data"]["kind"] == "quality"}
    requests = [orjson.loads(e.value)["data"] for e in replay.events if e.topic == config.topics.retrain]
    assert requests
    assert not quality & {cause for r in requests for cause in r["alerts"]}
    windows = [w for w in replay.windows() if w["kind"] == "drift"]
    assert any("a:out_of_range" in str(w["quality"]) for w in windows)
