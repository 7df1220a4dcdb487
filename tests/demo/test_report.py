"""A story that went wrong is told as such: the check has a name, and the exit status is 1."""

from __future__ import annotations

import io
from collections import Counter
from copy import deepcopy
from typing import TYPE_CHECKING

import msgspec
import orjson
import pytest
from rich.console import Console

from schemas.alerts import Evidence, RetrainData, RetrainEvent, Span, TrainingRange
from schemas.errors import RetryLater
from streams.demo import run_demo
from streams.demo.checks import checks
from streams.demo.report import report
from streams.demo.told import Event, Measured, Told, read_event
from streams.demo.traffic import NOBODYS
from streams.demo.trainer import NewVersion

if TYPE_CHECKING:
    from collections.abc import Callable


def request() -> RetrainEvent:
    data = RetrainData(
        idempotency_key="key",
        model="loans",
        model_version="v1",
        variant="champion",
        reason="Train a new version of loans",
        evidence=Evidence(statistic="adwin", n=1000),
        alerts=["error_rate"],
        training_range=TrainingRange(event_time=Span.of(0, 1)),
        labels_available=5000,
    )
    return RetrainEvent(
        id="request",
        source="driftline/test",
        subject="loans/v1/champion",
        time="1970-01-01T01:46:00.000Z",
        sequence="0000000001",
        recordedtime="",
        expirytime="1970-01-01T07:46:00.000Z",
        type="dev.driftline.retrain.requested.v1",
        data=data,
    )


def alert(kind: str, minute: float, family: str, name: str, version: str = "v1") -> Event:
    return Event(f"{kind}/{version}/{name}", f"alert.{kind}", minute, version, family, name, name, f"{name} {kind}", {})


def right_story() -> Told:
    """A small story in which everything is as it should be."""
    subjects = [("drift", "loan", 50), ("drift", "hyears", 55), ("sequential", "error_rate", 86)]
    events = [alert("opened", minute, family, name) for family, name, minute in subjects]
    events += [alert("resolved", 110, family, name) for family, name, _ in subjects]
    events.append(read_event(msgspec.json.encode(request()), 0))
    return Told(
        begin_ms=0,
        events=events,
        new_version=NewVersion("v2", object(), 4900, 0.96, request()),
        reference_accuracy=0.95,
        accuracy=[Measured("v1", 0, 0.95, 10), Measured("v1", 90, 0.5, 10), Measured("v2", 120, 0.96, 10)],
        sent={"predictions": Counter(applied=10, late=1, dead_letter=1), "labels": Counter({"applied": 8, NOBODYS: 3})},
        counted={"predictions": Counter(applied=10, late=1, dead_letter=1), "labels": Counter(applied=8, orphan=1)},
        waiting=2,
        dead_letters=1,
        scraped={"predictions": 12, "labels": 11},
    )


def told_as(story: Told) -> tuple[int, str]:
    out = io.StringIO()
    status = report(story, Console(file=out, width=200))
    return status, out.getvalue()


def without(story: Told, *ids: str) -> None:
    story.events = [e for e in story.events if e.id not in ids]


def test_a_story_that_came_out_right_ends_with_status_0_and_says_when_things_were_noticed() -> None:
    status, text = told_as(right_story())
    assert status == 0
    assert "WRONG" not in text
    rows = {
        line.split("│")[1].strip(): [c.strip() for c in line.split("│")[2:6]]
        for line in text.splitlines()
        if "│" in line
    }
    assert rows["other people apply (hyears, loan)"] == ["00:40", "00:50", "10 min", "loan"]
    assert rows["the rule itself changes"] == ["01:20", "01:26", "6 min", "error_rate"]
    assert "11 of 11 sent" in text


WRONG: dict[str, tuple[str, Callable[[Told], None]]] = {
    "an alarm too early": (
        "nothing is reported while nothing has changed",
        lambda s: s.events.append(alert("opened", 30, "drift", "loan")),
    ),
    "a shift that is missed": ("the shift is noticed", lambda s: without(s, "opened/v1/loan")),
    "a wrong feature named": (
        "exactly the shifted features are named",
        lambda s: s.events.extend([alert("opened", 70, "drift", "age"), alert("resolved", 110, "drift", "age")]),
    ),
    "an alarm about performance without a reason": (
        "the shift alone raises no alarm",
        lambda s: s.events.extend(
            [alert("opened", 60, "performance", "f1"), alert("resolved", 70, "performance", "f1")]
        ),
    ),
    "a changed rule that is missed": ("the changed rule is noticed", lambda s: without(s, "opened/v1/error_rate")),
    "no request": ("one retraining is requested", lambda s: without(s, "request")),
    "a range that is gone": ("the suggested training range", lambda s: setattr(s, "removed", 1)),
    "nobody trained": ("the suggested training range", lambda s: setattr(s, "new_version", None)),
    "an alert left open": ("every alert of v1 is resolved", lambda s: without(s, "resolved/v1/loan")),
    "an alarm about the new version": (
        "v2 raises no alert",
        lambda s: s.events.append(alert("opened", 140, "drift", "age", "v2")),
    ),
    "a new version that is no better": (
        "accuracy falls",
        lambda s: setattr(s, "accuracy", [*s.accuracy[:2], Measured("v2", 120, 0.6, 10)]),
    ),
    "a record lost": ("every record is accounted for", lambda s: s.counted["predictions"].update({"applied": -1})),
    "a record miscounted": (
        "each record has the outcome it should have",
        lambda s: s.counted["predictions"].update({"late": 1, "applied": -1}),
    ),
    "a dead letter lost": ("every record that cannot be read", lambda s: setattr(s, "dead_letters", 0)),
    "metrics that disagree": ("the metrics count the same", lambda s: s.scraped.update(labels=12)),
    "two payloads": ("one event id, one payload", lambda s: s.contradicted.append("request")),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_story_that_went_wrong_ends_with_status_1_and_names_the_check(case: str) -> None:
    name, spoil = WRONG[case]
    story = deepcopy(right_story())
    spoil(story)
    status, text = told_as(story)
    assert status == 1
    assert any(line.startswith(f"WRONG  {name}") for line in text.splitlines())


def test_every_check_is_shown_to_go_wrong_by_some_story() -> None:
    names = [name for name, _ in WRONG.values()]
    assert [c.name for c in checks(right_story()) if not any(c.name.startswith(n) for n in names)] == []


def test_an_event_is_read_with_its_minute_of_the_story() -> None:
    event = read_event(orjson.dumps(msgspec.to_builtins(request())), 60_000)
    assert (event.kind, event.minute, event.version, event.name) == ("retrain.requested", 105, "v1", "")


def test_a_story_that_cannot_be_played_to_its_end_has_status_1_and_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def play(screen: object) -> Told:
        raise RetryLater("the worker did not finish", f"try again ({type(screen).__name__})")

    monkeypatch.setattr("streams.demo.story.play", play)
    assert run_demo() == 1
    assert (
        "WRONG  the story was not played to its end: the worker did not finish. try again (Screen)"
        in capsys.readouterr().out
    )
