"""The two revisions of a window's performance: at maturity over the labels that are in, at the horizon over all."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.decisions import Budget, level
from detectors.performance import count_classes
from detectors.reference import Reference
from schemas.config import Confirmation, ModelConfig
from schemas.identifiers import StreamKey, alert_id
from streams.engine import performance_family
from streams.engine.alerts import Change
from streams.engine.families import Book
from streams.engine.performance_family import FINAL, MATURE, Coverage, Final
from streams.engine.plan import Model, compile_plan
from streams.engine.windows import Window
from tests.engine.outcome_vectors import HOUR, by_prediction
from tests.engine.watched import TIME
from tests.oracle import delays

STREAM = StreamKey("loans", "v1", "champion")
SIZE = 600_000
DAY = 24 * HOUR
GOOD, BAD, WORST = 0.1, 0.18, 0.5
"""Error rates: the reference's; worse by more than 0.05; worse by more than 0.1."""


def outcomes(errors: float, n: int) -> NDArray[np.int64]:
    """The outcome vector of n labels, of which this share are errors."""
    actual = np.zeros(n, np.int64)
    return count_classes(actual, (np.arange(n) < round(errors * n)).astype(np.int64), "binary", 2)


def reference() -> Reference:
    table = {"x": [1.0, 2.0, 3.0] * 100, "prediction": ["yes", "no", "no"] * 100}
    built = Reference.build(table, task="binary", positive_class="yes")
    return replace(built, outcomes=outcomes(GOOD, 100_000))


def model(known: Reference, confirm: str = "2 of 3", **labels: int) -> Model:
    said = {
        "task": "binary",
        "positive_class": "yes",
        "reference": "unused.json",
        "labels": {"maturity": DAY, "horizon": 7 * DAY} | labels,
        "monitors": [{"performance": ["accuracy"]}],
        "alerts": {"confirm": confirm, "cooldown": 0},
    }
    return compile_plan("predictions", {"loans": ModelConfig.model_validate(said)}, {"loans": [known]}, 0).models[0]


@dataclass
class Watch:
    """Both state machines of one model, over windows of (error rate at maturity, error rate of the labels after it)."""

    model: Model
    known: Reference
    early: Book = field(default_factory=Book)
    final: Final = field(default_factory=Final)

    def window(self, i: int, early: float, rest: float, n: int = 2_000, remembered: int | None = None) -> Window:
        """Window i, with n labels before maturity and n after it."""
        vector = by_prediction(outcomes(early, n), outcomes(rest, n), remembered)
        window = Window(TIME + i * SIZE, TIME + (i + 1) * SIZE, {STREAM: (self.known.shape_hash, vector)})
        window.references[STREAM] = self.known
        return window

    def first(self, rates: list[tuple[float, float]]) -> list[Change]:
        """Revision 1 of the windows."""
        return [
            c
            for i, (early, rest) in enumerate(rates)
            for c in performance_family.step(self.early, self.model, self.window(i, early, rest))[0]
        ]

    def second(self, rates: list[tuple[float, float]], since: int = 0) -> list[Change]:
        """Revision 2 of the windows."""
        return [
            c
            for i, (early, rest) in enumerate(rates, since)
            for c in performance_family.revise(self.final, self.model, self.window(i, early, rest))[0]
        ]


def watch(confirm: str = "2 of 3", **labels: int) -> Watch:
    known = reference()
    return Watch(model(known, confirm, **labels), known)


def said(changes: list[Change]) -> list[tuple[str, int]]:
    """The transitions and their windows' numbers."""
    return [(c.transition, (c.window[0] - TIME) // SIZE) for c in changes]


def test_what_early_labels_show_pages_at_maturity_and_not_again_at_the_horizon() -> None:
    rates = [(BAD, BAD)] * 4 + [(GOOD, GOOD)] * 4
    both = watch()
    assert said(both.first(rates)) == [("opened", 1), ("resolved", 6)]
    assert both.second(rates) == []


def test_what_only_late_labels_show_pages_at_the_horizon() -> None:
    rates = [(GOOD, WORST)] * 3 + [(GOOD, GOOD)] * 4
    both = watch()
    assert both.first(rates) == []
    opened, resolved = both.second(rates)
    assert said([opened, resolved]) == [("opened", 1), ("resolved", 5)]
    assert opened.time == opened.window[1] + 7 * DAY
    assert opened.condition.alert_id == alert_id(
        STREAM,
        kind="performance",
        subject="accuracy",
        window_end_ms=opened.window[1],
        epoch=both.model.decision,
        revision=2,
    )
    found = opened.evidence
    assert (found.revision, found.labels, found.coverage, found.sample) == (2, 4_000, 1.0, 1.0)
    assert found.value == pytest.approx(1 - (GOOD + WORST) / 2)
    assert found.reference_value == pytest.approx(1 - GOOD)
    assert found.standard_error == pytest.approx((0.3 * 0.7 / 4_000) ** 0.5, rel=0.01)
    assert found.delay_p50_ms == delays_near(HOUR)
    assert found.delay_p90_ms == delays_near(5 * HOUR)
    assert "on 4,000 labels (100% of the window's)" in opened.summary
    assert opened.summary.endswith("at the horizon of the labels)")


def delays_near(late: int) -> object:
    return pytest.approx(late, abs=late // 8)


def test_an_alert_of_maturity_that_is_open_keeps_the_horizon_from_paging() -> None:
    # Windows 0 and 1 open it at maturity; 2 and 3 look well at maturity, and are bad at the horizon.
    rates = [(BAD, BAD), (BAD, BAD), (GOOD, WORST), (GOOD, WORST)]
    both = watch()
    assert said(both.first(rates)) == [("opened", 1)]
    assert both.second(rates) == []
    # Three windows that revision 1 accepts resolve its alert; what is bad at the horizon from then on is news.
    more = [(GOOD, WORST)] * 2
    assert said(both.second(more, since=len(rates))) == [("opened", 4)]


def test_a_window_that_was_rejected_at_maturity_counts_at_the_horizon_and_opens_nothing_there() -> None:
    both = watch()
    rates = [(BAD, BAD), (GOOD, WORST)]  # one window of two at maturity, both at the horizon
    assert both.first(rates) == []
    assert said(both.second(rates)) == [("opened", 1)]
    turned = watch()
    assert turned.second(rates[::-1]) == []  # the window that would confirm was rejected at maturity


def test_what_is_open_at_the_horizon_escalates_and_resolves_there() -> None:
    rates = [(GOOD, 0.30), (GOOD, 0.30), (GOOD, 0.9), (BAD, BAD), (GOOD, GOOD), (GOOD, GOOD), (GOOD, GOOD)]
    changes = watch().second(rates)
    assert said(changes) == [("opened", 1), ("escalated", 2), ("resolved", 6)]
    assert {c.condition.alert_id for c in changes} == {changes[0].condition.alert_id}


def test_where_maturity_is_the_horizon_there_is_one_revision_and_one_test() -> None:
    once, twice = watch(horizon=DAY), watch()
    assert (once.model.revisions, twice.model.revisions) == (1, 2)
    assert (once.model.outcome_cells, twice.model.outcome_cells) == (1, 2)
    rates = [(GOOD, WORST)] * 4
    assert once.second(rates) == []
    assert said(twice.second(rates)) == [("opened", 1)]


def test_both_revisions_are_judged_at_the_level_that_their_number_leaves() -> None:
    both = watch("1 of 1")
    budget = Budget.parse(both.model.config.alerts.false_alarms)
    expected = level(budget, "performance", both.model.window, 2, Confirmation(1, 1))
    [first], [second] = both.first([(WORST, GOOD)]), both.second([(GOOD, WORST)])
    assert [expected, expected] == [first.evidence.level, second.evidence.level]
    assert first.evidence.revision == 1
    assert first.evidence.level is not None
    assert first.condition.alert_id != second.condition.alert_id
    assert first.condition.incident == second.condition.incident  # of one window, stream and family


def test_a_record_says_which_labels_it_rests_on_and_revision_2_adds_its_own() -> None:
    both = watch()
    window = both.window(0, GOOD, BAD, n=1_000, remembered=2_500)
    _, records = performance_family.step(Book(), both.model, window)
    [record] = records
    assert {
        "revision": 1,
        "labels": 1_000,
        "remembered": 2_500,
        "coverage": 0.4,
        "sample": 1.0,
    }.items() <= record.items()
    assert record["delay_p99_ms"] == delays_near(HOUR)
    assert set(record["metrics"]["accuracy"]) == {"value", "standard_error", "n", "bin_error"}
    _, gained = performance_family.revise(Final(), both.model, window)
    stored = [record | {"of another family": 1}]
    [merged] = performance_family.with_final(stored, gained)
    final = merged.pop("final")
    assert stored == [merged]
    assert {"revision": 2, "labels": 2_000, "remembered": 2_500, "coverage": 0.8}.items() <= final.items()
    assert final["delay_p99_ms"] == delays_near(5 * HOUR)
    assert final["metrics"]["accuracy"]["value"] == pytest.approx(1 - (GOOD + BAD) / 2)


def test_a_window_whose_labels_never_came_has_a_coverage_of_nothing_and_decides_nothing() -> None:
    both = watch("1 of 1")
    window = both.window(0, GOOD, GOOD, n=0, remembered=500)
    changes, [record] = performance_family.step(both.early, both.model, window)
    late, [gained] = performance_family.revise(both.final, both.model, window)
    assert changes == late == []
    assert (record["labels"], record["coverage"], record["delay_p50_ms"]) == (0, 0.0, None)
    assert (gained["final"]["labels"], gained["final"]["coverage"]) == (0, 0.0)


def test_the_coverage_of_a_window_is_that_of_all_its_streams() -> None:
    both = watch()
    window = both.window(0, GOOD, BAD, n=1_000, remembered=2_500)
    other = StreamKey("loans", "v2", "challenger")
    window.streams[other] = (both.known.shape_hash, by_prediction(outcomes(GOOD, 500), None, 1_500))
    early = performance_family.coverage(both.model, window, MATURE)
    late = performance_family.coverage(both.model, window, FINAL)
    assert (early.labels, early.remembered, early.share) == (1_500, 4_000, 0.375)
    assert (late.labels, late.remembered, late.share) == (2_500, 4_000, 0.625)
    assert delays.quantile([HOUR] * 1_500 + [5 * HOUR] * 1_000, 0.9) == 5 * HOUR == delays_near(late.delay_p90_ms or 0)
    assert Coverage(0, 0, 0, None, None, None).share is None


@pytest.mark.parametrize("cut", range(7))
def test_a_restart_between_any_two_windows_changes_nothing(cut: int) -> None:
    rates = [(GOOD, WORST)] * 2 + [(BAD, BAD)] * 2 + [(GOOD, GOOD)] * 3
    whole, parts = watch(), watch()
    expected = said(whole.second(rates))
    found = said(parts.second(rates[:cut]))
    parts.final = msgspec.msgpack.decode(msgspec.msgpack.encode(parts.final), type=Final)
    found += said(parts.second(rates[cut:], since=cut))
    assert expected == found
    assert whole.final == parts.final


def test_revision_2_does_not_depend_on_how_far_revision_1_is() -> None:
    rates = [(BAD, BAD)] * 2 + [(GOOD, WORST)] * 4 + [(BAD, WORST)] * 2
    ahead, behind = watch(), watch()
    ahead.first(rates)
    before: Any = deepcopy(ahead.early)
    assert said(ahead.second(rates)) == said(behind.second(rates))
    assert before == ahead.early
