"""Plays the story: a slice of event time at a time, each after driftline has decided all that came before.

Nothing depends on how fast the machine is: what a subscriber does, it does between two slices, at the same event time in
every run. Only the length of the demo differs.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.request import urlopen

import orjson
from prometheus_client.parser import text_string_to_metric_families

from schemas.identifiers import ALERTS, CONTROL, DEAD_LETTERS, LABELS, PREDICTIONS, RETRAIN
from schemas.outbox import payload
from streams.demo.pace import settle
from streams.demo.screen import clock
from streams.demo.service import MODEL, ScoringService, make_reference, train
from streams.demo.stage import Stage
from streams.demo.subscriber import Subscriber
from streams.demo.told import Measured, Told, read_event
from streams.demo.traffic import Traffic
from streams.demo.trainer import Trainer
from streams.demo.world import END_MINUTE, MINUTE, PHASES, World, history, phase_number
from streams.engine.evaluator import PERFORMANCE_RESULTS
from streams.status import read_status
from streams.stored import evaluator_shard

if TYPE_CHECKING:
    from streams.demo.screen import Screen

SLICE_MINUTES = 5
"""Event time between two waits: one window."""
_TRAINING_ROWS, _REFERENCE_ROWS = 4_000, 10_000
"""From before the story. The reference holds ten windows, as the tests of drift want it."""
_DAY_MS = 24 * 60 * MINUTE
_AGO_DAYS = 3
"""The story begins at a midnight so many days ago, so that all of it lies in the past: a time ahead would be refused (R13)."""
_SCRAPE_S = 10.0


def play(screen: Screen) -> Told:
    """Play all of it. Raises DriftlineError when a service or the worker gives up."""
    told = Told(begin_ms=(int(time.time() * 1000) // _DAY_MS - _AGO_DAYS) * _DAY_MS)
    screen.progress(0, "training the first version")
    rows = history(_TRAINING_ROWS + _REFERENCE_ROWS)
    classifier = train(rows[:_TRAINING_ROWS])
    judged = rows[_TRAINING_ROWS:]
    reference = make_reference(classifier, judged)
    told.reference_accuracy = sum(classifier.predict_one(f) == decision for f, decision in judged) / len(judged)
    screen.progress(0, "starting Kafka, Redis and the worker")
    with Stage(reference) as stage:
        screen.line(0, f"v1 is deployed; metrics at http://127.0.0.1:{stage.http_port}/metrics")
        Play(told, stage, screen, ScoringService("v1", classifier)).run()
    return told


class Play:
    """One performance on a running stage."""

    def __init__(self, told: Told, stage: Stage, screen: Screen, service: ScoringService) -> None:
        """Begin at minute 0; what happens goes into ``told``."""
        self._told, self._stage, self._screen, self._service = told, stage, screen, service
        self._traffic = Traffic(World(told.begin_ms), service)
        self._trainer = Trainer(stage.bootstrap, stage.store)
        self._inboxes = [Subscriber(stage.bootstrap, topic) for topic in (ALERTS, RETRAIN)]
        self._control = Subscriber(stage.bootstrap, CONTROL)
        self._payloads: dict[str, bytes] = {}

    def run(self) -> None:
        """All slices, then the accounts."""
        try:
            for first in range(0, END_MINUTE, SLICE_MINUTES):
                self._slice(first, first + SLICE_MINUTES)
            self._account()
        finally:
            for inbox in (*self._inboxes, self._control):
                inbox.close()

    def _slice(self, first: int, last: int) -> None:
        phase = PHASES[phase_number(first)]
        if first == phase.begin_minute:
            self._screen.line(first, phase.title, "bold cyan")
        title = f"{phase.title}, {self._service.version} at work"
        self._screen.progress(first, title)
        self._stage.produce(self._traffic.minutes(first, last))
        self._wait(last, title)
        for value in self._received():
            self._act(value, last)

    def _wait(self, minute: float, title: str) -> None:
        ends = {p: end for p, (_, end) in self._control.bounds().items()}
        settle(self._stage, ends, lambda: self._screen.progress(minute, title))

    def _received(self) -> list[bytes]:
        """The events that have come, each once."""
        new = []
        for inbox in self._inboxes:
            for value in inbox.drain():
                event = read_event(value, self._told.begin_ms)
                known = self._payloads.setdefault(event.id, payload(value))
                if known != payload(value):
                    self._told.contradicted.append(event.id)
                if all(event.id != e.id for e in self._told.events):
                    self._told.events.append(event)
                    self._screen.event(event)
                    new.append(value)
        return new

    def _act(self, value: bytes, minute: int) -> None:
        """Let the trainer see an event; deploy what it makes, once driftline has taken note of it."""
        made = self._trainer.act(value)
        if made is None:
            return
        self._told.new_version, self._told.deployed_minute = made, minute
        span = made.request.data.training_range.event_time
        begin, end = (clock((at - self._told.begin_ms) / MINUTE) for at in (span.start_ms, span.end_ms))
        text = f"{made.version} trained on {made.rows:,} labelled applications from {begin} to {end}, and deployed"
        self._screen.line(minute, text, "bold yellow")
        self._service.deploy(made.version, made.classifier)
        self._wait(minute, f"{made.version} takes over")
        self._received()

    def _account(self) -> None:
        """Ask everybody for their figures, once nothing moves any more."""
        told, stage = self._told, self._stage
        told.sent = self._traffic.sent
        status = read_status(stage.config, stage.store)
        told.counted = {t: sum((Counter(s.outcomes.get(t, {})) for s in status.tasks), Counter()) for t in told.sent}
        told.waiting = sum(task.waiting for task in status.tasks)
        told.scraped = scrape(stage.http_port)
        told.accuracy = self._measured()
        for topic in (PREDICTIONS, LABELS):
            with closing(Subscriber(stage.bootstrap, topic)) as inbox:
                told.removed += sum(low for low, _ in inbox.bounds().values())
        with closing(Subscriber(stage.bootstrap, DEAD_LETTERS)) as inbox:
            told.dead_letters = len(inbox.drain())

    def _measured(self) -> list[Measured]:
        """The accuracy of every evaluated window."""
        store, shard = self._stage.store, evaluator_shard(self._stage.config, MODEL)
        starts = store.starts(shard, PERFORMANCE_RESULTS, MODEL, 0, 1 << 62)
        cells = store.cells([(shard, (PERFORMANCE_RESULTS, MODEL, at)) for at in starts])
        found = []
        for record in (r for data in cells for r in orjson.loads(data or b"[]")):
            accuracy = record["metrics"].get("accuracy", {}).get("value")
            if accuracy is not None:
                minute = (record["window"][0] - self._told.begin_ms) / MINUTE
                found.append(Measured(record["version"], minute, accuracy, record["labels"]))
        return found


def scrape(port: int) -> dict[str, int]:
    """Records by topic as the worker's metrics have them: the sum of the outcomes, and of labels also those that wait."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=_SCRAPE_S) as answer:
        text = answer.read().decode()
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "driftline_events_total":
                found[sample.labels["topic"]] += int(sample.value)
            elif sample.name == "driftline_labels_waiting":
                found[LABELS] += int(sample.value)
    return dict(found)
