"""The records of the demo: labels follow their predictions, and what is sent is what is counted as sent."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import orjson
import pytest

from schemas.identifiers import LABELS, PREDICTIONS
from streams.demo.service import ScoringService
from streams.demo.traffic import NOBODYS, Record, Traffic
from streams.demo.world import APPROVE, DECLINE, LABEL_DELAY_MS, PER_MINUTE, World

if TYPE_CHECKING:
    from streams.demo.world import Features

MINUTES = 50


class Optimist:
    """Approves everything."""

    def predict_proba_one(self, features: Features) -> dict[str, float]:
        """The same for everybody, as river's classifiers would say it."""
        assert "age" in features
        return {APPROVE: 0.75, DECLINE: 0.25}


@pytest.fixture(scope="module")
def told() -> tuple[Traffic, list[Record]]:
    traffic = Traffic(World(0), ScoringService("v1", Optimist()))
    return traffic, traffic.minutes(0, 20) + traffic.minutes(20, MINUTES)


def readable(records: list[Record], topic: str) -> list[dict[str, object]]:
    return [orjson.loads(r.value) for r in records if r.topic == topic and not r.key.startswith("broken")]


def test_every_application_is_predicted_once_and_some_are_repeated(told: tuple[Traffic, list[Record]]) -> None:
    events = [e for e in readable(told[1], PREDICTIONS) if str(e["prediction_id"]).startswith("application-")]
    seen = Counter(e["prediction_id"] for e in events)
    assert len(seen) == MINUTES * PER_MINUTE
    assert len(events) - len(seen) == told[0].sent[PREDICTIONS]["duplicate"] > 0
    assert {(e["prediction"], e["score"], e["model_version"]) for e in events} == {(APPROVE, 0.75, "v1")}


def test_a_label_comes_after_its_prediction_with_the_clerks_delay(told: tuple[Traffic, list[Record]]) -> None:
    asked: dict[object, int] = {}
    for record in told[1]:
        if record.key.startswith("application-"):
            event = orjson.loads(record.value)
            if record.topic == PREDICTIONS:
                asked.setdefault(record.key, event["event_time"])
            else:
                assert LABEL_DELAY_MS[0] <= event["event_time"] - asked[record.key] <= LABEL_DELAY_MS[1]


def test_the_records_have_their_predictions_id_as_key(told: tuple[Traffic, list[Record]]) -> None:
    for record in told[1]:
        if not record.key.startswith("broken"):
            assert orjson.loads(record.value)["prediction_id"] == record.key


def test_what_is_sent_is_what_is_counted_and_every_mess_happens(told: tuple[Traffic, list[Record]]) -> None:
    traffic, records = told
    assert {t: c.total() for t, c in traffic.sent.items()} == Counter(r.topic for r in records)
    messes = {"applied", "duplicate", "dead_letter", "unknown_model", "late"}
    assert {k for k, n in traffic.sent[PREDICTIONS].items() if n} == messes
    assert {k for k, n in traffic.sent[LABELS].items() if n} == {
        "applied", "duplicate", "conflict", "dead_letter", NOBODYS,
    }  # fmt: skip
