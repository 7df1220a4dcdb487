"""One task: partition p of a co-partitioned topic group, from decoded columns to counts that can be committed.

Life cycle: a task is made empty, or restored from its shard (``task_restore``); it takes batches of its partitions in offset order
(``predictions``, ``labels``), entries of the partition clock (``clock``) and model starts (``start``); ``stage`` writes what
changed into a commit and ``committed`` forgets what that commit made final. It holds no client and reads no clock.

Quantities: the *watermark* of a model is the largest event time of its predictions here, moved on by the partition's record
time while the model is silent (R1, R2); the *label clock* is the same for label times (R4). Both start at ``NEVER`` and never
go back. What a row may still change follows from them alone, so neither batches nor the interleaving of topics matter (P2).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from detectors.performance import count_outcomes
from detectors.performance.delays import count_delays
from schemas.errors import Outcome
from streams.engine import cells, snapshot
from streams.engine.columns import NO_MODEL, UNKNOWN_MODEL, LabelColumns, PredictionColumns
from streams.engine.join import Join, Pairs
from streams.engine.kernels import clock as clocks
from streams.engine.kernels import join as joins
from streams.engine.kernels.clock import NEVER
from streams.engine.kernels.fold import fold, touch
from streams.engine.outcomes import FIRST_BLOCK, REMEMBERED
from streams.engine.plan import BINARY
from streams.engine.shape import HEADER
from streams.engine.store import ARRIVALS, EVERY, FEATURES, LABELS, PERFORMANCE
from streams.engine.task_head import HEAD, Progress, head_of
from streams.engine.task_streams import TaskStreams

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from streams.engine.plan import Model, Plan
    from streams.engine.store import Cell, Commit
    from streams.engine.task_head import ModelClock

_STATUS = {
    0: Outcome.APPLIED,
    clocks.LATE: Outcome.LATE,
    clocks.FUTURE: Outcome.FUTURE,
    joins.DUPLICATE: Outcome.DUPLICATE,
    joins.CONFLICT: Outcome.CONFLICT,
    joins.SAMPLED_OUT: Outcome.SAMPLED_OUT,
}


class Task:
    """The state of one task. Arrays have one entry per model of the plan, in its order."""

    def __init__(self, plan: Plan, shard: str, predictions: str, labels: str | None, partitions: int = 1) -> None:
        """An empty task; ``predictions`` (or the features topic) and ``labels`` are topic names, ``shard`` names its state.

        ``partitions``: how many such tasks there are, which share ``labels.memory``.
        """
        models = plan.models
        n = len(models)
        self.plan, self.shard = plan, shard
        self.topics: tuple[str, ...] = (predictions,) if labels is None else (predictions, labels)
        self.offsets = dict.fromkeys(self.topics, 0)
        self.record_time = dict.fromkeys(self.topics, NEVER)
        self.ledger: dict[str, Counter[str]] = {topic: Counter() for topic in self.topics}
        self.watermark, self.heard = np.full(n, NEVER), np.full(n, NEVER)
        self.label_clock, self.label_heard = np.full(n + 1, NEVER), np.full(n + 1, NEVER)
        self.borrowed, self.label_borrowed = np.zeros(n, np.uint8), np.zeros(n + 1, np.uint8)
        self.begun: dict[int, tuple[int, int]] = {}
        self.parked: dict[str, ModelClock] = {}  # of models that are not configured now, so that they can come back
        self.parked_open: dict[str, dict[str, tuple[int, int]]] = {}
        self.first = np.full(n, -NEVER)
        self.unknown_features = np.zeros(n, np.int64)
        self.streams = TaskStreams(plan)
        self.join = Join(plan, partitions)
        self.open = {
            FEATURES: cells.Cells(lambda m, s: self.streams.shapes[m][s].width),
            ARRIVALS: cells.Cells(lambda m, _s: models[m].arrival_width),
            PERFORMANCE: cells.Cells(lambda m, _s: models[m].performance_width),
            LABELS: cells.Cells(lambda _m, _s: HEADER),
        }
        self.closed: Counter[tuple[str, str]] = Counter()
        """How many cells of a (kind, model) stand in the store that can change no more."""
        self.dropped: dict[tuple[str, str], int] = {}
        """Closed cells of a (kind, model) that start before this are deleted, because every reader has passed them (R12)."""
        self._dropped: list[Cell] = []
        self._closing: list[tuple[str, int, int]] = []
        self._pane = np.array([m.pane for m in models], np.int64)
        # Of labels that name no model: a part of every model's panes.
        self._label_pane = np.append(self._pane, np.gcd.reduce(self._pane) if n else 1)
        self.lateness = np.array([m.lateness for m in models], np.int64)
        self._idle = np.array([m.idle for m in models], np.int64)
        self._label_lateness = np.append(self.lateness, self.lateness.min(initial=1 << 40))
        self._label_idle = np.append(self._idle, self._idle.max(initial=0))
        self._window = np.array([m.window for m in models], np.int64)
        self._maturity = np.array([m.maturity for m in models], np.int64)

    # -- records ------------------------------------------------------------------------------------------------------

    def predictions(
        self,
        columns: PredictionColumns,
        first: int,
        last: int,
        offset: NDArray[np.int64],
        record_time: NDArray[np.int64],
    ) -> list[int]:
        """Take the rows first..last-1 of a decoded batch: one partition's records, in offset order.

        Returns the rows (of the batch) of streams beyond ``MAX_STREAMS``: dead letters, counted as such.
        """
        topic = self.topics[0]
        part = slice(first, last)
        event_time = columns.event_time[part]
        model, cohort, refused = self.streams.admit(columns.model[part], columns.stream[part], columns.segments, first)
        offset, record_time = offset[part], record_time[part]
        status = np.empty(last - first, np.int8)
        self.record_time[topic] = clocks.advance(
            model,
            event_time,
            record_time,
            self.watermark,
            self.heard,
            self.borrowed,
            self.record_time[topic],
            self._pane,
            self.lateness,
            self._idle,
            self.plan.future,
            self.join.floor,
            self.join.reach,
            status,
        )
        self.offsets[topic] = int(offset[-1]) + 1
        self._begin(model, event_time, record_time, status)
        if len(self.topics) > 1:
            stream, remembered = self.streams.remembered(model, cohort)
            outcomes, fresh = self.join.add_predictions(
                columns.key[part],
                event_time,
                model,
                stream,
                remembered,
                columns.klass[part],
                columns.answer[part],
                status,
            )
            waits = np.flatnonzero(fresh)
            self._remember(model[waits], cohort[waits], event_time[waits])
            self._add_outcomes(outcomes)
        applied = np.flatnonzero(status == 0)
        if len(applied):
            m = model[applied].astype(np.int64)
            start = event_time[applied] // self._pane[m] * self._pane[m]
            np.minimum.at(self.first, m, start)
            self._fold(columns, first, last, status, cohort, offset)
        self._count(topic, model, status)
        for index, unknown in columns.unknown.items():
            self.unknown_features[index] += int(unknown[part].sum())
        return [first + row for row in refused]

    def _fold(
        self,
        columns: PredictionColumns,
        first: int,
        last: int,
        status: NDArray[np.int8],
        cohort: NDArray[np.int32],
        offset: NDArray[np.int64],
    ) -> None:
        """Count the applied rows of each model in all traffic and in their segments, shape by shape."""
        for m, group in columns.features.items():
            low, high = np.searchsorted(group.rows, (first, last))
            local = group.rows[low:high] - first
            at = np.flatnonzero(status[local] == 0)
            if not len(at):
                continue
            rows, shapes = local[at], self.streams.shapes[m]
            c = cohort[rows].astype(np.int64)
            start = columns.event_time[first:last][rows] // self._pane[m] * self._pane[m]
            begin = self.open[FEATURES].spread(m, start, c, self.streams.members[m])
            stream = self.streams.bases(m, c)
            for s in np.unique(stream).tolist():
                shape = shapes[s]
                mine = np.flatnonzero(stream == s)
                fold(
                    group.values,
                    at[mine] + low,
                    np.ascontiguousarray(begin[:, mine]),
                    offset[rows[mine]],
                    self.open[FEATURES].arena,
                    shape.column,
                    shape.categorical,
                    shape.base,
                    shape.bins,
                    shape.table,
                    shape.table_size,
                    shape.edges,
                    shape.slots,
                )

    def labels(
        self, columns: LabelColumns, first: int, last: int, offset: NDArray[np.int64], record_time: NDArray[np.int64]
    ) -> None:
        """Take the rows first..last-1 of a decoded batch of labels: one partition's records, in offset order."""
        topic = self.topics[1]
        part = slice(first, last)
        model = columns.model[part]
        offset, record_time = offset[part], record_time[part]
        status = np.empty(last - first, np.int8)
        effective = np.zeros(last - first, np.int64)
        self.record_time[topic] = clocks.advance_labels(
            np.where(model == UNKNOWN_MODEL, NO_MODEL, model).astype(np.int32),
            columns.label_time[part],
            record_time,
            self.label_clock,
            self.label_heard,
            self.label_borrowed,
            self.record_time[topic],
            self._label_lateness,
            self._label_idle,
            self.plan.future,
            status,
            effective,
        )
        self.offsets[topic] = int(offset[-1]) + 1
        outcomes = self.join.add_labels(
            columns.key[part], effective, model, columns.truth[part], columns.number[part], offset, status
        )
        self._add_outcomes(outcomes)
        self._place_labels(model, effective, offset, status)
        self._count(topic, model, status)

    def _place_labels(
        self, model: NDArray[np.int32], time: NDArray[np.int64], offset: NDArray[np.int64], status: NDArray[np.int8]
    ) -> None:
        """Note at which offsets the labels of a time stand: what a training range names. The label log alone decides."""
        known = np.flatnonzero((status != clocks.SKIPPED) & (status != clocks.FUTURE))
        if len(known):
            of = np.where(model[known] < 0, len(self.plan.models), model[known]).astype(np.int64)
            start = time[known] // self._label_pane[of] * self._label_pane[of]
            header = self.open[LABELS].place(of, start, np.zeros(len(known), np.int64))
            touch(self.open[LABELS].arena, header, offset[known])

    def name_of(self, model: int) -> str:
        """The model of a cell, EVERY of those of labels without one."""
        return EVERY if model == len(self.plan.models) else self.plan.models[model].name

    def _count(self, topic: str, model: NDArray[np.int32], status: NDArray[np.int8]) -> None:
        """Book every row under its one outcome (R6); a waiting label is booked when it is decided."""
        ledger = self.ledger[topic]
        ledger[Outcome.DEAD_LETTER] += int(np.count_nonzero(model == NO_MODEL))
        ledger[Outcome.UNKNOWN_MODEL] += int(np.count_nonzero(model == UNKNOWN_MODEL))
        counts = np.bincount(status, minlength=8)
        for code, outcome in _STATUS.items():
            ledger[outcome] += int(counts[code])
        if topic != self.topics[0]:
            del ledger[Outcome.APPLIED]  # of a label, the join knows

    def _add_outcomes(self, outcomes: Pairs) -> None:
        """Book joined pairs: by arrival of the label, and by the window of the prediction."""
        for m in np.unique(outcomes.model).tolist():
            mine = np.flatnonzero(outcomes.model == m)
            config = self.plan.models[m]
            e, known = outcomes.event_time[mine], outcomes.label_time[mine]
            arrival = np.maximum(e, known) // config.pane * config.pane
            window = e // config.window * config.window
            mature = known < window + config.window + config.maturity  # at that moment it may be evaluated already
            cohort = self.streams.recalled(m, outcomes.stream[mine], outcomes.cohort[mine])
            truth, number = outcomes.truth[mine], outcomes.number[mine]
            actual = np.zeros(len(mine), np.int64)
            value = np.where(number, truth.view(np.float64), np.nan)
            if config.classes:
                actual = config.truth.classes_of(truth, number)
            answer, klass = outcomes.answer[mine], outcomes.klass[mine]
            for kind, start, shift in (
                (ARRIVALS, arrival, HEADER),
                (PERFORMANCE, window, np.where(mature, FIRST_BLOCK, FIRST_BLOCK + config.block_width)),
            ):
                shifts = np.broadcast_to(np.asarray(shift, np.int64), len(mine))
                scored = config.task_code == BINARY
                for headers in self.open[kind].spread(m, start, cohort, self.streams.members[m]):
                    there = np.flatnonzero(headers >= 0)
                    header, arena = headers[there], self.open[kind].arena
                    np.add.at(arena, header, 1)
                    block = header + shifts[there]
                    count_outcomes(
                        arena,
                        block,
                        len(config.classes),
                        scored,
                        klass[there],
                        actual[there],
                        answer[there],
                        value[there],
                    )
                    count_delays(arena, block + config.outcome_width, known[there] - e[there])

    def _remember(self, model: NDArray[np.int32], cohort: NDArray[np.int32], event_time: NDArray[np.int64]) -> None:
        """Count predictions that the join holds for their labels, in their windows: what coverage is a share of."""
        for m in np.unique(model).tolist():
            mine = np.flatnonzero(model == m)
            window = event_time[mine] // self._window[m] * self._window[m]
            members = self.streams.members[m]
            header = self.open[PERFORMANCE].spread(m, window, cohort[mine].astype(np.int64), members)
            np.add.at(self.open[PERFORMANCE].arena, header[header >= 0] + REMEMBERED, 1)

    def _begin(
        self,
        model: NDArray[np.int32],
        event_time: NDArray[np.int64],
        record_time: NDArray[np.int64],
        status: NDArray[np.int8],
    ) -> None:
        """Note the first event of models that this partition had not seen: where others may let them start (R2)."""
        if len(self.begun) == len(self.plan.models):
            return
        for m in np.unique(model[(model >= 0) & (status != clocks.FUTURE)]).tolist():
            if m not in self.begun:
                row = int(np.flatnonzero((model == m) & (status != clocks.FUTURE))[0])
                self.begun[m] = int(event_time[row]), int(record_time[row])

    # -- time ---------------------------------------------------------------------------------------------------------

    def start(self, model: str, event_time: int, record_time: int) -> bool:
        """Let a model that this partition never saw run from its start; True when that was news (it is journaled then)."""
        m = self.plan.by_name[model].index
        news = False
        for clock, heard, borrowed in (
            (self.watermark, self.heard, self.borrowed),
            (self.label_clock, self.label_heard, self.label_borrowed),
        ):
            if clock[m] == NEVER:
                clock[m], heard[m], borrowed[m] = event_time, record_time, 1
                news = True
        return news

    def clock(self, topic: str, now: int) -> None:
        """The partition clock: this topic's partition has no record before ``now`` that the task has not seen (R2)."""
        self.record_time[topic] = max(self.record_time[topic], now)

    def times(
        self, predictions_now: int = NEVER, labels_now: int = NEVER
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Watermarks and label clocks, as they stand or as they would stand at later record times; int64[models] each."""
        n = len(self.watermark)
        watermark, label_clock = np.empty(n, np.int64), np.empty(n + 1, np.int64)
        record = max(self.record_time[self.topics[0]], predictions_now)
        clocks.read_clocks(self.watermark, self.heard, self.borrowed, record, self._idle, watermark)
        if len(self.topics) == 1:
            return watermark, watermark
        record = max(self.record_time[self.topics[1]], labels_now)
        clocks.read_clocks(
            self.label_clock, self.label_heard, self.label_borrowed, record, self._label_idle, label_clock
        )
        complete = np.empty(n, np.int64)
        clocks.label_clocks(label_clock, self.label_borrowed, complete)
        return watermark, complete

    def final_before(self) -> dict[str, NDArray[np.int64]]:
        """Of each kind of cell and model: those that start at or before this can change no more; NEVER where none is final.

        Of LABELS there is one more, for labels without a model.
        """
        watermark, complete = self.times()
        every = np.full(len(self.label_clock), NEVER)
        if len(self.topics) > 1:
            record = self.record_time[self.topics[1]]
            clocks.read_clocks(self.label_clock, self.label_heard, self.label_borrowed, record, self._label_idle, every)
            every[:-1] = complete
        behind = np.minimum(watermark, complete)
        return {
            kind: np.where(passed == NEVER, NEVER, passed - length - self._label_lateness[: len(length)])
            for kind, length, passed in (
                (FEATURES, self._pane, watermark),
                (ARRIVALS, self._pane, behind),
                (PERFORMANCE, self._window + self.join.horizon, behind),
                (LABELS, self._label_pane, every),
            )
        }

    def ripe(self) -> list[tuple[str, int, int]]:
        """The open cells that the clocks have passed, (kind, model, start): final once they are committed."""
        return [(kind, m, at) for kind, final in self.final_before().items() for m, at in self.open[kind].ripe(final)]

    def closed_before(self, kind: str, model: str) -> int:
        """The cells of a kind and model that start before this can change no more."""
        m = len(self.plan.models) if model == EVERY else self.plan.by_name[model].index
        return int(self.final_before()[kind][m]) + 1

    def sealed_before(self, model: Model, evaluated: int) -> int:
        """Performance cells that start before this are evaluated, and no label can reach them any more."""
        watermark, label_clock = self.times()
        behind = int(min(watermark[model.index], label_clock[model.index]))
        return min(evaluated, behind - model.window - model.horizon - model.lateness) if behind != NEVER else 0

    def crosses_a_pane(
        self, before: tuple[NDArray[np.int64], NDArray[np.int64]], after: tuple[NDArray[np.int64], NDArray[np.int64]]
    ) -> bool:
        """Whether some model's clock passes the end of a pane (and lateness) between two readings of ``times``."""
        crossed = False
        for old, new in zip(before, after, strict=True):
            known = new != NEVER
            panes = [(t[known] - self.lateness[known]) // self._pane[known] for t in (old, new)]
            crossed |= bool((panes[1] > panes[0]).any())
        return crossed

    def starts_to_declare(self, declared: Mapping[str, tuple[int, int]]) -> list[tuple[str, int, int]]:
        """Models that this task has seen and nobody has declared: (name, event time, record time)."""
        models = self.plan.models
        return [(models[m].name, *begun) for m, begun in sorted(self.begun.items()) if models[m].name not in declared]

    # -- state --------------------------------------------------------------------------------------------------------

    def stage(self, commit: Commit) -> None:
        """Write everything that changed since the last commit into ``commit``; no record may come before ``committed``."""
        self._closing = self.ripe()
        self.age()
        for kind, group in self.open.items():
            for m, at in sorted(group.changed):
                commit.put.append(((kind, self.name_of(m), at), self._cell(kind, m, at)))
        for segment, blocks in sorted(self.join.appended.items()):
            commit.append.append((segment, b"".join(blocks)))
        commit.cut.extend(self.join.cut)
        commit.drop.extend(self._dropped)
        commit.body = snapshot.pack(HEAD, head_of(self))
        commit.progress = snapshot.pack(b"prog", self.progress())

    def age(self) -> None:
        """Let the join forget what the clocks have passed."""
        if len(self.topics) > 1:
            self.join.age(*self.times(), self._pane + self.lateness)

    def will_stand(self) -> Counter[tuple[str, str]]:
        """``closed`` as it is after the commit that is being staged."""
        found = self.closed.copy()
        found.update((kind, self.name_of(m)) for kind, m, _ in self._closing)
        found.subtract((kind, model) for kind, model, _ in self._dropped)
        return found

    def committed(self) -> None:
        """The staged commit is done: forget what it made final."""
        self.closed = self.will_stand()
        for kind, m, at in self._closing:
            self.open[kind].close(m, at)
        self._closing.clear()
        for group in self.open.values():
            group.changed.clear()
        self.join.logged()
        self._dropped.clear()

    def drop(self, kind: str, model: str, starts: Sequence[int], before: int) -> None:
        """Remove closed cells, all that start before ``before``, with the next commit: every reader has passed them (R12)."""
        self._dropped.extend((kind, model, start) for start in starts)
        self.dropped[kind, model] = before

    def _cell(self, kind: str, m: int, at: int) -> bytes:
        if kind == LABELS:
            vectors = self.open[kind].vectors(m, at)
            return cells.encode([snapshot.Entry("", "", "", snapshot.pack_vector(vector)) for _, vector in vectors])
        names, shapes = self.streams.names[m], self.streams.shapes[m]
        return cells.encode(
            [
                snapshot.Entry(*names[s][:2], shapes[s].hash, snapshot.pack_vector(vector), names[s][2])
                for s, vector in self.open[kind].vectors(m, at)
            ]
        )

    def outcomes(self) -> dict[str, dict[str, int]]:
        """The ledger: per topic, how many records ended as what. Received = their sum + ``join.waiting`` (P1, R6)."""
        ledger = {topic: {str(k): v for k, v in sorted(counts.items()) if v} for topic, counts in self.ledger.items()}
        if len(self.topics) > 1:
            labels = ledger[self.topics[1]]
            labels.update({str(Outcome.APPLIED): self.join.applied, str(Outcome.ORPHAN): self.join.orphans})
        return ledger

    def progress(self) -> Progress:
        """What evaluators need to know."""
        watermark, label_clock = self.times()
        return Progress(
            {
                m.name: (int(watermark[m.index]), int(label_clock[m.index]), int(self.first[m.index]))
                for m in self.plan.models
                if watermark[m.index] != NEVER
            },
            self.join.waiting,
            {f"{kind} {model}": before for (kind, model), before in self.dropped.items()},
        )
