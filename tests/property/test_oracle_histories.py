"""P1, P2, P3, P7, P8: tasks and whole deployments come to what a naive reader of everything comes to, however time went.

A history is made of a theme, a seed and a size (``tests.oracle.themes``); a failure says which one it was, and
``python -m tests.property.test_oracle_histories THEME SEED SIZE HOW`` runs it again. Histories that failed once stand in
``failed_histories.txt`` and run first.
"""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Literal, get_args

import pytest

from schemas.times import rfc3339
from streams.engine.store import ARRIVALS, FEATURES, PERFORMANCE
from tests.oracle import themes
from tests.oracle.monitor_families import joined
from tests.oracle.monitor_oracle import Report, monitor, panes_of
from tests.oracle.themes import THEMES, Size
from tests.oracle.worlds import DAY
from tests.property.solo import Solo
from tests.property.whole import Deployment, Said, sparse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.oracle.monitor_alerts import Event
    from tests.oracle.monitor_oracle import Panes
    from tests.oracle.monitor_partition import Partition
    from tests.oracle.themes import History
    from tests.oracle.worlds import World

How = Literal["solo", "whole"]
"""One task of one partition, or everything."""
FAILED = Path(__file__).with_name("failed_histories.txt")
HISTORIES: dict[tuple[Size, How], int] = {("small", "solo"): 450, ("small", "whole"): 38, ("large", "whole"): 12}
"""Histories of each theme: 5,000 together."""
MET: dict[str, Counter[str]] = {}
"""What the themes that have run have met, each so often."""
NEVER = -(1 << 62)

FAMILIES = ("drift", "quality", "performance", "sequential")
ALWAYS = {
    *("prediction applied", "label applied", "label unjoined", "wall clock", "start", "closed"),
    *(f"{family} opened" for family in FAMILIES),
}
"""What every theme must have met."""
SOMEWHERE = {
    *(f"{family} resolved" for family in FAMILIES),
    *("drift escalated", "quality escalated", "performance escalated"),
    *("performance opened again", "performance resolved again"),
    *("retrain requested", "retrain proposed", "retrain cancelled"),
    "prediction unknown_model",
    "label dead_letter",
}
"""What one of them must have met."""
INTERESTING: dict[str, set[str]] = {
    "mixed": {"prediction late", "prediction duplicate", "label duplicate", "label conflict", "prediction dead_letter"},
    "horizons": {
        "label at the horizon",
        "label before its prediction",
        "label a millisecond beyond the horizon",
        "label a millisecond before maturity",
        "label at maturity",
        "prediction duplicate",
        "prediction late",
    },
    "repeats": {"prediction duplicate", "label duplicate", "label conflict", "label before its prediction"},
    "shadows": {"shared label", "label shared by models"},
    "backfill": {"one model far behind another", "label named"},
    "delayed": {"label a day late", "label a week late"},
    "idle": {"prediction late"},
    "all idle": {"nothing after a wall clock", "records after a wall clock"},
    "future": {"prediction future", "label future"},
    "calendar": {"first of a month", "29 February", "new year", "midnight"},
}
"""What each theme must have met at least once, or its generator has gone blind."""


def check(history: History, seed: int, how: How) -> set[str]:
    """Hold what comes out against the oracle; returns what was met on the way."""
    random = Random(f"{how} {seed}")
    return _solo(history, seed, random) if how == "solo" else _whole(history, random)


def _solo(history: History, seed: int, random: Random) -> set[str]:
    sizes = [sum(len(history.sides[topic, p].records) for topic in ("predictions", "labels")) for p in (0, 1)]
    solo = Solo(history, seed % 2 if all(sizes) else int(sizes[1] > 0), random)
    solo.run()
    partitions, panes = panes_of([solo.log()], history.world.models, history.world.future)
    _ledger(partitions[0], solo.task)
    _clocks(partitions[0], solo.task, history.world)
    assert _counts(panes) == solo.panes()
    return _met(history.world, partitions, [solo.log()])


def _whole(history: History, random: Random) -> set[str]:
    deployment = Deployment(history, random)
    deployment.run()
    logs = deployment.logs()
    expected = monitor(logs, history.world.models, history.world.future)
    said = deployment.said()
    for p, partition in enumerate(expected.partitions):
        _ledger(partition, deployment.task(p))
        _clocks(partition, deployment.task(p), history.world)
    assert _counts(expected.panes) == said.panes
    _windows(expected, said)
    assert {i: _event(e) for i, e in expected.events.items()} == {i: _told(e) for i, e in said.alerts.items()}
    _requests(expected, said)
    return _met(history.world, expected.partitions, logs) | _told_of(expected)


# -- what is compared -------------------------------------------------------------------------------------------------


def _ledger(expected: Partition, task: Any) -> None:  # noqa: ANN401  # the engine's
    """R6; which of the unjoined labels have aged out is for the store's sake, and nobody's promise."""
    ledger = task.outcomes()
    assert expected.ledger() == Counter(ledger["predictions"])
    labels = Counter(ledger["labels"])
    orphans = labels.pop("orphan", 0)
    assert expected.label_ledger() == +(labels + Counter(unjoined=orphans + task.join.waiting))


def _clocks(expected: Partition, task: Any, world: World) -> None:  # noqa: ANN401  # the engine's
    watermark, label_clock = task.times()
    names = sorted(world.models)
    assert {n: expected.watermark.get(n, NEVER) for n in names} == dict(zip(names, watermark.tolist(), strict=True))
    assert {n: expected.label_clock.get(n, NEVER) for n in names} == dict(zip(names, label_clock.tolist(), strict=True))


def _counts(expected: list[Panes]) -> dict[str, dict[Any, Any]]:
    """The panes of all partitions as plain values."""
    found: dict[str, dict[Any, Any]] = {FEATURES: {}, ARRIVALS: {}, PERFORMANCE: {}}
    for p, panes in enumerate(expected):
        for key, f in panes.features.items():
            found[FEATURES][p, *key] = f.rows, f.low, f.high, {i: n for i, n in enumerate(f.counts) if n}
        for key, o in panes.arrivals.items():
            found[ARRIVALS][p, *key] = len(o.offsets), sparse(o.vector), sparse(o.histogram)
        for key, w in panes.performance.items():
            both = joined(w.early, w.late)
            parts = (w.early.vector, w.early.histogram, both.vector, both.histogram)
            found[PERFORMANCE][p, *key] = w.remembered, *map(sparse, parts)
    return found


def _windows(expected: Report, said: Said) -> None:
    drift = {
        key: {name: (c["n"], c["p_value"], c["scale"], c["rejected"]) for name, c in record["cells"].items()}
        for key, record in said.records["drift"].items()
    }
    assert expected.drift == drift
    performance, final = {}, {}
    for key, record in said.records["performance"].items():
        performance[key] = _look(record)
        if "final" in record:
            final[key] = _look(record["final"])
    assert {k: _without_tests(v) for k, v in expected.performance.items()} == performance
    assert {k: _without_tests(v) for k, v in expected.final.items()} == final


def _look(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of one revision of a window."""
    found = {name: record[name] for name in ("remembered", "labels", "coverage")}
    delays = [record[f"delay_{q}_ms"] for q in ("p50", "p90", "p99")]
    return found | {"delays": delays, "metrics": {name: m["value"] for name, m in record["metrics"].items()}}


def _without_tests(known: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in known.items() if name != "blocked"}


def _event(e: Event) -> dict[str, Any]:
    """What the oracle knows of an alert's event."""
    d = e.decision
    return {
        "type": f"dev.driftline.alert.{e.transition}.v1",
        "time": rfc3339(d.time),
        "sequence": e.sequence,
        "alert": e.alert_id,
        "kind": d.family,
        "stream": (d.stream.model, d.stream.version, d.stream.variant),
        "subject": d.subject,
        "severity": e.severity,
        "incident": e.incident,
        "window": d.window,
        "windows": e.confirmed_by,
        **{name: value for name, value in d.evidence.items() if value is not None},
    }


KNOWN = {
    "performance": ("p_value", "level", "labels", "coverage", "revision"),
    "sequential": ("reference_value", "threshold"),
}
"""What the oracle knows of the evidence, beside n and value."""


def _told(event: Mapping[str, Any]) -> dict[str, Any]:
    """The same of what was published."""
    data = event["data"]
    subject, evidence = data["subject"], data["evidence"]
    named = [subject[part] for part in ("feature", "metric") if subject.get(part)]
    known = ["n", "value", *KNOWN.get(data["kind"], ("p_value", "level"))]
    return {
        "type": event["type"],
        "time": event["time"],
        "sequence": int(event["sequence"]),
        "alert": data["alert_id"],
        "kind": data["kind"],
        "stream": (data["model"], subject["model_version"], subject["variant"]),
        "subject": ":".join(named),
        "severity": data["severity"],
        "incident": data["incident"],
        "window": (data["window"]["start_ms"], data["window"]["end_ms"]),
        "windows": tuple((w["start_ms"], w["end_ms"]) for w in evidence.get("windows", ())),
        **{name: evidence[name] for name in known if evidence.get(name) is not None},
    }


def _requests(expected: Report, said: Said) -> None:
    wanted = {
        i: {
            "type": f"dev.driftline.retrain.{r.verb}.v1",
            "time": rfc3339(r.time),
            "expires": rfc3339(r.expires),
            "sequence": r.sequence,
            "key": r.key,
            "alerts": r.alerts,
            "range": (r.since, r.decided),
            "offsets": offsets,
            "labels": r.labels,
            "incident": r.incident,
        }
        for i, (r, offsets) in expected.requests.items()
    }
    found = {}
    for i, told in said.requests.items():
        data = told["data"]
        span = data["training_range"]["event_time"]
        offsets = data["training_range"].get("offsets", {})
        found[i] = {
            "type": told["type"],
            "time": told["time"],
            "expires": told["expirytime"],
            "sequence": int(told["sequence"]),
            "key": data["idempotency_key"],
            "alerts": tuple(data["alerts"]),
            "range": (span["start_ms"], span["end_ms"]),
            "offsets": {t: {p: tuple(o) for p, o in by.items()} for t, by in offsets.items()},
            "labels": data["labels_available"],
            "incident": data["incident"],
        }
    assert wanted == found


# -- what was met -----------------------------------------------------------------------------------------------------


def _met(world: World, partitions: list[Partition], logs: list[Any]) -> set[str]:
    """What happened to records and clocks."""
    met: set[str] = set()
    for partition, log in zip(partitions, logs, strict=True):
        met |= {f"prediction {o}" for o in partition.outcome} | {f"label {o}" for o in partition.label_outcome}
        met |= {"start" if hasattr(e, "model") else "wall clock" for e in log.entries}
        met |= {_after(e, log) for e in log.entries if not hasattr(e, "model")}
        shared: dict[int, set[str]] = {}
        for pair in partition.pairs:
            p, rules = pair.prediction, world.models[pair.prediction.model].rules
            delay = pair.label_time - p.event_time
            matures = p.event_time // rules.window * rules.window + rules.window + rules.maturity
            if pair.label.offset in shared:
                met.add("shared label" if p.model in shared[pair.label.offset] else "label shared by models")
            shared.setdefault(pair.label.offset, set()).add(p.model)
            met |= {
                name
                for name, is_so in (
                    ("label before its prediction", delay < 0),
                    ("label at the horizon", abs(delay) == rules.horizon),
                    ("label a day late", delay >= DAY),
                    ("label a week late", delay >= 7 * DAY - 60_000),
                    ("label at maturity", pair.label_time == matures),
                    ("label a millisecond before maturity", pair.label_time == matures - 1),
                    ("label named", pair.label.model is not None),
                )
                if is_so
            }
        times = {(p.id, p.model): p.event_time for p in partition.applied}
        for label, time in partition.unjoined:
            for name, model in world.models.items():
                at = times.get((label.id, name))
                if at is not None and abs(time - at) == model.rules.horizon + 1:
                    met.add("label a millisecond beyond the horizon")
    return met


def _after(entry: Any, log: Any) -> str:  # noqa: ANN401  # an entry of the wall clock, a log
    records = log.predictions if entry.topic == "predictions" else log.labels
    return "nothing after a wall clock" if entry.offset == len(records) else "records after a wall clock"


def _told_of(expected: Report) -> set[str]:
    """What was decided, and when."""
    met = {f"{e.decision.family} {e.transition}" for e in expected.events.values()}
    met |= {f"performance {e.transition} again" for e in expected.events.values() if e.decision.revision == 2}
    met |= {f"retrain {r.verb}" for r, _ in expected.requests.values()}
    watermarks = [at[0] for at in expected.frontier.values()]
    decided = {name for name, *_ in expected.drift}
    starts = {name: [start for n, start, *_ in expected.drift if n == name] for name in decided}
    if len(decided) > 1 and abs(min(starts["m1"]) - min(starts["m2"])) > 20:
        met.add("one model far behind another")
    if watermarks and expected.drift:
        met.add("closed")
    for _, start, *_ in expected.drift:
        day = datetime.fromtimestamp(start / 1000, UTC)
        met |= {"midnight"} if start % DAY == 0 else set()
        met |= {"first of a month"} if day.day == 1 else set()
        met |= {"29 February"} if (day.month, day.day) == (2, 29) else set()
        met |= {"new year"} if (day.month, day.day) == (1, 1) else set()
    return met


# -- the runs ---------------------------------------------------------------------------------------------------------


def rerun(theme: str, seed: int, size: Size, how: How) -> set[str]:
    """Check one history; a failure says which one it was."""
    try:
        return check(themes.history(theme, seed, size), seed, how)
    except Exception as error:
        error.add_note(
            f"the history is: {theme!r} {seed} {size} {how} (python -m tests.property.test_oracle_histories)"
        )
        raise


def _failed() -> list[tuple[str, int, Size, How]]:
    lines = [line.split(", ") for line in FAILED.read_text().splitlines() if line and not line.startswith("#")]
    return [
        (theme, int(seed), get_args(Size)[get_args(Size).index(size)], get_args(How)[get_args(How).index(how)])
        for theme, seed, size, how in lines
    ]


@pytest.mark.parametrize(("theme", "seed", "size", "how"), _failed())
def test_a_history_that_failed_once_comes_to_what_the_oracle_comes_to(
    theme: str, seed: int, size: Size, how: How
) -> None:
    rerun(theme, seed, size, how)


@pytest.mark.parametrize("theme", THEMES)
def test_histories_come_to_what_a_naive_reader_of_everything_comes_to(theme: str) -> None:
    met: Counter[str] = Counter()
    for (size, how), count in HISTORIES.items():
        for seed in range(count):
            met.update(rerun(theme, seed, size, how))
    MET[theme] = met
    assert sorted((ALWAYS | INTERESTING[theme]) - met.keys()) == []


def test_everything_that_can_happen_has_happened_in_some_history() -> None:
    if len(MET) < len(THEMES):
        pytest.skip("not run: it looks back at all themes")
    assert sorted(SOMEWHERE - set().union(*MET.values())) == []


def test_the_themes_make_5_000_histories_and_more() -> None:
    assert len(THEMES) * sum(HISTORIES.values()) >= 5000


if __name__ == "__main__":
    print(rerun(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]))  # type: ignore[arg-type]  # noqa: T201  # asked for
