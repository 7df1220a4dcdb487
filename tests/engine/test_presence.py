"""No data: who is missed, how badly, and until when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.decisions import SHARES
from schemas.alerts import Evidence
from schemas.config import FeatureSetConfig, ModelConfig
from schemas.identifiers import StreamKey
from streams.engine import presence_family
from streams.engine.families import supersede
from streams.engine.plan import Model, compile_plan
from streams.engine.presence_family import Presence
from streams.engine.silence import FORGET
from tests.engine.watched import reference

if TYPE_CHECKING:
    from streams.engine.alerts import Change

WINDOW = 600_000
DAY = 144
V1, V2 = StreamKey("loans", "v1", "champion"), StreamKey("loans", "v2", "champion")
CANARY = StreamKey("loans", "v3", "canary")
DE, FR = V1._replace(segment="country=de"), V1._replace(segment="country=fr")


def model(**said: Any) -> Model:  # noqa: ANN401  # JSON
    config = ModelConfig.model_validate({"task": "binary", "positive_class": "yes", "reference": "unused.json"} | said)
    return compile_plan("predictions", {"loans": config}, {"loans": [reference()]}, 0).models[0]


class Listener:
    """A model whose windows are told one after the other."""

    def __init__(self, watched: Model) -> None:
        """Nothing heard."""
        self.model, self.state, self.now = watched, Presence(), 0
        self.said: list[Change] = []
        self.ids: list[tuple[str, str]] = []

    def hear(self, windows: int, **rows: int) -> None:
        """So many windows with these rows of each stream, by name; without rows, a gap."""
        names = {"v1": V1, "v2": V2, "canary": CANARY, "de": DE, "fr": FR}
        if not rows:
            self.now += windows * WINDOW
            self._note(presence_family.advance(self.state, self.model, self.now))
            return
        for _ in range(windows):
            found = {names[name]: n for name, n in rows.items()}
            self._note(presence_family.step(self.state, self.model, self.now, found))
            self.now += WINDOW

    def _note(self, changes: list[Change]) -> None:
        self.said += changes
        self.ids += [(c.condition.alert_id, c.condition.incident) for c in changes]

    def heard(self) -> list[tuple[str, str, str, int]]:
        """What was said since the last time: transition, stream, severity, and window of the decision."""
        found: list[tuple[str, str, str, int]] = [
            (c.transition, c.stream.segment or c.stream.version, c.condition.severity, c.time // WINDOW)
            for c in self.said
        ]
        self.said = []
        return found


def test_a_busy_model_is_missed_after_one_window_and_welcomed_when_it_is_back() -> None:
    one = Listener(model())
    one.hear(200, v1=100)
    assert one.heard() == []
    one.hear(1)
    assert one.heard() == [("opened", "v1", "critical", 201)]
    one.hear(5)
    assert one.heard() == []
    one.hear(3, v1=100)
    assert one.heard() == [("resolved", "v1", "critical", 207)]


def test_a_silence_that_begins_and_ends_in_one_look_is_told_as_one_that_takes_two() -> None:
    for looks in (1, 2):
        one = Listener(model())
        one.hear(200, v1=100)
        if looks == 2:
            one.hear(5)
        else:
            one.now += 5 * WINDOW
        one.hear(1, v1=100)
        told = [(c.transition, c.condition.sequence, c.condition.open) for c in one.said]
        assert told == [("opened", 1, True), ("resolved", 2, False)]  # ids are made of the sequence (P3)


def test_the_alert_says_since_when_how_long_and_what_was_expected() -> None:
    one = Listener(model())
    one.hear(200, v1=100)
    one.hear(1)
    (change,) = one.said
    assert (change.family, change.subject) == ("service", "no_data")
    assert change.window == (200 * WINDOW, 201 * WINDOW)
    assert change.since == 200 * WINDOW
    assert (change.evidence.value, change.evidence.reference_value, change.evidence.n) == (WINDOW, 100.0, 0)
    assert change.evidence.p_value is not None
    assert change.evidence.level is not None
    assert change.evidence.p_value < change.evidence.level
    assert change.summary == (
        "loans v1: no predictions since 1970-01-02T09:20:00.000Z (10 min), 100 were to be expected; all of loans is silent"
    )


def test_the_level_is_the_service_share_of_the_budget_over_all_its_tests() -> None:
    watched = model(alerts={"false_alarms": "1 per 30d"})
    tests = 1 + 4  # no_data; rate by arrival and at maturity, delay, class balance
    assert presence_family.service_level(watched, V1) == pytest.approx(SHARES["service"] / (30 * DAY) / tests)
    alone = model(monitors=[{"service": "no_data"}])
    assert presence_family.service_level(alone, V1) == pytest.approx(SHARES["service"] / (30 * DAY))


def test_a_version_that_another_one_took_over_from_is_for_information() -> None:
    one = Listener(model())
    one.hear(200, v1=100)
    one.hear(20, v1=50, v2=50)
    one.hear(3, v2=100)
    assert one.heard() == [("opened", "v1", "info", 221)]


def test_after_a_rollback_the_newer_version_is_the_one_that_was_taken_over_from() -> None:
    one = Listener(model())
    one.hear(200, v1=100)
    one.hear(100, v2=100)
    one.hear(3, v1=100)
    assert one.heard() == [
        ("opened", "v1", "info", 201),
        ("resolved", "v1", "info", 301),
        ("opened", "v2", "info", 301),
    ]


def test_the_part_of_the_traffic_that_nobody_took_over_is_a_warning() -> None:
    one = Listener(model())
    one.hear(200, v1=100, canary=40)
    one.hear(1, v1=100)
    assert one.heard() == [("opened", "v3", "warning", 201)]
    one.hear(1)
    assert one.heard() == [("opened", "v1", "critical", 202)]


def test_a_segment_is_missed_alone_but_not_beside_its_version() -> None:
    one = Listener(model())
    one.hear(200, v1=100, de=60, fr=40)
    one.hear(1, v1=60, de=60)
    assert one.heard() == [("opened", "country=fr", "warning", 201)]
    one.hear(10, v1=100, de=60, fr=40)
    assert one.heard() == [("resolved", "country=fr", "warning", 202)]
    one.hear(3)
    assert one.heard() == [("opened", "v1", "critical", 212)]
    one.hear(1, v1=60, de=60)
    assert one.heard() == [("resolved", "v1", "critical", 215), ("opened", "country=fr", "warning", 215)]


@pytest.mark.parametrize(
    ("tier", "whole", "part"),
    [("low", "warning", "info"), ("normal", "critical", "warning"), ("high", "critical", "critical")],
)
def test_the_tier_shifts_the_severity(tier: str, whole: str, part: str) -> None:
    one = Listener(model(tier=tier))
    one.hear(200, v1=100, canary=50)
    one.hear(1, v1=100)
    one.hear(1)
    assert [said[2] for said in one.heard()] == [part, whole]


def test_a_version_that_was_superseded_is_not_missed_and_its_alert_resolves() -> None:
    one = Listener(model())
    one.hear(200, v1=100, v2=10)
    one.hear(10, v2=100)
    one.said = []
    evidence = Evidence(statistic="superseded", n=0)
    changes = supersede(one.state.book, "loans", "service", "v2", one.now, evidence)
    assert [(c.transition, c.stream) for c in changes] == [("resolved", V1)]
    one.hear(20, v2=100)
    assert one.heard() == []
    assert list(one.state.pasts) == ["v2\x1fchampion"]


def test_a_stream_that_was_never_there_is_never_missed() -> None:
    one = Listener(model())
    one.hear(10_000)
    one.hear(1, v1=1_000_000)
    one.hear(10_000)
    assert one.heard() == []
    assert one.state.pasts == {}


def test_after_four_weeks_a_stream_is_forgotten_and_its_alert_resolves() -> None:
    one = Listener(model())
    one.hear(200, v1=100)
    one.hear(60 * DAY)
    forgotten = 200 + FORGET // WINDOW + 1
    assert one.heard() == [("opened", "v1", "critical", 201), ("resolved", "v1", "critical", forgotten)]
    assert one.state.pasts == {}
    assert one.state.book.conditions == {}
    one.hear(5, v1=100)
    one.hear(100)
    assert one.heard() == []


def test_a_year_of_silence_costs_no_more_than_a_month(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    judge = presence_family._judge  # noqa: SLF001  # what a look costs is the number of windows that it is given

    def counted(*args: Any) -> list[Change]:  # noqa: ANN401  # passed on
        looks.append(len(args[3]))
        return judge(*args)

    monkeypatch.setattr(presence_family, "_judge", counted)
    one = Listener(model())
    one.hear(200, v1=100)
    looks.clear()
    one.hear(3650 * DAY)
    assert looks == [FORGET // WINDOW + 1]
    one.hear(3650 * DAY)
    assert len(looks) == 1


def test_where_it_is_not_watched_nothing_is_said() -> None:
    one = Listener(model(monitors=[{"drift": "features"}]))
    one.hear(200, v1=100)
    one.hear(100)
    assert one.heard() == []
    assert one.state.pasts == {}


def test_a_feature_set_is_missed_too() -> None:
    config = FeatureSetConfig.model_validate({"reference": "unused.json"})
    customers = compile_plan("features", {"customers": config}, {"customers": [reference(None)]}, 0).models[0]
    state, stream = Presence(), StreamKey("customers", "", "")
    for i in range(100):
        assert presence_family.step(state, customers, i * WINDOW, {stream: 50}) == []
    (change,) = presence_family.advance(state, customers, 102 * WINDOW)
    assert change.summary.startswith("customers: no feature events since 1970-01-01T16:40:00.000Z (10 min), 50 were")


@settings(max_examples=30, deadline=None)
@given(
    story=st.lists(
        st.tuples(
            st.integers(1, 600), st.sampled_from([(), ("v1",), ("v1", "v2"), ("v2",), ("v1", "de"), ("v1", "de", "fr")])
        ),
        min_size=1,
        max_size=12,
    ),
    cuts=st.lists(st.integers(1, 900), min_size=1, max_size=8),
)
def test_however_often_one_looks_the_same_is_said(story: list[tuple[int, tuple[str, ...]]], cuts: list[int]) -> None:
    rates = {"v1": 3, "v2": 40, "de": 3, "fr": 2}

    def told(pieces: list[int]) -> tuple[list[Any], bytes]:
        one, at = Listener(model()), 0
        for windows, streams in story:
            if streams:
                one.hear(min(windows, 60), **{name: rates[name] for name in streams})
                continue
            left = windows * 10
            while left:
                piece = min(left, pieces[at % len(pieces)])
                one.hear(piece)
                if piece % 2:  # a restart in between
                    one.state = msgspec.msgpack.decode(msgspec.msgpack.encode(one.state), type=Presence)
                left, at = left - piece, at + 1
        one.hear(1, v2=1)
        said = [(c.transition, c.time, c.stream, c.window, c.evidence, c.summary) for c in one.said]
        return [*said, *one.ids], msgspec.json.encode(one.state, order="deterministic")

    assert told(cuts) == told([1 << 40])


def test_false_alarms_of_many_streams_stay_within_the_budget() -> None:
    """The promise is for each version alone: 10 models of Poisson traffic, of all rates, for 10 days each."""
    rng = np.random.default_rng(11)
    said = 0
    for _ in range(10):
        one = Listener(model())
        counts = rng.poisson(10 ** rng.uniform(-1.5, 2), 10 * DAY)
        for n in counts.tolist():
            one.hear(1, v1=n) if n else one.hear(1)
        said += len(one.said)
    expected = 10 * 10 * DAY * presence_family.service_level(model(), V1)
    assert expected < 0.1
    assert said == 0
