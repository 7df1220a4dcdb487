"""Says whether what a deployment left behind is what its topics come to: ``python -m tests.faults.verifier --config monitor.yaml``.

A program of its own with code of its own: topics are read with a plain consumer, Redis with plain commands, and what both should
say is computed by the naive oracle (``tests.oracle.monitor_*``). Nothing of ``streams`` is imported. Compared are

- ledgers: every record has one outcome, the right one; received = sum of the outcomes + waiting (P1, R6);
- dead letters: after de-duplication by id exactly one for every bad record (R7);
- panes that are still there, and the record of every evaluated window: counts, p-values, metrics (P2, P8);
- alert and retrain events: the same ids, one payload for each, and as many as the evaluators count (P3);
- the journal: one entry under one number, and no clock entry that a record contradicts (R2, R3).

Monitors of drift, quality, performance and sequential are decided again; the others (proxy, service, labels) are only held to
P3. ``--live`` looks again and again while everything runs, at what must hold at any moment (``verifier_live``).

Exit status: 0 equal, 1 different (the first 20 reasons are shown), 2 could not look.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from schemas import config as configuration
from schemas.config import Config
from schemas.errors import DriftlineError
from tests.faults import verifier_compare as compare
from tests.faults import verifier_events, verifier_expected, verifier_journal, verifier_live, verifier_replay
from tests.faults.verifier_expected import Expected
from tests.faults.verifier_journal import Journal
from tests.faults.verifier_log import CannotLookError, Log, Raw
from tests.faults.verifier_stored import DamagedError, Stored

SHOWN = 20
"""Differences that are shown: more say nothing new."""
_END_S = 60.0
"""Until a process that was told to end has looked a last time, on a busy machine."""
_METRIC = re.compile(r"^driftline_(events_total|labels_waiting)\{(.*)\} (\S+)$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass
class Verdict:
    """What was found; ``differences`` are all of them, in the order in which things are compared."""

    differences: list[str] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of this process and its children: what it costs where others share the machine."""

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


@dataclass(frozen=True)
class Published:
    """What the workers wrote to Kafka."""

    journal: Journal
    letters: list[Raw]
    alerts: list[Raw]
    retrain: list[Raw]


def published(config: Config) -> Published:
    """Read all output topics. Raises CannotLookError."""
    topics = config.topics
    with Log(config.kafka) as log:
        journal = verifier_journal.read(log, topics.journal)
        return Published(
            journal, *(list(log.everything(t)) for t in (topics.dead_letters, topics.alerts, topics.retrain))
        )


def verify(
    config: Config,
    metrics: Sequence[str] = (),
    *,
    redis_url: str | None = None,
    processes: int = 1,
    replay: Path | None = None,
) -> Verdict:
    """Look once, when everything is read and decided. ``metrics`` are URLs of all workers.

    More than one process needs a main program that can be imported. ``replay``: the monitor.yaml, to hold all of it against
    ``driftline replay`` too. Raises CannotLookError.
    """
    begin, stored = time.monotonic(), Stored(config, redis_url)
    stored.run_id()  # whether anybody answers, before minutes are spent
    found = published(config)
    if any(command["applied"] for command in found.journal.commands):
        raise CannotLookError("commands that took effect are not understood")
    expected = verifier_expected.expected(config, found.journal.entries, processes)
    verdict = judge(config, expected, found, stored, metrics)
    if replay is not None:
        told = {
            **verifier_events.by_id(found.alerts, config.topics.alerts).events,
            **verifier_events.by_id(found.retrain, config.topics.retrain).events,
        }
        verdict.differences += verifier_replay.differences(config, verifier_replay.replayed(replay), stored, told)
    return _timed(verdict, begin)


def _timed(verdict: Verdict, begin: float) -> Verdict:
    """With what it cost."""
    verdict.seconds, used = round(time.monotonic() - begin, 1), os.times()
    verdict.cpu_seconds = round(used.user + used.system + used.children_user + used.children_system, 1)
    return verdict


def judge(
    config: Config, expected: Expected, outputs: Published, stored: Stored, metrics: Sequence[str] = ()
) -> Verdict:
    """Hold topics and state against what the inputs come to. Raises CannotLookError."""
    verdict, topics = Verdict(), config.topics
    found = verdict.differences
    told = verifier_events.by_id(outputs.alerts, topics.alerts)
    asked = verifier_events.by_id(outputs.retrain, topics.retrain)
    found += [*outputs.journal.wrong, *told.wrong, *asked.wrong, *(w for p in expected.parts for w in p.wrong)]
    alerts, requests = told.events, asked.events
    try:
        tasks = [stored.task(p) for p in range(len(expected.parts))]
        heads = {name: stored.evaluator(name) for name in config.models}
        found += compare.ledgers(config, expected, tasks)
        found += compare.windows(config, expected, stored, heads)
        found += compare.panes(config, expected, stored)
        found += compare.published(heads, alerts, requests)
    except DamagedError as error:
        found.append(str(error))
    found += compare.dead_letters(config, expected, outputs.letters)
    found += compare.alerts(expected, alerts)
    found += compare.requests(config, expected, requests)
    if metrics:
        found += compare.metrics(config, expected, scrape(metrics))
    report = expected.report
    verdict.checked = {
        "records": sum(sum(p.records.values()) for p in expected.parts),
        "dead_letters": sum(len(p.dead) for p in expected.parts),
        "journal_entries": sum(map(len, outputs.journal.entries.values())),
        "drift_windows": len(report.drift),
        "performance_windows": len(report.performance),
        "final_windows": len(report.final),
        "alert_events": len(alerts),
        "recomputed_alert_events": len(report.events),
        "retrain_events": len(report.requests),
    }
    return verdict


def apart(config: Path, *options: str, timeout_s: float = 900) -> Verdict:
    """The verdict of a process of its own on a monitor.yaml; ``options`` as on the command line. Raises CannotLookError."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "verdict.json"
        command = [sys.executable, "-m", "tests.faults.verifier", "--config", str(config), "--json", str(out), *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        if not out.exists():
            raise CannotLookError(done.stderr)
        said = json.loads(out.read_text())
    return Verdict(said["differences"], said["checked"], said["seconds"], said["cpu_seconds"])


@contextlib.contextmanager
def living(config: Path) -> Iterator[Verdict]:
    """A ``--live`` process beside a block; the verdict is filled in when the block is left. Raises CannotLookError."""
    verdict = Verdict()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "verdict.json"
        command = [sys.executable, "-m", "tests.faults.verifier", "--config", str(config), "--json", str(out), "--live"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            yield verdict
            process.terminate()
            _, told = process.communicate(timeout=_END_S)
        finally:
            process.kill()
            process.wait()
        if not out.exists():
            raise CannotLookError(told)
        said = json.loads(out.read_text())
    verdict.differences, verdict.checked = said["differences"], said["checked"]
    verdict.seconds, verdict.cpu_seconds = said["seconds"], said["cpu_seconds"]


def scrape(urls: Sequence[str]) -> dict[tuple[str, str], int]:
    """``driftline_events_total`` of all workers by topic and outcome, with ``labels_waiting`` as the outcome "waiting"."""
    found: dict[tuple[str, str], int] = {}
    for url in urls:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # a worker on this machine
                text = answer.read().decode()
        except OSError as error:
            raise CannotLookError(f"{url}: {error}") from error
        for line in text.splitlines():
            match = _METRIC.match(line)
            if match is None:
                continue
            labels = dict(_LABEL.findall(match[2]))
            key = (labels["topic"], labels["outcome"]) if match[1] == "events_total" else ("", "waiting")
            found[key] = found.get(key, 0) + int(float(match[3]))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.verifier", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--json", type=Path, help="write the verdict there")
    parser.add_argument("--metrics", nargs="*", default=[], help="URLs of the workers' /metrics, all of them")
    parser.add_argument("--kafka", help="bootstrap servers, where those of the configuration are a proxy")
    parser.add_argument("--redis", help="URL, where that of the configuration is a proxy")
    parser.add_argument("--processes", type=int, default=2, help="partitions that are read at once")
    parser.add_argument("--replay", action="store_true", help="also hold everything against `driftline replay`")
    parser.add_argument("--live", action="store_true", help="look at what always holds, until SIGTERM")
    parser.add_argument("--seconds", type=float, help="with --live: so long")
    said = parser.parse_args(arguments)
    try:
        config = configuration.load(said.config)
        if said.kafka:
            config = config.model_copy(update={"kafka": {**config.kafka, "bootstrap.servers": said.kafka}})
        if said.live:
            verdict = _live(config, said.redis, said.seconds)
        else:
            replay = said.config if said.replay else None
            verdict = verify(config, said.metrics, redis_url=said.redis, processes=said.processes, replay=replay)
    except (CannotLookError, DriftlineError) as error:
        sys.stderr.write(f"could not look: {error}\n")
        return 2
    if said.json:
        said.json.write_text(json.dumps({"equal": verdict.equal, **asdict(verdict)}, indent=1))
    for line in verdict.differences[:SHOWN]:
        sys.stderr.write(f"{line}\n")
    if len(verdict.differences) > SHOWN:
        sys.stderr.write(f"... and {len(verdict.differences) - SHOWN} more\n")
    word, costs = ("equal" if verdict.equal else "different"), f"{verdict.seconds} s, {verdict.cpu_seconds} s of CPU"
    sys.stdout.write(f"{word}: {verdict.checked} in {costs}\n")
    return 0 if verdict.equal else 1


def _live(config: Config, redis_url: str | None, seconds: float | None) -> Verdict:
    begin = time.monotonic()
    watcher = verifier_live.watch(config, redis_url, seconds)
    if not watcher.looks:
        raise CannotLookError(f"{watcher.refused} looks, and none succeeded")
    found = [f"look {look}: {finding}" for finding, look in watcher.wrong.items()]
    checked = {"looks": watcher.looks, "refused": watcher.refused}
    return _timed(Verdict(found, checked), begin)


if __name__ == "__main__":
    sys.exit(main())
