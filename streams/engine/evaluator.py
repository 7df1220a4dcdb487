"""The evaluator of one model: reads the closed panes of all tasks, decides, and keeps what it decided.

It is one more shard: its own head (cursors, detector states, alerts, retrain policy), its own outbox, the same commit. The
families and the retrain policy are state machines over their own ordered sequences (quality goes along with drift, over the
same windows; performance goes over its windows twice, R4); ``run`` moves each as far as the tasks' clocks allow. A command
takes effect between two runs, and the cursors say between which decisions (R9), so that a replay can stop at the same place
(``limit``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from schemas.alerts import Evidence
from schemas.config import ModelConfig
from schemas.control import Approve, Command, RetrainFailed, RetrainStarted, RetrainSucceeded
from schemas.errors import RESTORE, StateMissing
from schemas.identifiers import StreamKey, model_tag
from schemas.times import rfc3339
from streams.engine import (
    announce,
    drift_family,
    labels_family,
    performance_family,
    presence_family,
    proxy_family,
    quality_family,
    retrain,
    sequential_family,
    snapshot,
    training_ranges,
)
from streams.engine.evaluator_head import HEAD, UNSET, Cursors, EvaluatorHead
from streams.engine.families import supersede
from streams.engine.kernels.clock import NEVER
from streams.engine.recent import Recent
from streams.engine.retrain import Tick
from streams.engine.shape import HEADER
from streams.engine.store import ARRIVALS, FEATURES, PERFORMANCE
from streams.engine.windows import MAX_WINDOWS, closed_windows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from schemas.outbox import OutboxEvent
    from schemas.settings import Topics
    from streams.engine.alerts import Change
    from streams.engine.plan import Model, References
    from streams.engine.store import Cell, Commit, Store
    from streams.engine.task_head import Progress
    from streams.engine.windows import Window

DRIFT_RESULTS, PERFORMANCE_RESULTS, PROXY_RESULTS = "drift-results", "performance-results", "proxy-results"
"""Kinds of cells in the evaluator's shard: one JSON record per evaluated window."""
KEPT_WINDOWS = 1_000
"""Evaluated windows whose records are kept: a week of ten-minute windows. A window of performance counts from its second
evaluation, so that a horizon of 30 days keeps 4,320 ten-minute windows more."""


@dataclass(frozen=True, slots=True)
class Frontier:
    """How far all tasks are: least watermark, least label clock (not beyond the watermark), start of the first pane."""

    watermark: int
    labels: int
    first: int


def frontier(model: str, progress: Sequence[Progress | None]) -> Frontier | None:
    """The least of all tasks; None while one of them does not know the model yet."""
    rows = [p.models.get(model) if p is not None else None for p in progress]
    known = [r for r in rows if r is not None]
    if len(known) < len(rows) or not known:
        return None
    watermark = min(r[0] for r in known)
    labels = min(min(r[0], r[1]) for r in known) if all(r[1] != NEVER for r in known) else NEVER
    first = min(r[2] for r in known)
    return Frontier(watermark, labels, first) if first < -NEVER else None


class Evaluator:
    """One model's evaluator. ``shards`` are all tasks of its group, by partition; ``recorded`` gives the wall clock as text."""

    def __init__(
        self,
        model: Model,
        shards: Sequence[str],
        group: str,
        topics: Topics,
        recorded: Callable[[], str],
        body: bytes | None = None,
        references: References | None = None,
    ) -> None:
        """From its shard's last body, or new. Raises StateCorrupt, StateNewer, or StateMismatch."""
        self.model, self.shards, self._group, self._topics, self._recorded = model, shards, group, topics, recorded
        self._references = references
        self.shard = model_tag(group, model.name)
        where = f"{self.shard} head"
        self.head = EvaluatorHead() if body is None else snapshot.unpack(HEAD, body, EvaluatorHead, where)
        model.refuse_other_times(self.head.times, where)
        self.head.times = model.times
        self._recent = Recent(model.name, self.shard, model.window)
        self.events: list[tuple[int, OutboxEvent]] = []
        self._through: dict[str, int] = {}
        self._put: dict[Cell, bytes] = {}
        self._drop: list[Cell] = []
        self.changed = False
        self.silence_counts = True
        """Whether windows without events are silence. Not where time was only made to run on (``Replay.run``)."""

    def run(self, store: Store, progress: Sequence[Progress | None], limit: Cursors | None = None) -> bool:
        """Decide what can be decided, up to ``MAX_WINDOWS`` windows a family; True when there may be more at once."""
        at = frontier(self.model.name, progress)
        if at is None:
            return False
        self._refuse_deleted(progress)
        model, cursors = self.model, self.head.cursors
        if cursors.drift == UNSET:
            # The first window is final only when the watermark has passed it: before that an earlier one may still appear.
            first = at.first // model.window * model.window
            if at.watermark < first + model.window + model.lateness:
                return False
            self.head.cursors = cursors = Cursors(first, first, first, NEVER, first)
            self.head.kept_from = self.head.kept_performance_from = first
            self.changed = True
        more = self._drift(store, at, limit.drift if limit else -NEVER)
        if model.labelled:
            more |= self._performance(store, at, limit.performance if limit else -NEVER)
            more |= self._final(store, at, limit.final if limit else -NEVER)
            more |= self._sequential(store, at, limit.sequential if limit else -NEVER)
            self._retrain(store, at, limit)
        self._forget(store)
        return more

    def _refuse_deleted(self, progress: Sequence[Progress | None]) -> None:
        """Raise StateMissing when a task has deleted what we have not read: then it is our shard that went back (R11)."""
        c = self.head.cursors
        for shard, found in zip(self.shards, progress, strict=True):
            for kind, read in ((FEATURES, c.drift), (ARRIVALS, c.sequential), (PERFORMANCE, c.final)):
                deleted = found.dropped.get(f"{kind} {self.model.name}", 0) if found is not None else 0
                if deleted > max(read, 0):
                    what = f"{self.shard}: read up to {rfc3339(max(read, 0))}, and {shard} has deleted {kind} up to {rfc3339(deleted)}"
                    raise StateMissing(what, RESTORE)

    # -- families -----------------------------------------------------------------------------------------------------

    def _windows(
        self, store: Store, family: str, kind: str, first: int, last: int, length: int, stop: int
    ) -> list[Window]:
        """The next windows of a family, and how far it will be complete after them (``_through``)."""
        last = min(last // length * length, stop)
        found: list[Window] = []
        if last > first:
            found = list(closed_windows(store, self.shards, kind, self.model.name, first, last, length))
        for window in found:
            # A version may have been met by another worker only: its reference is looked up before it is judged.
            window.references = {
                stream: self.model.reference_of(stream, shape, self._references)
                for stream, (shape, _) in window.streams.items()
            }
        self._through[family] = found[-1].end if len(found) == MAX_WINDOWS else max(last, first)
        self.changed |= bool(found)
        return found

    def _drift(self, store: Store, at: Frontier, stop: int) -> bool:
        model, head = self.model, self.head
        last = at.watermark - model.lateness
        windows = self._windows(store, "drift", FEATURES, head.cursors.drift, last, model.window, stop)
        if not self._recent.loaded:
            self._recent.load(store, head.recent)
        for window in windows:
            longest = max((model.rule(r, s).longest for s, r in window.references.items()), default=1)
            put, dropped = self._recent.add(window, longest)
            self._put.update(put)
            # What was put since the last commit never reaches the store; the order within a commit means nothing.
            self._drop.extend(cell for cell in dropped if self._put.pop(cell, None) is None)
            head.recent = self._recent.kept
            changes, records = drift_family.step(head.drift, model, window, self._recent.over)
            faults, quality = quality_family.step(head.quality, model, window)
            expected, proxies = proxy_family.step(head.proxies, model, window)
            for record in records:
                stream = StreamKey(model.name, record["version"], record["variant"], record.get("segment", ""))
                record["quality"] = quality.get(stream, {})
                record["proxies"] = proxies.get(stream, {})
            self._keep(DRIFT_RESULTS, window, records)
            self._remember("predictions", window)
            rows = {stream: int(vector[0]) for stream, (_, vector) in window.streams.items()}
            heard = presence_family.step(head.presence, model, window.start, rows)
            self._announce([*changes, *faults, *expected, *heard])
            head.cursors.drift = window.end
            head.windows += 1
        self._silence(self._through["drift"])
        return len(windows) == MAX_WINDOWS

    def _silence(self, until: int) -> None:
        """Judge the windows without events behind the last one; where that decided something, the cursor says so (R9)."""
        if not self.silence_counts:
            return
        changes = presence_family.advance(self.head.presence, self.model, until)
        self._announce(changes)
        for change in changes:
            self.head.cursors.drift = max(self.head.cursors.drift, change.time)
            self.changed = True

    def _performance(self, store: Store, at: Frontier, stop: int) -> bool:
        model, head = self.model, self.head
        last = at.labels - model.lateness - model.maturity if at.labels != NEVER else 0
        first = head.cursors.performance
        windows = self._windows(store, "performance", PERFORMANCE, first, last, model.window, stop)
        for window in windows:
            changes, records = performance_family.step(head.performance, model, window)
            self._keep(PERFORMANCE_RESULTS, window, records)
            self._announce([*changes, *labels_family.mature(head.labels, model, window)])
            head.coverage["mature"] = performance_family.coverage(model, window, performance_family.MATURE)
            head.cursors.performance = window.end
            head.windows += 1
        return len(windows) == MAX_WINDOWS

    def _final(self, store: Store, at: Frontier, stop: int) -> bool:
        """Performance again, at the horizon. The policy does not hear of it: it would have to wait a horizon for every window."""
        model, head = self.model, self.head
        last = at.labels - model.lateness - model.horizon if at.labels != NEVER else 0
        # Never ahead of revision 1: its record is what this one adds to.
        stop = min(stop, head.cursors.performance)
        windows = self._windows(store, "final", PERFORMANCE, head.cursors.final, last, model.window, stop)
        for window, before in zip(windows, self._kept(store, PERFORMANCE_RESULTS, windows), strict=True):
            changes, records = performance_family.revise(head.final, model, window)
            self._keep(PERFORMANCE_RESULTS, window, performance_family.with_final(before, records))
            self._announce(changes, tell_policy=False)
            head.coverage["final"] = performance_family.coverage(model, window, performance_family.FINAL)
            head.cursors.final = window.end
        return len(windows) == MAX_WINDOWS

    def _sequential(self, store: Store, at: Frontier, stop: int) -> bool:
        model, head = self.model, self.head
        config = model.config
        last = at.labels - model.lateness if at.labels != NEVER else 0
        panes = self._windows(store, "sequential", ARRIVALS, head.cursors.sequential, last, model.pane, stop)
        self._remember_labels(store)
        for pane in panes:
            self._calibration(pane.start)
            self._labels(pane.start // model.window * model.window)
            # A segment's labels are among those of all traffic.
            labels = sum(int(vector[HEADER]) for stream, (_, vector) in pane.streams.items() if not stream.segment)
            if isinstance(config, ModelConfig) and config.retrain is not None:
                head.policy.ticks.append(Tick(pane.end, labels))
            if isinstance(config, ModelConfig) and config.sequential:
                self._announce(sequential_family.step(head.sequential, head.series, model, pane))
            proxy_family.collect(head.proxies, model, pane)
            labels_family.collect(head.labels, model, pane)
            head.cursors.sequential = pane.end
            self._calibration(pane.end)
            self._labels(pane.end // model.window * model.window)
        if len(panes) < MAX_WINDOWS:
            self._calibration(min(last, stop))
            self._labels(min(last, stop) // model.window * model.window)
        return len(panes) == MAX_WINDOWS

    def _labels(self, until: int) -> None:
        """Judge the labels as a stream up to ``until``, the end of a window of which all panes are read."""
        head = self.head
        through, changes = labels_family.advance(
            head.labels,
            self.model,
            until,
            lambda s, shape: self.model.reference_of(s, shape, self._references),
            silence=self.silence_counts,
        )
        if through:
            self._announce(changes)
            head.cursors.sequential = max(head.cursors.sequential, through)
            self.changed = True

    def _calibration(self, until: int) -> None:
        """Close the collected window of labels once all of its panes are read, which the cursor then says (R9)."""
        head = self.head
        closed = proxy_family.close(
            head.proxies, self.model, until, lambda s, shape: self.model.reference_of(s, shape, self._references)
        )
        if closed is not None:
            window, changes, records = closed
            self._keep(PROXY_RESULTS, window, records)
            self._announce(changes)
            head.cursors.sequential = max(head.cursors.sequential, window.end)
            self.changed = True

    def _retrain(self, store: Store, at: Frontier, limit: Cursors | None) -> None:
        """Let the policy see everything that all families it listens to have decided."""
        config = self.model.config
        if not isinstance(config, ModelConfig) or config.retrain is None or at.labels == NEVER:
            return
        # Both, whatever the policy listens to: a training range is read from the windows that they have passed.
        through = [self._through["sequential"], self._through["drift"]]
        if "performance" in config.retrain.on:
            through.append(self._through["performance"] + self.model.maturity)
        # Whole windows: what a request names is read from windows, and one half read would give its id two payloads (P3).
        passed = min(through) // self.model.window * self.model.window
        least = passed
        if limit is not None and self.reached(limit):
            # The policy was that far, and so were the labels, also where there were no outcomes.
            least = limit.retrain
            self._through["sequential"] = max(self._through["sequential"], least)
            self._remember_labels(store)
        self._publish_requests(retrain.advance(self.head.policy, self.model, least))
        if self.head.policy.through > self.head.cursors.retrain:
            self.head.cursors.retrain = self.head.policy.through
            self.changed = True

    def reached(self, limit: Cursors) -> bool:
        """Whether every family has looked at what lies before the cursors of a journaled command.

        Silence moves cursors, too; under another configuration than the command's it may not, and the cursors stay behind what
        was looked at.
        """
        c, through = self.head.cursors, self._through
        pairs = [("drift", c.drift, limit.drift)]
        if self.model.labelled:
            pairs += [
                ("performance", c.performance, limit.performance),
                ("sequential", c.sequential, limit.sequential),
                ("final", c.final, min(limit.final, c.performance)),
            ]
        return all(max(at, through.get(family, at)) >= wanted for family, at, wanted in pairs)

    # -- commands -----------------------------------------------------------------------------------------------------

    def command(self, command: Command, partition: int, offset: int) -> bool:
        """Apply a command read at ``offset`` of the control topic; True when it changed something (it is journaled then)."""
        self.head.control[partition] = offset + 1
        self.changed = True
        policy, time = self.head.policy, max(self.head.policy.through, 0)
        match command:
            case Approve():
                request = retrain.command(policy, self.model, "approve", command.request)
                if request is not None:
                    self._publish_requests([("requested", request, time)])
            case RetrainStarted():
                request = retrain.command(policy, self.model, "started", command.request)
            case RetrainFailed():
                request = retrain.command(policy, self.model, "failed", command.request)
            case RetrainSucceeded():
                request = retrain.command(policy, self.model, "succeeded", command.request)
                if request is not None:
                    self._supersede(command.model_version, time)
        return request is not None

    def _supersede(self, version: str, time: int) -> None:
        evidence = Evidence(statistic="superseded", n=0, config_hash=self.model.decision)
        for family, book in self.head.books():
            self._announce(supersede(book, self.model.name, family, version, time, evidence), tell_policy=False)
        supersede(self.head.final.matured, self.model.name, "performance", version, time, evidence)  # said above
        self.head.policy.queue.clear()

    # -- what leaves --------------------------------------------------------------------------------------------------

    def _announce(self, changes: list[Change], *, tell_policy: bool = True) -> None:
        for change in changes:
            self.emit(announce.alert(change, self._group, self._topics, self._recorded()))
            self.head.alerts[change.transition] = self.head.alerts.get(change.transition, 0) + 1
        if tell_policy:
            retrain.take(self.head.policy, self.model, changes)

    def _publish_requests(self, requests: list[tuple[retrain.Verb, retrain.Request, int]]) -> None:
        for verb, request, time in requests:
            if not request.offsets:
                request.offsets = {
                    topic: training_ranges.offsets(
                        self.head.ranges, kind, request.since, request.decided, self.model.window
                    )
                    for kind, topic in (("predictions", self._topics.predictions), ("labels", self._topics.labels))
                }
                flight = self.head.policy.flight
                if flight is not None and flight.key == request.key:
                    flight.offsets = request.offsets
            args = (self.model, verb, request, time, request.offsets, self._group, self._topics, self._recorded())
            self.emit(announce.retrain(*args))
            self.changed = True

    def emit(self, event: OutboxEvent) -> None:
        """Put an event (or a journal entry) into the outbox of the next commit."""
        self.events.append((self.head.next_event, event))
        self.head.next_event += 1

    def _remember(self, kind: str, window: Window) -> None:
        """Keep the offsets of a window (of a pane of labels: of the window it lies in) for a training range."""
        training_ranges.remember(self.head.ranges, kind, window, self.model.window, self.head.policy.through)

    def _remember_labels(self, store: Store) -> None:
        """Keep the offsets of the labels up to where the outcomes are read."""
        head, through = self.head, self._through["sequential"]
        found = training_ranges.label_panes(store, self.shards, self.model, max(head.labels_through, 0), through)
        for pane in found:
            self._remember("labels", pane)
        self.changed |= bool(found)
        head.labels_through = max(head.labels_through, through)

    def _keep(self, kind: str, window: Window, records: list[dict[str, object]]) -> None:
        data = orjson.dumps(records, option=orjson.OPT_SORT_KEYS)
        self._put[kind, self.model.name, window.start] = data

    def _kept(self, store: Store, kind: str, windows: list[Window]) -> list[list[dict[str, Any]]]:
        """What was kept of some windows before, committed or not."""
        cells = [(kind, self.model.name, window.start) for window in windows]
        found = store.cells([(self.shard, cell) for cell in cells]) if cells else []
        return [orjson.loads(self._put.get(cell, data) or b"[]") for cell, data in zip(cells, found, strict=True)]

    def _forget(self, store: Store) -> None:
        """Drop the results of windows that their family has long passed: of performance, with both of its revisions."""
        head, kept = self.head, KEPT_WINDOWS * self.model.window
        limit = head.cursors.drift - kept
        self._drop_results(store, PROXY_RESULTS, head.kept_from, limit)
        head.kept_from = self._drop_results(store, DRIFT_RESULTS, head.kept_from, limit)
        passed = head.cursors.final - kept
        head.kept_performance_from = self._drop_results(store, PERFORMANCE_RESULTS, head.kept_performance_from, passed)

    def _drop_results(self, store: Store, kind: str, since: int, limit: int) -> int:
        if limit <= since:
            return since
        name = self.model.name
        # Also what was put since the last commit: which windows are kept must not depend on where commits fall (P2).
        for cell in [c for c in self._put if c[0] == kind and c[2] < limit]:
            del self._put[cell]
        self._drop.extend((kind, name, at) for at in store.starts(self.shard, kind, name, 0, limit))
        return limit

    def stage(self, commit: Commit) -> None:
        """Write the whole state, the new results and the new events into ``commit``."""
        commit.put.extend(self._put.items())
        commit.drop.extend(self._drop)
        commit.outbox.extend((sequence, snapshot.pack(b"outb", event)) for sequence, event in self.events)
        commit.body = snapshot.pack(HEAD, self.head)
        commit.progress = snapshot.pack(b"curs", self.head.cursors)

    def committed(self) -> list[tuple[int, OutboxEvent]]:
        """The staged commit is done: returns the events that may be published now."""
        events = self.events
        self.events, self._put, self._drop, self.changed = [], {}, [], False
        return events
