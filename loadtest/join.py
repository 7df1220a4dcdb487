"""``python -m loadtest join``: what remembering a prediction and joining its label cost, in time and in bytes, as memory grows.

Each case runs in three processes on one Redis: fill an empty memory; load it as a restarted worker does, and label every
prediction; load it again. What is remembered after each load must be what was remembered before, or there is no figure.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import redis

from loadtest import machine
from loadtest.join_job import LABEL, RELOAD, REMEMBER, Cost, Job
from loadtest.join_report import report
from streams.worker import BATCH
from tests.services.redis import RedisService

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

MILLION = 1_000_000
SIZES = (MILLION, 2 * MILLION, 5 * MILLION, 10 * MILLION)
ROWS_PER_COMMIT = (1, 10, 100, 1_000)
_SMALL = 20_000
"""Predictions where commits are counted: 20,000 commits of one row are seconds, not minutes."""
_LARGEST = 10 * MILLION
TARGETS = {
    "remember_ns": 100.0,
    "label_ns": 150.0,
    "redis_bytes": 24.0,
    "labelled_redis_bytes": 24.0,
    "memory_bytes": 32.0,
    "labelled_memory_bytes": 32.0,
    "load_s": 15.0,
}
"""Of a binary task, at the largest size: ns of CPU of remembering one prediction and of joining one label, bytes of a
prediction in Redis and in the arrays, waiting or labelled, seconds until the state of a restarted worker is loaded."""
RUN_S = 600.0
"""The most that one program may take; the largest takes half a minute."""
HOLDS, SHORT, NO_RUN = 0, 1, 2
_REPOSITORY = Path(__file__).resolve().parents[1]


class RunFailedError(Exception):
    """A measured program ended badly, or remembered something else than it should."""


@dataclass(frozen=True, slots=True)
class Case:
    """``size`` predictions of a ``task``, handed over and committed ``rows`` at a time."""

    task: str
    size: int
    rows: int = BATCH

    @property
    def name(self) -> str:
        """As in tables."""
        return f"{self.task}, {self.size:,}"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each case (default: %(default)s)")
    parser.add_argument(
        "--scale", type=float, default=1.0, metavar="X", help="X times as many predictions (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured to FILE")
    parser.add_argument("--show", type=Path, metavar="FILE", help="measure nothing, print what --json wrote to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 when a median falls short of its target")


def main(args: Namespace) -> int:
    """Run, print, and return the exit status: 0 fine, 1 short of a target (``--check``), 2 it could not run."""
    if args.rounds < 1 or args.scale * _SMALL < 1:
        sys.stderr.write(f"rounds must be at least 1, and scale at least {1 / _SMALL}\n")
        return NO_RUN
    if args.json is not None and not args.json.absolute().parent.is_dir():
        sys.stderr.write(f"there is no folder for {args.json}: make it, or name another file\n")
        return NO_RUN
    try:
        found = orjson.loads(args.show.read_bytes()) if args.show is not None else measure(args.rounds, args.scale)
    except (RunFailedError, OSError, orjson.JSONDecodeError) as error:
        sys.stderr.write(f"{error}\n")
        return NO_RUN
    if args.json is not None:
        args.json.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    sys.stdout.write(report(found))
    return SHORT if args.check and not all(target["holds"] for target in found["targets"]) else HOLDS


def cases(scale: float) -> tuple[list[Case], list[Case]]:
    """The cases of growth and tasks, and those of rows per commit."""
    grown = [Case("binary", round(scale * size)) for size in SIZES]
    others = [Case(task, round(scale * MILLION)) for task in ("multiclass", "regression")]
    return grown + others, [Case("binary", round(scale * _SMALL), rows) for rows in ROWS_PER_COMMIT]


def measure(rounds: int, scale: float) -> dict[str, Any]:
    """Run every case and return what was found, ready for JSON. Raises RunFailedError."""
    load_before = machine.load()
    grown, small = cases(scale)
    found: dict[Case, list[dict[str, Cost]]] = {case: [] for case in grown + small}
    for number in range(1, rounds + 1):
        for case, costs in found.items():
            costs.append(_run(case))
        sys.stderr.write(f"round {number} of {rounds}\n")
        sys.stderr.flush()
    rows = [_figures(case, found[case]) for case in grown]
    return {
        "command": "join",
        "machine": machine.fingerprint() | {"load_before": load_before, "load_after": machine.load()},
        "rounds": rounds,
        "scale": scale,
        "cases": rows,
        "commits": [_figures(case, found[case]) for case in small],
        "targets": list(_targets(next(row for row in rows if row["size"] == round(scale * _LARGEST)), scale)),
    }


def _run(case: Case) -> dict[str, Cost]:
    """One round of a case, in three processes on a Redis of its own. Raises RunFailedError."""
    costs: dict[str, Cost] = {}
    sums: dict[str, int] = {}
    with ExitStack() as stack:
        service = stack.enter_context(RedisService())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="driftline-loadtest-")))
        client = stack.enter_context(redis.from_url(service.url))
        for phase in (REMEMBER, LABEL, RELOAD):
            used = client.info("memory")["used_memory"]
            job = Job(phase, case.task, case.size, service.url, case.rows)
            costs[phase], sums[phase], loaded = _program(folder, job)
            costs[phase].redis_bytes = client.info("memory")["used_memory"] - used
            before = {LABEL: REMEMBER, RELOAD: LABEL}.get(phase)
            if before is not None and loaded != sums[before]:
                raise RunFailedError(f"{case.name}: what was loaded is not what was remembered")
    return costs


def _program(folder: Path, job: Job) -> tuple[Cost, int, int]:
    """Run one program to its end; returns its cost, and the sums of what it remembered at its end and had loaded."""
    asked, result, said = (folder / f"{job.phase}.{end}" for end in ("job", "json", "log"))
    asked.write_bytes(msgspec.json.encode(job))
    command = [sys.executable, "-m", "loadtest.join_cost", str(asked), str(result)]
    with said.open("wb") as log:
        try:
            done = subprocess.run(command, cwd=_REPOSITORY, stdout=log, stderr=log, check=False, timeout=RUN_S)  # noqa: S603
        except subprocess.TimeoutExpired as error:
            raise RunFailedError(f"{job.phase} of {job.size:,} did not end within {RUN_S:.0f} s") from error
    if done.returncode:
        raise RunFailedError(f"{job.phase} of {job.size:,} failed:\n{said.read_text()[-2000:]}")
    cost, total, loaded = msgspec.json.decode(result.read_bytes(), type=tuple[Cost, int, int])
    if cost.wrong:
        raise RunFailedError(f"{job.phase} of {job.size:,}: {'; '.join(cost.wrong)}")
    return cost, total, loaded


def _figures(case: Case, rounds: list[dict[str, Cost]]) -> dict[str, Any]:
    """The medians of a case by what was measured (also the spread of what has a target), bytes of one prediction each."""
    n = case.size

    def of(phase: str, field: str, each: float = 1.0) -> dict[str, float]:
        values = [getattr(costs[phase], field) / each for costs in rounds]
        return {"min": min(values), "median": median(values), "max": max(values)}

    def restart(phase: str) -> dict[str, float]:
        values = [costs[phase].fetch_s + costs[phase].load_s for costs in rounds]
        return {"min": min(values), "median": median(values), "max": max(values)}

    both = [(r[REMEMBER].redis_bytes + r[LABEL].redis_bytes) / n for r in rounds]
    return {
        "task": case.task,
        "size": n,
        "rows_per_commit": case.rows,
        "remember_ns": of(REMEMBER, "join_ns"),
        "remember_log_ns": of(REMEMBER, "log_ns"),
        "steady_ns": of(RELOAD, "steady_ns"),
        "label_ns": of(LABEL, "join_ns"),
        "label_log_ns": of(LABEL, "log_ns"),
        "longest_remember_ms": of(REMEMBER, "longest_ms"),
        "longest_label_ms": of(LABEL, "longest_ms"),
        "forget_ms": of(RELOAD, "forget_ms"),
        "log_bytes": of(REMEMBER, "log_bytes", n),
        "label_log_bytes": of(LABEL, "log_bytes", n),
        "redis_bytes": of(REMEMBER, "redis_bytes", n),
        "labelled_redis_bytes": {"min": min(both), "median": median(both), "max": max(both)},
        "memory_bytes": of(REMEMBER, "array_bytes", n),
        "labelled_memory_bytes": of(LABEL, "array_bytes", n),
        "resident_bytes": of(REMEMBER, "resident_bytes", n),
        "peak_bytes": of(REMEMBER, "peak_bytes", n),
        "load_peak_bytes": of(LABEL, "peak_bytes", n),
        "load_s": restart(LABEL),
        "fetch_s": of(LABEL, "fetch_s"),
        "labelled_load_s": restart(RELOAD),
    }


def _targets(row: dict[str, Any], scale: float) -> Iterator[dict[str, Any]]:
    """What was aimed at, what was measured, and whether it holds."""
    for name, target in TARGETS.items():
        aim = target * scale if name == "load_s" else target
        yield {"what": name, "target": aim, "median": row[name]["median"], "holds": row[name]["median"] <= aim}
