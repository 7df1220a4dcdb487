"""The sequential monitor: what panes of labels say about the error rate, against the reference's and without one."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.decisions import LARGEST_LEVEL
from detectors.performance import count_classes
from detectors.reference import Reference
from detectors.sequential import Dispersion
from schemas.config import ModelConfig
from schemas.identifiers import StreamKey
from streams.engine import sequential_family
from streams.engine.alerts import Change
from streams.engine.families import Book
from streams.engine.plan import Model, compile_plan
from streams.engine.sequential_family import Series
from streams.engine.windows import Window
from tests.engine.outcome_vectors import HOUR, by_arrival
from tests.engine.watched import TIME

STREAM = StreamKey("loans", "v1", "champion")
PANE = 60_000
LABELS = 100
"""Labels in a pane."""


def outcomes(errors: int, n: int) -> NDArray[np.int64]:
    """The outcome vector of so many errors among so many labels."""
    actual = np.zeros(n, np.int64)
    predicted = (np.arange(n) < errors).astype(np.int64)
    return count_classes(actual, predicted, "binary", 2, predicted.astype(float))


def reference(*, errors: int = 1_000, n: int = 10_000) -> Reference:
    table = {"x": [1.0, 2.0, 3.0] * 100, "prediction": ["yes", "no", "no"] * 100}
    built = Reference.build(table, task="binary", positive_class="yes")
    return replace(built, outcomes=outcomes(errors, n) if n else None)


def model(known: Reference, false_alarms: str = "1 per 30d", **said: Any) -> Model:  # noqa: ANN401  # any setting
    config = ModelConfig.model_validate(
        {
            "task": "binary",
            "positive_class": "yes",
            "reference": "unused.json",
            "windows": {"pane": PANE, "size": 5 * PANE},
            "alerts": {"false_alarms": false_alarms, "cooldown": 0},
            **said,
        }
    )
    return compile_plan("predictions", {"loans": config}, {"loans": [known]}, 0).models[0]


def panes(
    watched: Model,
    known: Reference,
    errors: list[int],
    book: Book | None = None,
    series: dict[str, Series] | None = None,
    first: int = 0,
) -> list[Change]:
    """Feed panes of `LABELS` labels with these numbers of errors; -1 is a pane without labels."""
    book, series = Book() if book is None else book, {} if series is None else series
    changes = list[Change]()
    for i, k in enumerate(errors, first):
        vector = outcomes(max(k, 0), LABELS if k >= 0 else 0)
        window = Window(TIME + i * PANE, TIME + (i + 1) * PANE, {STREAM: ("", by_arrival(vector))})
        window.references[STREAM] = known
        changes += sequential_family.step(book, series, watched, window)
    return changes


def drawn(seed: int, *segments: tuple[int, float]) -> list[int]:
    """Errors of panes: (number of panes, error rate) of each segment."""
    rng = np.random.default_rng(seed)
    return [int(k) for length, rate in segments for k in rng.binomial(LABELS, rate, length)]


def test_a_rise_over_the_reference_opens_an_alert_and_its_end_resolves_it() -> None:
    known = reference()
    changes = panes(model(known), known, drawn(1, (100, 0.1), (50, 0.2), (50, 0.1)))
    assert [c.transition for c in changes] == ["opened", "resolved"]
    opened, resolved = changes
    assert 100 < (opened.time - TIME) // PANE <= 105
    assert abs((opened.since - TIME) // PANE - 100) <= 1
    assert (opened.family, opened.subject, opened.condition.severity) == ("sequential", "error_rate", "critical")
    found = opened.evidence
    assert (found.statistic, found.reference_value, found.p_value) == ("e-detector", 0.1, None)
    assert found.value is not None
    assert found.value == pytest.approx(0.2, abs=0.05)
    assert found.effect_size == found.value - 0.1
    assert found.threshold == pytest.approx(0.105, abs=0.001)  # the baseline plus 1.64 standard errors
    assert found.n == found.labels == LABELS * ((opened.time - opened.since) // PANE)
    assert (found.coverage, found.revision) == (None, None)  # labels by arrival are of no one window
    assert found.delay_p50_ms is not None
    assert abs(found.delay_p50_ms - HOUR) <= HOUR / 8
    assert "has risen" in opened.summary
    assert "0.100 in the reference" in opened.summary
    assert 150 < (resolved.time - TIME) // PANE <= 170
    assert abs((resolved.since - TIME) // PANE - 150) <= 1
    assert "has fallen again" in resolved.summary


@pytest.mark.parametrize("seed", range(3))
def test_without_a_change_it_speaks_no_more_often_than_the_budget_allows(seed: int) -> None:
    known = reference(n=1_000_000, errors=100_000)
    watched = model(known, "600 per 30d", monitors=[{"sequential": "error_rate"}])
    at = sequential_family.allowance(watched)
    assert at == pytest.approx(600 * 0.3 / (30 * 24 * 60))
    opened = [c for c in panes(watched, known, drawn(seed, (4_000, 0.1))) if c.transition == "opened"]
    assert 0 < len(opened) <= 4_000 * at


def test_the_budget_is_shared_with_the_performance_metrics_and_never_too_generous() -> None:
    known = reference()
    both = model(known, monitors=[{"sequential": "error_rate"}, {"performance": ["accuracy", "f1"]}])
    assert sequential_family.allowance(both) == pytest.approx(0.3 / 5 / (30 * 24 * 60))  # two metrics, twice
    assert sequential_family.allowance(model(known, "1000 per 1m")) == LARGEST_LEVEL


def test_while_the_rate_stays_up_the_alert_stays_open() -> None:
    known = reference()
    changes = panes(model(known), known, drawn(2, (50, 0.1), (1_500, 0.16)))
    assert [c.transition for c in changes if c.transition != "escalated"] == ["opened"]


def test_a_rate_that_rises_further_escalates() -> None:
    known = reference()
    changes = panes(model(known), known, drawn(3, (100, 0.1), (60, 0.13), (20, 0.4)))
    assert [(c.transition, c.condition.severity) for c in changes][-1] == ("escalated", "critical")


def test_a_reference_with_few_labels_is_believed_less() -> None:
    few, many = reference(errors=20, n=200), reference()
    errors = drawn(4, (400, 0.12))
    assert [c.transition for c in panes(model(many), many, errors)][:1] == ["opened"]
    assert panes(model(few), few, errors) == []


def test_without_labels_in_the_reference_adwin_compares_the_stream_with_its_past() -> None:
    unlabelled = reference(n=0)
    changes = panes(model(unlabelled), unlabelled, drawn(5, (100, 0.1), (50, 0.3), (100, 0.1)))
    assert [(c.transition, c.evidence.statistic) for c in changes] == [("opened", "adwin"), ("resolved", "adwin")]
    assert changes[0].evidence.reference_value == pytest.approx(0.1, abs=0.03)
    assert "before)" in changes[0].summary


def test_a_pane_without_labels_changes_nothing() -> None:
    known = reference()
    errors = drawn(6, (30, 0.1), (20, 0.3))
    gaps = [k for error in errors for k in (error, -1)]
    assert len(panes(model(known), known, gaps)) == len(panes(model(known), known, errors)) == 1


@pytest.mark.parametrize("labelled", [True, False])
def test_a_restart_between_any_two_panes_changes_nothing(*, labelled: bool) -> None:
    known = reference() if labelled else reference(n=0)
    watched, errors = model(known), drawn(7, (60, 0.1), (30, 0.3), (40, 0.1))
    whole = panes(watched, known, errors)
    book, series, again = Book(), dict[str, Series](), list[Change]()
    for i, k in enumerate(errors):
        book = msgspec.msgpack.decode(msgspec.msgpack.encode(book), type=Book)
        series = msgspec.msgpack.decode(msgspec.msgpack.encode(series), type=dict[str, Series])
        again += panes(watched, known, [k], book, series, i)
    assert {c.transition for c in whole} >= {"opened", "resolved"}
    assert [(c.transition, c.time, c.since, c.evidence) for c in again] == [
        (c.transition, c.time, c.since, c.evidence) for c in whole
    ]


def test_another_budget_keeps_the_evidence_and_another_baseline_does_not() -> None:
    known, series = reference(), dict[str, Series]()
    generous = model(known, "1000 per 1m")
    assert panes(model(known, "1 per 30d"), known, [17, 17, 17], Book(), series) == []
    assert len(panes(generous, known, [17], Book(), deepcopy(series), 3)) == 1
    assert panes(generous, known, [17], Book(), {}, 3) == []  # the fourth pane alone: no
    other = reference(errors=1_001)
    panes(model(other), other, [17], Book(), series, 3)
    kept = next(iter(series.values())).rise
    assert kept is not None
    assert max(row[4] for row in kept["sums"]) == 1  # one update since its start


def test_what_has_resolved_leaves_nothing_behind() -> None:
    known, book, series = reference(), Book(), dict[str, Series]()
    for i, k in enumerate(drawn(13, (50, 0.1), (30, 0.3), (50, 0.1))):
        for change in panes(model(known), known, [k], book, series, i):
            one = next(iter(series.values()))
            assert (one.rise is None, one.back is None) == (
                (True, True) if change.transition == "resolved" else (False, False)
            )
    assert not book.condition(STREAM, "error_rate").open


def test_state_from_before_the_e_detector_is_read() -> None:
    old = msgspec.msgpack.encode({"adwin": {"format": 1}, "panes": [TIME], "before": 0.2})
    series = {"v1\x1fchampion": msgspec.msgpack.decode(old, type=Series)}
    known = reference()
    changes = panes(model(known), known, drawn(8, (30, 0.1), (20, 0.3)), Book(), series, 1)
    assert [c.evidence.statistic for c in changes] == ["e-detector"]


def test_one_bad_pane_opens_nothing_and_two_do() -> None:
    known = reference()
    quiet, after = drawn(9, (50, 0.1)), drawn(10, (50, 0.1))
    assert panes(model(known), known, [*quiet, 100, *after]) == []
    assert [c.transition for c in panes(model(known), known, [*quiet, 100, 100, 100, *after])][:1] == ["opened"]


def test_where_errors_come_in_bursts_labels_count_for_fewer() -> None:
    known, rng = reference(), np.random.default_rng(11)
    rates = np.where(rng.random(600) < 0.2, 0.3, 0.05)  # on average 0.1, but a burst in every fifth pane
    bursts = [int(k) for k in rng.binomial(LABELS, rates)]
    book, series = Book(), dict[str, Series]()
    assert panes(model(known), known, bursts, book, series) == []
    one = next(iter(series.values()))
    assert one.dispersion is not None
    assert Dispersion.from_state(one.dispersion).value > 5
    assert [c.transition for c in panes(model(known), known, drawn(12, (60, 0.3)), book, series, 600)] == ["opened"]
