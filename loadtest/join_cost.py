"""One measured program of the join: ``python -m loadtest.join_cost JOB RESULT``, a process of its own so that memory is its own.

Compiled loops are warmed up on other events first. CPU time is of the whole process, which does nothing else meanwhile.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import psutil

from loadtest.join_job import LABEL, RELOAD, REMEMBER, SHARD, SPAN_MS, Cost, Job, Traffic, empty, mixed
from streams.edges.memory_journal import MemoryJournal
from streams.edges.redis_store import RedisStore
from streams.engine.fence import Position
from streams.engine.kernels import join as kernel
from streams.engine.shard import claim
from streams.worker import BATCH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from streams.engine.join import Join
    from streams.engine.store import Commit

_SLOTS = 2
"""Slots that are filled anew: a quarter of the memory."""
_WARM = 20_000
"""Predictions and labels of the warm-up: several batches, so that the table grows and slots open."""


class Watch:
    """CPU seconds of one kind of call: their sum, and the longest."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.sum_s, self.longest_s = 0.0, 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Book what happens inside."""
        begin = time.process_time()
        yield
        spent = time.process_time() - begin
        self.sum_s, self.longest_s = self.sum_s + spent, max(self.longest_s, spent)


class Log:
    """Commits what the join has logged, and counts it."""

    def __init__(self, job: Job, join: Join) -> None:
        """Claim the shard; what an earlier program committed there is ``codes`` and the segments."""
        self.store = RedisStore(job.redis_url)
        token = f"{job.phase}-{time.time_ns()}"
        self.shard = claim(self.store, MemoryJournal(), [SHARD], lambda: token)[SHARD]
        self.codes: list[tuple[int, int]] = msgspec.json.decode(self.shard.body or b"[]", type=list[tuple[int, int]])
        self.watch, self.commit_s, self.bytes = Watch(), 0.0, 0
        self._join = join

    def commit(self) -> None:
        """One commit, as a task makes one a second."""
        with self.watch.running():
            blocks = {segment: b"".join(parts) for segment, parts in sorted(self._join.appended.items())}

        def stage(commit: Commit) -> None:
            commit.append.extend(blocks.items())
            commit.body = msgspec.json.encode(self._join.coded())
            commit.position = Position()  # of a journal that ends with this program

        begin = time.perf_counter()
        self.shard.commit(stage)
        self.commit_s += time.perf_counter() - begin
        self.bytes += sum(map(len, blocks.values()))
        self._join.logged()


def add_predictions(join: Join, traffic: Traffic, rows: NDArray[np.int64], watch: Watch) -> int:
    """Hand a batch over; returns how many were remembered."""
    n = len(rows)
    klass, answer = traffic.answers(rows)
    nothing = np.zeros(n, np.int32)
    args = mixed(rows.astype(np.uint64)), traffic.time(rows), nothing, nothing, nothing, klass, answer
    with watch.running():
        _, fresh = join.add_predictions(*args, np.zeros(n, np.int8))
    return int(fresh.sum())


def add_labels(join: Join, traffic: Traffic, rows: NDArray[np.int64], first: int, watch: Watch) -> int:
    """Hand a batch over; returns how many outcomes it made."""
    n = len(rows)
    truth, number = traffic.truths(rows)
    offset = np.arange(first, first + n)
    args = mixed(rows.astype(np.uint64)), traffic.label_time(rows), np.zeros(n, np.int32), truth, number, offset
    with watch.running():
        return len(join.add_labels(*args, np.zeros(n, np.int8)))


def warm_up(task: str) -> None:
    """Drive every compiled loop once, on a join that is thrown away."""
    join, traffic = empty(task), Traffic(task, _WARM)
    for rows in np.split(np.arange(_WARM), 4):
        add_predictions(join, traffic, rows, Watch())
    segments = {name: b"".join(parts) for name, parts in join.appended.items()}
    empty(task).load(segments, SHARD)
    for rows in np.split(np.arange(_WARM), 4):
        add_labels(join, traffic, rows, 0, Watch())
    again = empty(task)
    again.know(join.coded())
    again.load({name: b"".join(parts) for name, parts in join.appended.items()}, SHARD)
    checksum(again)
    age(again)


def age(join: Join) -> None:
    """Let the clocks pass the end of the oldest slot by a horizon."""
    span, begin = int(join.predictions.limits.span[0]), min(number for _, _, number in join.predictions.named)
    clock = np.array([(begin + 1) * span + int(join.horizon[0])])
    join.age(clock, clock, np.zeros(1, np.int64))


def checksum(join: Join) -> int:
    """A number that depends on everything that is remembered, and on no order."""
    p = join.predictions
    found, held = kernel.contents(p.keys, p.refs, p.rows, p.slots, join.truths, p.limits.wide)
    total = 0
    for table in (found, held, join.labels.occupied()):
        # offsets of labels aside: a label that is kept in a row has none
        columns = [mixed(table[:, k] + np.uint64(k << 50)) for k in range(table.shape[1] - (table is not found))]
        total += int(sum(columns, np.zeros(len(table), np.uint64)).sum())
    return total % (1 << 64)


class Memory:
    """What this process grows by from now on."""

    def __init__(self) -> None:
        """Note what there is."""
        self._process = psutil.Process()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self._resident = self._process.memory_info().rss

    def read(self, cost: Cost) -> None:
        """Write the growth into a cost."""
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
        cost.resident_bytes = self._process.memory_info().rss - self._resident
        cost.peak_bytes = peak - self._resident


def run(job: Job) -> tuple[Cost, int, int]:
    """Measure one phase; also returns the checksums of what is remembered at its end, and of what it had loaded."""
    warm_up(job.task)
    cost, traffic, watch = Cost(), Traffic(job.task, job.size), Watch()
    join = empty(job.task)
    log, memory = Log(job, join), Memory()
    if job.phase == REMEMBER:
        found = sum(add_predictions(join, traffic, rows, watch) for rows in committed(job, log))
        if found != job.size:
            cost.wrong.append(f"{found} of {job.size} predictions were remembered")
    else:
        load(join, log, cost)
    memory.read(cost)
    if join.predictions.count != job.size:
        cost.wrong.append(f"the table has {join.predictions.count} of {job.size} predictions")
    at_end = loaded = checksum(join)
    if job.phase == LABEL:
        order = np.argsort(traffic.label_time(np.arange(job.size)), kind="stable")
        found = sum(add_labels(join, traffic, order[rows], int(rows[0]), watch) for rows in committed(job, log))
        if found != job.size or join.applied != job.size:
            cost.wrong.append(f"{found} of {job.size} labels joined")
        at_end = checksum(join)
    cost.array_bytes = join.size_bytes
    cost.join_ns, cost.log_ns = (1e9 * w.sum_s / job.size for w in (watch, log.watch))
    cost.longest_ms, cost.commit_s, cost.log_bytes = 1e3 * watch.longest_s, log.commit_s, log.bytes
    if job.phase == RELOAD:
        go_on(join, traffic, cost)
    return cost, at_end, loaded


def committed(job: Job, log: Log) -> Iterator[NDArray[np.int64]]:
    """All row numbers in batches, each committed when the next one is asked for."""
    for first in range(0, job.size, job.rows):
        yield np.arange(first, min(first + job.rows, job.size))
        log.commit()


def go_on(join: Join, traffic: Traffic, cost: Cost) -> None:
    """What a full memory costs from then on: each time a slot is over, the oldest is forgotten, and a new one is filled."""
    new, forgotten, watch = 0, Watch(), Watch()
    per_slot = int(traffic.size * join.predictions.limits.span[0] / SPAN_MS)
    for _ in range(_SLOTS):
        with forgotten.running():
            age(join)
        for first in range(0, per_slot, BATCH):
            rows = traffic.size + new + np.arange(min(BATCH, per_slot - first))
            new += add_predictions(join, traffic, rows, watch)
    cost.forget_ms = 1e3 * forgotten.longest_s
    cost.steady_ns = 1e9 * (watch.sum_s + forgotten.sum_s) / max(1, new)


def load(join: Join, log: Log, cost: Cost) -> None:
    """What a restart does: fetch the log from Redis, and fill the memory."""
    begin = time.perf_counter()
    segments = log.store.segments(SHARD)
    cost.fetch_s = time.perf_counter() - begin
    begin = time.perf_counter()
    join.know(log.codes)
    join.load(segments, SHARD)
    cost.load_s = time.perf_counter() - begin


if __name__ == "__main__":
    measured = run(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Job))
    Path(sys.argv[2]).write_bytes(msgspec.json.encode(measured))
