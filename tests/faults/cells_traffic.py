"""Cells of traffic and onlookers: a ten-fold burst, metrics scraped without end; and what a commit costs."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from typing import TYPE_CHECKING

from streams.edges.embedded import LOOPBACK
from tests.faults.absences import FLAT_BYTES
from tests.faults.cell import Cell, Inconclusive, Stage
from tests.faults.commit_cost import MARK
from tests.faults.load import Spec
from tests.faults.watch import Watch

if TYPE_CHECKING:
    from tests.faults.processes import WorkerProcess

_SCRAPES_PER_S = 50
LEAST_RATE = 0.8 * _SCRAPES_PER_S
"""Answers a second: a fifth is for the first and the last scrape, and for a machine that others use, too."""
FETCHED_BYTES = 64 << 20
"""What the client may hold of what it has fetched (``queued.max.messages.kbytes`` of ``KafkaLog``), however much is unread."""
REMEMBERED_BYTES = 2 * 36
"""A remembered prediction in the join's table, which is there twice while it grows (``streams.engine.remembered``)."""
MOST_SHARE = 0.10
"""Of a saturated worker's CPU: what the fence may cost."""
_SCRAPED_S = 10.0
"""How long."""
_HALF_READ = 100
"""Connections that send half a request, or never read their answer."""


def burst(stage: Stage) -> None:
    """The middle of the traffic comes ten times as fast; memory stays within bounds and the worker catches up."""
    with stage.deployment() as d, Watch(d) as watch:
        one = d.start("one")
        d.wait_ready(one)
        load = d.load(Spec(predictions=300_000, rate=4_000, burst=(0.15, 0.85, 10)))
        most_lag, most_bytes, worst = 0, 0, 0.0
        d.wait_for(lambda: watch.commits() >= 10, "the first commits")
        calm_bytes = one.memory_bytes()
        before, begin = sum(d.ends().values()), time.monotonic()
        while load.running:
            time.sleep(0.5)
            produced, now = sum(d.ends().values()), time.monotonic()
            worst = max(worst, (produced - before) / (now - begin))
            before, begin = produced, now
            most_lag, most_bytes = max(most_lag, stage.lag(d) or 0), max(most_bytes, one.memory_bytes())
            assert one.alive, f"it ended with {one.status}: {one.tail()}"
        stage.note(
            f"at most {worst:,.0f} records/s and {most_lag:,} unread; memory {calm_bytes >> 20} -> {most_bytes >> 20} MB"
        )
        if worst < 5 * 4_000:
            raise Inconclusive("the burst never came")
        most = FLAT_BYTES + FETCHED_BYTES + REMEMBERED_BYTES * load.spec.predictions
        stage.sample("memory grown in a burst, bytes", most_bytes - calm_bytes)
        assert most_bytes - calm_bytes < most, f"it has grown by {most_bytes - calm_bytes} bytes; bounded are {most}"
        stage.count("faults")
        stage.settle(d, load)


def scraped(stage: Stage) -> None:
    """Two threads scrape 50 times a second; a hundred connections send half a request, a hundred never read the answer."""
    with stage.deployment() as d, Watch(d) as watch, contextlib.ExitStack() as held:
        one = d.start("one")
        d.wait_ready(one)
        load = d.load(Spec(predictions=400_000, rate=8_000))
        d.wait_for(lambda: watch.commits() >= 4, "the first commits")
        over = threading.Event()
        answered: list[float] = []
        refused: list[str] = []
        with stage.fault(d, watch, "scrapes and half-read connections"):
            for i in range(2 * _HALF_READ):
                line = held.enter_context(socket.create_connection((LOOPBACK, one.port), timeout=5))
                line.sendall(b"GET /metrics HTTP/1.0\r\n" if i % 2 else b"GET /metrics HTTP/1.0\r\n\r\n")
            scrapers = [threading.Thread(target=_scrape, args=(one, over, answered, refused)) for _ in range(2)]
            for thread in scrapers:
                thread.start()
            before, begin = watch.commits(), time.monotonic()
            d.wait_for(lambda: watch.commits() >= before + 20, "20 commits while it is scraped", 30)
            seconds = time.monotonic() - begin
            while time.monotonic() < begin + _SCRAPED_S:
                time.sleep(0.1)
            rate = len(answered) / (time.monotonic() - begin)
            over.set()
        for thread in scrapers:
            thread.join(30)
        load.hurry()
        stage.note(
            f"{len(answered)} scrapes, {rate:.0f} a second, slowest {max(answered):.2f} s; 20 commits took {seconds:.1f} s"
        )
        assert not refused, f"{len(refused)} scrapes were not answered: {refused[:3]}"
        assert one.ready()[0], one.ready()[1]
        assert rate >= LEAST_RATE, f"{rate:.0f} scrapes a second were answered, of {_SCRAPES_PER_S}"
        stage.settle(d, load)


def _scrape(worker: WorkerProcess, over: threading.Event, answered: list[float], refused: list[str]) -> None:
    due = time.monotonic()
    while not over.is_set():
        begin = time.monotonic()
        code, text = worker.ask("/metrics")
        if code == 200:
            answered.append(time.monotonic() - begin)
        else:
            refused.append(f"{code} {text[:100]}")
        due = max(due + 2 / _SCRAPES_PER_S, time.monotonic() - 1)
        time.sleep(max(0.0, due - time.monotonic()))


def commit_share(stage: Stage) -> None:
    """One worker reads a backlog as fast as it can, with the product's own commit interval: the CPU inside commits.

    A thousand predictions a second of event time: at the speed of a saturated worker panes still close 50 times as often as they
    would if event time ran with the clock, and each closure is a commit. (Labels come within a minute, or the panes of their
    arrival would close 500 times as often.)
    """
    with stage.deployment(settings={"commit_interval": "1s"}) as d:
        load = d.load(Spec(predictions=400_000, rate=1_000_000, step_ms=1, delay_ms=(1_000, 60_000)))
        truth = load.wait()
        one = d.start("one", program=("-m", "tests.faults.commit_cost"))
        begin = time.monotonic()
        d.wait_for(lambda: stage.lag(d) == 0, "everything to be read", 240)
        seconds = time.monotonic() - begin
        stage.settle(d, load)
        told = json.loads(one.said().rpartition(MARK)[2])
        share, wall = told["cpu_s"] / told["whole_cpu_s"], told["wall_s"] / told["whole_wall_s"]
        stage.sample("commit_share", share)
        stage.sample("commit_wall_share", wall)
        stage.note(
            f"{truth.total:,} records in {seconds:.1f} s and {told['whole_cpu_s']:.1f} s of CPU; {told['commits']} commits took "
            f"{told['cpu_s']:.2f} s of that, {told['wall_s']:.2f} s by the wall clock: {wall:.1%} of the time"
        )
        assert told["commits"] > 10, "hardly a commit was timed"
        assert share <= MOST_SHARE, f"commits take {share:.1%} of the CPU"


CELLS = [
    Cell("traffic.burst", "ten times the traffic for most of the time", burst),
    Cell("traffic.scraped", "metrics scraped 50 times a second, 200 connections never finished", scraped),
    Cell("traffic.commit_share", "what the fenced commit costs a saturated worker", commit_share),
]
