"""Proxies in the engine: what a window's scores open before any label, what the first labels open, and that each says so."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from detectors.decisions import Budget, level
from detectors.performance import count_classes
from detectors.reference import Reference
from schemas.config import ModelConfig
from schemas.identifiers import StreamKey
from schemas.monitors import PROXIES
from streams import replay
from streams.digest import digest
from streams.engine import drift_family, proxy_family
from streams.engine.alerts import Change
from streams.engine.families import Book
from streams.engine.plan import Model, compile_plan
from streams.engine.proxy_family import Proxies
from streams.engine.shape import HEADER
from streams.engine.windows import Window
from streams.replay import Replay
from tests.engine.outcome_vectors import by_arrival
from tests.engine.watched import TIME
from tests.property import story

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Scores = NDArray[np.float64]

STREAM = StreamKey("loans", "v1", "champion")
SIZE, PANE, MATURITY = 600_000, 60_000, 1_200_000
N = 1_000


def rows(rng: np.random.Generator, score: Scores) -> dict[str, Any]:
    return {
        "x": score,
        "prediction": np.where(score > 0.5, "yes", "no"),
        "score": score,
        "label": np.where(rng.random(len(score)) < score, "yes", "no"),
    }


def known_scores() -> Reference:
    rng = np.random.default_rng(1)
    return Reference.build(rows(rng, rng.beta(0.5, 0.5, 20_000)), task="binary", positive_class="yes")


REFERENCE = known_scores()


def model(known: Reference = REFERENCE, **said: Any) -> Model:  # noqa: ANN401  # fields of ModelConfig
    config = {
        "task": "binary",
        "positive_class": "yes",
        "reference": "unused.json",
        "windows": {"size": SIZE, "pane": PANE},
        "labels": {"maturity": MATURITY, "horizon": 4 * MATURITY},
        "alerts": {"cooldown": 0},
    } | said
    return compile_plan("predictions", {"loans": ModelConfig.model_validate(config)}, {"loans": [known]}, 0).models[0]


def window(watched: Model, i: int, score: Scores, known: Reference = REFERENCE) -> Window:
    """A window of feature panes that saw these scores."""
    shape = watched.default
    assert known.score is not None
    vector = np.zeros(shape.width, np.int64)
    vector[:HEADER] = len(score), 0, 1
    vector[int(shape.base[-1]) : int(shape.base[-1]) + known.score.width] = known.score.slots_of(score)
    made = Window(TIME + i * SIZE, TIME + (i + 1) * SIZE, {STREAM: (shape.hash, vector)})
    made.references[STREAM] = known
    return made


def scores(
    watched: Model, draw: Callable[[], Scores], windows: int, state: Proxies, first: int = 0
) -> tuple[list[Change], list[dict[str, Any]]]:
    changes, kept = list[Change](), list[dict[str, Any]]()
    for i in range(first, first + windows):
        said, records = proxy_family.step(state, watched, window(watched, i, draw()))
        changes += said
        kept += [records.get(STREAM, {})]
    return changes, kept


def test_scores_near_the_boundary_open_proxies_before_any_label_and_resolve_when_they_are_gone() -> None:
    rng, watched, state = np.random.default_rng(2), model(), Proxies()
    calm, records = scores(watched, lambda: rng.beta(0.5, 0.5, N), 30, state)
    unsure, _ = scores(watched, lambda: rng.beta(0.8, 0.8, N), 4, state, 30)
    again, _ = scores(watched, lambda: rng.beta(0.5, 0.5, N), 4, state, 34)
    assert calm == []
    assert set(records[0]) == {"low_confidence", "estimated_error_rate"}
    assert records[0]["estimated_error_rate"]["value"] == pytest.approx(0.18, abs=0.02)
    opened = [c for c in unsure if c.transition == "opened"]
    assert [(c.family, c.subject) for c in opened] == [("proxy", "low_confidence"), ("proxy", "estimated_error_rate")]
    assert {c.subject for c in again if c.transition == "resolved"} == {"low_confidence", "estimated_error_rate"}
    for change in (*unsure, *again):
        assert "a proxy: no labels yet" in change.summary
        assert change.evidence.proxy
        assert change.evidence.labels is None
        assert change.evidence.n == N


def test_the_level_is_the_share_of_performance_over_all_its_cells() -> None:
    rng, state = np.random.default_rng(3), Proxies()
    watched = model(monitors=[{"proxy": list(PROXIES)}, {"performance": ["accuracy"]}])
    assert watched.outcome_cells == 2 + 3  # accuracy at maturity and at the horizon, and three proxies
    changes, _ = scores(watched, lambda: rng.beta(2, 2, N), 2, state)
    expected = level(Budget.parse("1 per 30d"), "performance", SIZE, 5, (2, 3))
    assert {c.evidence.level for c in changes} == {expected}


def test_what_is_not_configured_or_not_known_is_not_watched() -> None:
    rng = np.random.default_rng(4)
    only = model(monitors=[{"proxy": "low_confidence"}])
    _, records = scores(only, lambda: rng.random(N), 1, Proxies())
    assert set(records[0]) == {"low_confidence"}
    old = replace(REFERENCE, scored=None)
    assert model(old).proxies == ("calibration",)
    assert scores(model(old), lambda: rng.random(N), 1, Proxies()) == ([], [{}])
    no_labels = Reference.build(
        {"x": [1.0, 2.0] * 100, "prediction": ["yes", "no"] * 100}, task="binary", positive_class="yes"
    )
    assert model(no_labels).proxies == ()


def labels(rng: np.random.Generator, n: int, chance: Callable[[Scores], Scores] | None = None) -> NDArray[np.int64]:
    score = rng.beta(0.5, 0.5, n)
    actual = rng.random(n) < (score if chance is None else chance(score))
    counted = count_classes(actual.astype(np.int64), (score > 0.5).astype(np.int64), "binary", 2, score)
    return by_arrival(counted)


def arrivals(
    watched: Model,
    state: Proxies,
    panes: dict[int, NDArray[np.int64]],
    *,
    restart: bool = False,
) -> tuple[list[Change], list[dict[str, Any]]]:
    """Feed panes of labels by their number, as the evaluator does; the last window is closed at its end."""
    changes, kept = list[Change](), list[dict[str, Any]]()
    shape = watched.default.hash

    def close(until: int) -> None:
        found = proxy_family.close(state, watched, until, lambda _stream, _shape: REFERENCE)
        if found is not None:
            changes.extend(found[1])
            kept.extend(found[2])

    for at, vector in panes.items():
        if restart:
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=Proxies)
        pane = Window(TIME + at * PANE, TIME + (at + 1) * PANE, {STREAM: (shape, vector)})
        close(pane.start)
        proxy_family.collect(state, watched, pane)
        close(pane.end)
    close(TIME + 10**9)
    return changes, kept


def turned(score: Scores) -> Scores:
    """Scores that have become too sure of themselves."""
    return 0.5 + (score - 0.5) * 0.3


def test_the_first_labels_show_that_scores_do_not_come_true_and_the_alert_says_what_it_rests_on() -> None:
    rng, watched = np.random.default_rng(5), model()
    panes = {i: labels(rng, 30) for i in range(200)} | {i: labels(rng, 30, turned) for i in range(200, 240)}
    changes, records = arrivals(watched, Proxies(), panes)
    assert len(records) == 24
    assert [(c.transition, c.subject, c.family) for c in changes] == [("opened", "calibration", "proxy")]
    [opened] = changes
    assert opened.time == TIME + 22 * SIZE  # two windows of ten minutes after it began
    assert opened.evidence.proxy
    assert opened.evidence.statistic == "slope"
    assert (opened.evidence.n, opened.evidence.labels, opened.evidence.sample) == (300, 300, 1.0)
    assert "a proxy: not all labels are in" in opened.summary
    assert "high scores too rarely and low ones too often" in opened.summary


def test_the_first_labels_of_a_stream_are_not_judged_because_they_are_the_quick_ones() -> None:
    rng, watched = np.random.default_rng(6), model()
    panes = {i: labels(rng, 30, turned) for i in range(60)}
    changes, records = arrivals(watched, Proxies(), panes)
    judged = [r["judged"] for r in records]
    assert judged == [False] * (MATURITY // SIZE) + [True] * (6 - MATURITY // SIZE)
    assert [c.time for c in changes] == [TIME + (MATURITY // SIZE + 2) * SIZE]


def test_a_restart_in_the_middle_of_a_window_changes_nothing_and_gaps_close_windows() -> None:
    rng, watched = np.random.default_rng(7), model()
    panes = {i: labels(rng, 30, turned if i > 80 else None) for i in range(120) if i % 3 and not 40 < i < 65}
    plain, restarted = arrivals(watched, Proxies(), panes), arrivals(watched, Proxies(), panes, restart=True)
    assert [(c.time, c.transition, c.evidence) for c in plain[0]] == [
        (c.time, c.transition, c.evidence) for c in restarted[0]
    ]
    assert plain[1] == restarted[1]
    assert [r["window"][0] for r in plain[1]] == [TIME + i * SIZE for i in range(12) if i != 5]
    assert sum(r["labels"] for r in plain[1]) == 30 * len(panes)


def alone(made: Window) -> Callable[[StreamKey, Sequence[int]], dict[int, NDArray[np.int64]]]:
    """The window by itself at every scale."""

    def over(stream: StreamKey, scales: Sequence[int]) -> dict[int, NDArray[np.int64]]:
        return dict.fromkeys(scales, made.streams[stream][1])

    return over


def test_drift_of_answers_and_scores_says_that_it_is_a_proxy_and_drift_of_a_feature_does_not() -> None:
    rng = np.random.default_rng(8)
    watched, book = model(), Book()
    changes = []
    for i in range(3):
        made = window(watched, i, score := rng.beta(2, 1, N))
        shape, vector = watched.default, made.streams[STREAM][1]
        for k, (subject, values) in enumerate(
            zip(REFERENCE.subjects[:2], (score, np.where(score > 0.5, "yes", "no")), strict=True)
        ):
            vector[int(shape.base[k]) : int(shape.base[k]) + subject.width] = subject.slots_of(values)
        found, _ = drift_family.step(book, watched, made, alone(made))
        changes += found
    opened = {c.subject: c for c in changes if c.transition == "opened"}
    assert set(opened) == {"x", "prediction", "score"}
    assert {s: c.evidence.proxy for s, c in opened.items()} == {"x": False, "prediction": True, "score": True}
    assert {s: "a proxy for performance" in c.summary for s, c in opened.items()} == {
        "x": False,
        "prediction": True,
        "score": True,
    }


def test_a_replay_has_the_same_proxies_however_the_log_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = story.config(tmp_path)
    log = [record for part in story.records(seed=9, n=1_500).values() for record in part]
    assert config.models["loans"].proxy == PROXIES
    found = []
    for size in (1_000, 97):
        monkeypatch.setattr(replay, "BATCH", size)
        run = Replay(config, log)
        run.run(close=True)
        kept = list(run.windows())
        assert any(w["kind"] == "proxy" and w["model"] == "loans" for w in kept)
        assert any(w["kind"] == "drift" and w["proxies"] for w in kept)
        found.append((kept, digest(run.store, run.host)))
    assert found[0] == found[1]
