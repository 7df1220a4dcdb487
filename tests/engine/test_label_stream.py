"""Labels as a monitored stream: they stop, come late, are of other classes, or are missing for more of the predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from detectors.performance import count_classes, count_errors, layout
from detectors.performance.delays import count_delays
from schemas.config import ModelConfig
from schemas.identifiers import StreamKey
from streams.engine import labels_family
from streams.engine.labels_family import Labels
from streams.engine.outcomes import FIRST_BLOCK, REMEMBERED
from streams.engine.plan import Model, compile_plan
from streams.engine.shape import HEADER
from streams.engine.windows import Window
from tests.engine.watched import reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from streams.engine.alerts import Change

STREAM = StreamKey("loans", "v1", "champion")
WINDOW, PANE = 3_600_000, 600_000
HOUR = 3_600_000
DAY = 24


def model(task: str = "binary", **said: Any) -> Model:  # noqa: ANN401  # JSON
    positive = {"positive_class": "yes"} if task == "binary" else {}
    windows = {"windows": {"size": "1h", "pane": "10m"}, "labels": {"maturity": "1d", "horizon": "7d"}}
    config = ModelConfig.model_validate({"task": task, "reference": "unused.json"} | positive | windows | said)
    return compile_plan("predictions", {"loans": config}, {"loans": [reference(task)]}, 0).models[0]


class Stream:
    """Labels of one stream by arrival, and its windows at maturity, told hour by hour. Half of the reference's are "yes"."""

    def __init__(self, watched: Model, seed: int = 1) -> None:
        """Nothing heard."""
        self.model, self.state, self.now = watched, Labels(), 0
        self.said: list[Change] = []
        self.rng = np.random.default_rng(seed)

    def hour(self, labels: int, late_ms: NDArray[np.int64], positive: float = 0.5) -> None:
        """Labels of one hour, spread over its panes."""
        panes = np.sort(self.rng.integers(0, WINDOW // PANE, labels))
        actual = (self.rng.random(labels) < positive).astype(np.int64)
        for pane in np.unique(panes).tolist():
            mine = panes == pane
            vector = np.zeros(self.model.arrival_width, np.int64)
            vector[0] = mine.sum()
            end = HEADER + self.model.outcome_width
            if self.model.classes:
                vector[HEADER:end] = count_classes(actual[mine], actual[mine], "binary", 2, np.full(mine.sum(), 0.5))
            else:
                vector[HEADER:end] = count_errors(actual[mine].astype(float), np.zeros(mine.sum()))
            count_delays(vector, np.full(mine.sum(), end), late_ms[mine])
            start = self.now + pane * PANE
            window = Window(start, start + PANE, {STREAM: (self.model.default.hash, vector)})
            self._advance(start)
            labels_family.collect(self.state, self.model, window)
        self.now += WINDOW
        self._advance(self.now)

    def _advance(self, until: int) -> None:
        reference_of = lambda *_: self.model.reference  # noqa: E731  # one of the two references
        through, changes = labels_family.advance(self.state, self.model, until // WINDOW * WINDOW, reference_of)
        assert through >= max((c.time for c in changes), default=0)
        self.said += changes

    def mature(self, remembered: int, labels: int) -> None:
        """A window at its maturity."""
        vector = np.zeros(self.model.performance_width, np.int64)
        vector[[REMEMBERED, FIRST_BLOCK + layout.N]] = remembered, labels
        window = Window(self.now, self.now + WINDOW, {STREAM: (self.model.default.hash, vector)})
        self.said += labels_family.mature(self.state, self.model, window)
        self.now += WINDOW

    def heard(self) -> list[tuple[str, str]]:
        """The transitions since the last time."""
        found: list[tuple[str, str]] = [(c.transition, c.subject) for c in self.said]
        self.said = []
        return found


def exponential(stream: Stream, n: int, mean: float) -> NDArray[np.int64]:
    return (stream.rng.exponential(mean, n)).astype(np.int64) + 1


def live(stream: Stream, hours: int, *, rate: float = 300, mean: float = 2 * HOUR, positive: float = 0.5) -> None:
    """Labels one by one, an exponential delay after their predictions; busier by day."""
    for _ in range(hours):
        busy = 1 + 0.8 * np.sin(2 * np.pi * (stream.now // WINDOW) / DAY)
        n = int(stream.rng.poisson(rate * busy))
        stream.hour(n, exponential(stream, n, mean), positive)


def nightly(stream: Stream, days: int, *, n: int = 3000, shift: float = 0.0, positive: float = 0.5) -> None:
    """All labels of a day in one batch at two in the morning, whose balance varies from day to day more than theirs alone would."""
    for _ in range(days):
        for hour in range(DAY):
            count = int(stream.rng.poisson(n)) if hour == 2 else 0
            late = stream.rng.uniform(2 * HOUR, 26 * HOUR, count) + shift
            stream.hour(count, late.astype(np.int64), float(np.clip(stream.rng.normal(positive, 0.02), 0, 1)))


def bursts(stream: Stream, days: int) -> None:
    """Files of labels at any time, each from one clinic: delays and classes of a file resemble each other."""
    for _ in range(days * DAY):
        n = int(stream.rng.poisson(400)) if stream.rng.random() < 0.3 else 0
        late = exponential(stream, n, 2 * HOUR * float(stream.rng.lognormal(0, 0.5)))
        stream.hour(n, late, float(np.clip(stream.rng.normal(0.5, 0.1), 0, 1)))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("play", [lambda s: live(s, 25 * DAY), lambda s: nightly(s, 50), lambda s: bursts(s, 30)])
def test_nothing_is_said_of_labels_as_they_ordinarily_come(play: Callable[[Stream], None], seed: int) -> None:
    stream = Stream(model(), seed)
    play(stream)
    assert [s for s in stream.heard() if s[1] != "rate"] == []


def test_labels_that_stop_are_missed_by_the_hour_where_they_come_live() -> None:
    stream = Stream(model())
    live(stream, 10 * DAY)
    assert stream.heard() == []
    for _ in range(6):
        stream.hour(0, np.zeros(0, np.int64))
    (change,) = stream.said
    assert (change.transition, change.family, change.subject) == ("opened", "labels", "rate")
    assert change.time <= (10 * DAY + 2) * WINDOW
    assert "no labels since" in change.summary
    stream.heard()
    live(stream, 1)
    assert stream.heard() == [("resolved", "rate")]


def test_a_nightly_batch_that_does_not_come_is_missed_a_few_hours_after_its_time_and_not_between_batches() -> None:
    stream = Stream(model())
    nightly(stream, 30)
    assert stream.heard() == []
    silent = 0
    while not stream.said and silent < 2 * DAY:
        stream.hour(0, np.zeros(0, np.int64))
        silent += 1
    assert silent in range(4, 9)  # it is due at two, and may be two hours late


def test_delays_that_double_are_an_alert_that_resolves_when_they_are_back() -> None:
    stream = Stream(model())
    live(stream, 10 * DAY)
    live(stream, 4, mean=4 * HOUR)
    (change,) = stream.said
    assert (change.transition, change.subject, change.condition.severity) == ("opened", "delay", "warning")
    assert change.evidence.effect_size == pytest.approx(1, abs=0.15)
    assert change.evidence.p_value is not None
    assert change.evidence.p_value < 1e-5
    assert "labels come later than before" in change.summary
    stream.heard()
    live(stream, 6)
    assert stream.heard() == [("resolved", "delay")]


def test_a_batch_that_comes_a_day_later_is_seen_in_its_delays() -> None:
    stream = Stream(model())
    nightly(stream, 30)
    nightly(stream, 3, shift=24 * HOUR)
    assert ("opened", "delay") in stream.heard()


def test_delays_that_stay_longer_become_the_ordinary_ones_after_a_week_of_alert_and_a_week_of_learning() -> None:
    stream = Stream(model(), 5)
    live(stream, 10 * DAY)
    live(stream, 13 * DAY, mean=6 * HOUR)
    assert stream.heard() == [("opened", "delay")]
    live(stream, 4 * DAY, mean=6 * HOUR)
    assert stream.heard() == [("resolved", "delay")]
    live(stream, 2 * DAY, mean=6 * HOUR)
    assert stream.heard() == []


def test_a_balance_that_moves_from_a_tenth_to_a_fifth_is_an_alert_with_the_class_in_it() -> None:
    table: dict[str, Any] = {"x": [1.0, 2.0] * 5000, "prediction": (["yes"] + ["no"] * 9) * 1000}
    table |= {"score": [0.5] * 10_000, "label": (["yes"] + ["no"] * 9) * 1000}
    watched = model()
    watched.reference = type(watched.reference).build(table, task="binary", positive_class="yes")
    stream = Stream(watched)
    live(stream, 10 * DAY, rate=1000, positive=0.1)
    assert stream.heard() == []
    live(stream, 4, rate=1000, positive=0.2)
    (change,) = stream.said
    assert (change.transition, change.subject, change.condition.severity) == ("opened", "class_balance", "warning")
    assert change.evidence.effect_size == pytest.approx(0.1, abs=0.03)
    assert "yes" in change.summary
    assert "10.0% in the reference" in change.summary
    stream.heard()
    live(stream, 6, rate=1000, positive=0.1)
    assert stream.heard() == [("resolved", "class_balance")]


def test_a_regression_has_a_rate_and_delays_and_no_balance() -> None:
    stream = Stream(model("regression"))
    live(stream, 10 * DAY)
    live(stream, 4, mean=5 * HOUR)
    assert stream.heard() == [("opened", "delay")]


def test_fewer_labels_at_maturity_than_before_are_an_alert_relative_to_the_predictions() -> None:
    stream = Stream(model())

    def windows(n: int, share: float) -> None:
        for _ in range(n):
            waited = int(stream.rng.poisson(500 + 400 * np.sin(stream.now / WINDOW / DAY * 2 * np.pi)))
            stream.mature(waited, int(stream.rng.binomial(waited, share)))

    windows(20 * DAY, 0.6)
    assert stream.heard() == []
    windows(8, 0.45)
    (change,) = stream.said
    assert (change.transition, change.subject, change.condition.severity) == ("opened", "coverage", "warning")
    assert change.evidence.coverage == pytest.approx(0.45, abs=0.08)
    assert change.evidence.reference_value == pytest.approx(0.6, abs=0.02)
    assert change.time == change.window[1] + stream.model.maturity
    stream.heard()
    windows(8, 0.6)
    assert stream.heard() == [("resolved", "coverage")]
    windows(8, 0.9)
    assert stream.heard() == [("opened", "coverage")]


@pytest.mark.parametrize(
    ("watched", "subjects"), [(["rate"], {"rate"}), (["delay"], {"delay"}), (["class_balance"], {"class_balance"})]
)
def test_only_what_is_watched_is_said(watched: list[str], subjects: set[str]) -> None:
    stream = Stream(model(monitors=[{"labels": watched}]))
    live(stream, 10 * DAY)
    live(stream, 5, mean=20 * HOUR, positive=0.9)
    for _ in range(5):
        stream.hour(0, np.zeros(0, np.int64))
    assert {subject for _, subject in stream.heard()} == subjects


def test_a_restart_anywhere_changes_nothing() -> None:
    def told(*, restart: bool) -> tuple[list[tuple[Any, ...]], bytes]:
        stream = Stream(model(), 7)
        for day in range(12):
            live(stream, DAY, mean=(2 if day < 10 else 5) * HOUR)
            if restart:
                stream.state = msgspec.msgpack.decode(msgspec.msgpack.encode(stream.state), type=Labels)
        return [(c.transition, c.time, c.evidence) for c in stream.said], msgspec.json.encode(stream.state)

    assert told(restart=True) == told(restart=False)
    assert len(told(restart=True)[0]) == 1


def test_streams_that_are_gone_are_forgotten() -> None:
    stream = Stream(model())
    live(stream, DAY)
    other = StreamKey("loans", "v0", "champion")
    one = next(iter(stream.state.streams.values()))
    stream.state.streams["v0\x1fchampion"] = msgspec.structs.replace(one)
    live(stream, 27 * DAY)
    assert len(stream.state.streams) == 2
    live(stream, 3 * DAY)
    assert len(stream.state.streams) == 1
    assert other != STREAM
