"""``python -m loadtest throughput``: events per CPU-second of a whole worker, beside a bare consume loop in the same run.

The topics are filled first. Then both programs read them in turn, each in a process of its own, the pipeline on fresh state
every round. Before a pipeline's figure counts, its answer is compared with the known truth.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from loadtest import machine, workload
from loadtest.answer import differences
from loadtest.job import Job, Result
from loadtest.place import Place, somewhere
from schemas.errors import DriftlineError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

FLOOR = 60_000
"""Events per CPU-second below which ``--check`` fails."""
SEED = 7
RUN_S = 600.0
"""The most that one program may take; an ordinary round takes seconds."""
STILL_S = 60.0
"""A run in which nothing moves for so long has failed: longer than a rebalance and a Redis time-out together."""
_REPOSITORY = Path(__file__).resolve().parents[1]
RIGHT, WRONG, NO_RUN = 0, 1, 2


class RunFailedError(Exception):
    """A measured program ended badly; the text is the end of what it said."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to run: ``events`` predictions, ``labels`` their labelled share, ``rounds`` of each program in turn."""

    events: int
    labels: float
    partitions: int
    rounds: int
    bootstrap: str | None = None
    redis_url: str | None = None


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--events", type=int, default=400_000, help="predictions to produce (default: %(default)s)")
    parser.add_argument("--labels", type=float, default=0.0, help="share of them that get a label, 0 to 1 (default: 0)")
    parser.add_argument("--partitions", type=int, default=4, help="of each topic (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each program (default: %(default)s)")
    parser.add_argument("--bootstrap", help="a broker to use instead of one of its own; topics are made and removed")
    parser.add_argument("--redis", help="a Redis URL to use instead of one of its own; keys of the run are removed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured to FILE")
    parser.add_argument("--check", action="store_true", help=f"exit 1 below {FLOOR:,} events per CPU-second")


def main(args: Namespace) -> int:
    """Run, print, and return the exit status: 0 fine, 1 a wrong answer (or below the floor), 2 it could not run."""
    if args.events < 1 or args.partitions < 1 or args.rounds < 1 or not 0 <= args.labels <= 1:
        sys.stderr.write("events, partitions and rounds must be at least 1, and labels a share from 0 to 1\n")
        return NO_RUN
    if args.json is not None and not args.json.absolute().parent.is_dir():
        sys.stderr.write(f"there is no folder for {args.json}: make it, or name another file\n")
        return NO_RUN
    options = Options(args.events, args.labels, args.partitions, args.rounds, args.bootstrap, args.redis)
    try:
        found = measure(options)
    except (DriftlineError, RunFailedError) as error:
        sys.stderr.write(f"{error}\n")
        return NO_RUN
    if args.json is not None:
        args.json.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    sys.stdout.write(_report(found))
    if found["wrong"]:
        return WRONG
    return WRONG if args.check and found["pipeline"]["per_cpu_second"]["median"] < FLOOR else RIGHT


def measure(options: Options) -> dict[str, Any]:
    """Fill the topics, run every round, and return what was found, ready for JSON.

    ``wrong`` is a list of sentences; when it is not empty there are no figures. Raises DriftlineError or RunFailedError.
    """
    made = workload.rows(options.events, options.labels, SEED)
    truth = workload.truth_of(made, workload.reference())
    with (
        somewhere(options.bootstrap, options.redis_url, options.partitions) as place,
        tempfile.TemporaryDirectory(prefix="driftline-loadtest-") as folder,
    ):
        _say(f"producing {truth.predictions:,} predictions and {truth.labels:,} labels")
        size = sum(place.produce(made).values())
        del made
        load_before = machine.load()
        rounds = []
        for number in range(1, options.rounds + 1):
            bare, pipeline, wrong = _round(place, Path(folder) / str(number), truth, size)
            if wrong:
                return {"command": "throughput", "wrong": wrong}
            rounds.append((bare, pipeline))
            rates = [r.records / r.cost.cpu_s for r in (bare, pipeline)]
            _say(f"round {number}: bare {rates[0]:,.0f}, pipeline {rates[1]:,.0f} events per CPU-second")
    return {
        "command": "throughput",
        "wrong": [],
        "machine": machine.fingerprint() | {"load_before": load_before, "load_after": machine.load()},
        "workload": {
            "predictions": truth.predictions,
            "labels": truth.labels,
            "bytes_per_event": size / (truth.predictions + truth.labels),
            "features": len(workload.FEATURES),
            "panes": len(truth.panes),
            "partitions": options.partitions,
            "rounds": options.rounds,
        },
        "bare": _figures([bare for bare, _ in rounds]),
        "pipeline": _figures([pipeline for _, pipeline in rounds]),
        "ratio": _spread([b.cost.cpu_s / p.cost.cpu_s for b, p in rounds]),
        "stages_ns_per_event": {s: _spread([p.stages[s] for _, p in rounds]) for s in rounds[0][1].stages},
    }


def _round(place: Place, folder: Path, truth: workload.Truth, size: int) -> tuple[Result, Result, list[str]]:
    """One run of each program, and what is wrong with their answers."""
    group = f"loadtest-{uuid.uuid4().hex[:8]}"
    config = place.configure(folder, group)
    job = Job(place.bootstrap, str(config), group, place.topics, place.ends(), STILL_S)
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    try:
        bare, pipeline = _run("loadtest.bare", folder), _run("loadtest.pipeline", folder)
    finally:
        place.forget(group)
    wrong = ["the pipeline gave no answer"] if pipeline.answer is None else differences(pipeline.answer, truth)
    if (bare.records, bare.bytes) != (truth.predictions + truth.labels, size):
        wrong.append(f"the bare loop read {bare.records} records of {bare.bytes} bytes, {size} bytes were produced")
    return bare, pipeline, wrong


def _run(program: str, folder: Path) -> Result:
    """Run a program on the folder's job to its end."""
    result, said = folder / f"{program}.json", folder / f"{program}.log"
    command = [sys.executable, "-m", program, str(folder / "job.json"), str(result)]
    with said.open("wb") as log:
        try:
            done = subprocess.run(command, cwd=_REPOSITORY, stdout=log, stderr=log, check=False, timeout=RUN_S)  # noqa: S603
        except subprocess.TimeoutExpired as error:
            message = f"{program} did not end in {RUN_S:.0f} s"
            raise RunFailedError(message) from error
    if done.returncode:
        message = f"{program} ended with status {done.returncode}:\n{said.read_text(errors='replace')[-2000:]}"
        raise RunFailedError(message)
    return msgspec.json.decode(result.read_bytes(), type=Result)


def _spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": median(values), "max": max(values)}


def _figures(results: list[Result]) -> dict[str, Any]:
    return {
        "per_cpu_second": _spread([r.records / r.cost.cpu_s for r in results]),
        "per_wall_second": _spread([r.records / r.cost.wall_s for r in results]),
        "rounds": [msgspec.to_builtins(r.cost) for r in results],
    }


def _report(found: dict[str, Any]) -> str:
    """The result as text."""
    if found["wrong"]:
        return "".join(f"wrong: {sentence}\n" for sentence in found["wrong"]) + "no figure: the answer is wrong\n"
    load, on = found["workload"], found["machine"]
    events = (
        f"{load['predictions']:,} predictions of {load['features']} features and {load['labels']:,} labels, "
        f"{load['bytes_per_event']:.0f} bytes each; {load['partitions']} partitions, {load['panes']} panes"
    )
    lines = [
        events,
        f"{on['cpu']}, {on['cores']} cores; Python {on['python']}; load {on['load_before']:.2f} to {on['load_after']:.2f}",
        f"{'events per second of':24}{'min':>12}{'median':>12}{'max':>12}",
    ]
    for name, title in (("bare", "bare consume"), ("pipeline", "whole pipeline")):
        for unit, of in (("per_cpu_second", "CPU"), ("per_wall_second", "wall")):
            lines.append(f"{f'{title}, {of}':24}" + _row(found[name][unit], ",.0f"))
    lines.append(f"{'ratio of CPU':24}" + _row(found["ratio"], ".3f"))
    lines.append("ns of CPU per event")
    lines += [f"{'  ' + stage:24}" + _row(ns, ",.0f") for stage, ns in found["stages_ns_per_event"].items()]
    lines.append("every answer was compared with the known truth: right")
    return "\n".join(lines) + "\n"


def _row(spread: dict[str, float], form: str) -> str:
    return "".join(f"{format(spread[k], form):>12}" for k in ("min", "median", "max"))


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
