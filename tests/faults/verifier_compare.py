"""What is compared, one kind of fact after the other; every difference is a sentence that says where and how.

Everything is compared exactly, but for sums of log losses, whose logarithm is good to an error (``verifier_rounding``).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.performance import layout
from detectors.performance.classification import probability
from schemas.config import Config
from tests.faults import verifier_events as events
from tests.faults.verifier_expected import Expected
from tests.faults.verifier_log import Raw
from tests.faults.verifier_rounding import NONE, Slack, alike, settled
from tests.faults.verifier_stored import EvaluatorHead, Stored, TaskHead, transitions
from tests.oracle.monitor_counts import Outcomes, spelt
from tests.oracle.monitor_families import joined

KEPT_WINDOWS = 1_000
"""Evaluated windows whose records are kept at least."""
_HEADER = 3
"""Numbers before the counts of a stored vector: rows, lowest offset, highest offset."""
_WIDTH = layout.width("binary", 2)
"""Numbers of an outcome vector; a histogram of delays follows in a block."""
_CUT = 200
"""Characters of a value that are shown."""


def maps(what: str, wanted: Mapping[Any, Any], found: Mapping[Any, Any]) -> Iterator[str]:
    """Every key that only one has, and every value that differs."""
    for key in sorted(wanted.keys() | found.keys(), key=str):
        if key not in found:
            yield f"{what} {_name(key)} is missing: {_short(wanted[key])}"
        elif key not in wanted:
            yield f"{what} {_name(key)} should not be there: {_short(found[key])}"
        elif wanted[key] != found[key]:
            yield f"{what} {_name(key)}: {_apart(wanted[key], found[key])}"


def _name(key: Any) -> str:  # noqa: ANN401  # any key
    return "/".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _short(value: Any) -> str:  # noqa: ANN401  # any value
    text = str(value)
    return text if len(text) <= _CUT else f"{text[:_CUT]}..."


def _apart(wanted: Any, found: Any) -> str:  # noqa: ANN401  # any values
    """Of two dicts, the entries that differ."""
    if not (isinstance(wanted, dict) and isinstance(found, dict)):
        return f"expected {_short(wanted)}, found {_short(found)}"
    names = [k for k in sorted(wanted.keys() | found.keys(), key=str) if wanted.get(k) != found.get(k)]
    return "; ".join(f"{k}: expected {_short(wanted.get(k))}, found {_short(found.get(k))}" for k in names[:5])


# -- ledgers ----------------------------------------------------------------------------------------------------------


def ledgers(config: Config, expected: Expected, heads: Sequence[TaskHead | None]) -> Iterator[str]:
    """R6: of every partition, read to its end; each record with one outcome, and the outcome that it should have."""
    topics = config.topics
    for number, (part, head) in enumerate(zip(expected.parts, heads, strict=True)):
        if head is None:
            if any(part.records.values()):
                yield f"partition {number}: nothing was ever committed, of {sum(part.records.values())} records"
            continue
        yield from maps(f"partition {number}, committed offset of", part.records, head.offsets)
        mine = Counter(head.ledger.get(topics.predictions, {}))
        yield from maps(f"{topics.predictions}/{number}, outcome", +part.outcome, +mine)
        labels = Counter(head.ledger.get(topics.labels, {}))
        labels["unjoined"] = labels.pop("orphan", 0) + head.waiting  # when one ages out is nobody's promise
        yield from maps(f"{topics.labels}/{number}, outcome", +part.label_outcome, +labels)
        yield from sums(config, number, head)


def sums(config: Config, number: int, head: TaskHead) -> Iterator[str]:
    """Received = sum of the outcomes + waiting, of one committed head."""
    for topic, offset in head.offsets.items():
        counted = sum(head.ledger.get(topic, {}).values()) + (head.waiting if topic == config.topics.labels else 0)
        if counted != offset:
            yield f"{topic}/{number}: {offset} records were read, the ledger counts {counted}"


def metrics(config: Config, expected: Expected, scraped: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """The ledgers as the workers' /metrics add up to; by topic and outcome; ("", "waiting"): labels that wait."""
    topics = config.topics
    predictions: Counter[str] = sum((p.outcome for p in expected.parts), Counter())
    labels: Counter[str] = sum((p.label_outcome for p in expected.parts), Counter())
    found = {
        t: Counter({o: n for (of, o), n in scraped.items() if of == t}) for t in (topics.predictions, topics.labels)
    }
    mine = found[topics.labels]
    mine["unjoined"] = mine.pop("orphan", 0) + scraped.get(("", "waiting"), 0)
    yield from maps(f"metrics of {topics.predictions}, outcome", +predictions, +found[topics.predictions])
    yield from maps(f"metrics of {topics.labels}, outcome", +labels, +mine)


def dead_letters(config: Config, expected: Expected, letters: Iterable[Raw]) -> Iterator[str]:
    """R7: after de-duplication exactly one for every bad record, with its bytes and their hash."""
    wanted = {f"{t}/{n}/{o}": value for n, p in enumerate(expected.parts) for (t, o), value in p.dead.items()}
    found: set[str] = set()
    for letter in letters:
        name = (letter.headers.get("driftline.id") or b"").decode()
        found.add(name)
        if name not in wanted:
            yield f"dead letter {name} is of a record that is sound"
            continue
        value, digest = wanted[name], letter.headers.get("driftline.sha256")
        if digest != (None if value is None else hashlib.sha256(value).hexdigest().encode()):
            yield f"dead letter {name} carries another hash than the record's"
        cut = b"" if value is None or config.dead_letters.payload == "hash" else value[: config.dead_letters.max_bytes]
        if letter.value not in {cut, b""}:
            yield f"dead letter {name} does not hold the record's bytes"
    yield from (f"dead letter {name} is missing" for name in sorted(wanted.keys() - found))


# -- windows ----------------------------------------------------------------------------------------------------------


def windows(
    config: Config, expected: Expected, stored: Stored, heads: Mapping[str, EvaluatorHead | None]
) -> Iterator[str]:
    """The record of every evaluated window: what was counted in it, and what the tests said of it."""
    report = expected.report
    for name in config.models:
        head = heads[name]
        length = config.models[name].windows.size
        drift_from, final_from = (-1, -1) if head is None else (head.cursors[0], head.cursors[4])
        drift = {k: _drift(v) for k, v in stored.windows("drift", name).items()}
        yield from maps("drift window", _kept(report.drift, name, drift_from - KEPT_WINDOWS * length, drift), drift)
        records = stored.windows("performance", name)
        since = final_from - KEPT_WINDOWS * length
        mature = {k: _look(v) for k, v in records.items()}
        final = {k: _look(v["final"]) for k, v in records.items() if "final" in v}
        for what, wanted, found in (
            ("performance", report.performance, mature),
            ("final performance", report.final, final),
        ):
            plain = {k: {n: x for n, x in v.items() if n != "blocked"} for k, v in wanted.items()}
            _lost_alike(expected, name, plain, found, ("early",) if what == "performance" else ("early", "late"))
            yield from maps(f"{what} window", _kept(plain, name, since, found), found)


def _lost_alike(
    expected: Expected, model: str, wanted: Mapping[Any, Any], found: Mapping[Any, Any], halves: Sequence[str]
) -> None:
    """The log loss that was found, where another sum of losses that is as good comes to it; ``halves`` of a window count."""
    for key in wanted.keys() & found.keys():
        slack = sum((p.slack.get((half, key), NONE) for p in expected.parts for half in halves), NONE)
        if key[0] != model or slack.loss == (0, 0):
            continue
        parts = [p.panes.performance[key] for p in expected.parts if key in p.panes.performance]
        vector = spelt(sum((getattr(w, half).vector for w in parts for half in halves), np.zeros(_WIDTH, np.int64)))
        told = found[key]["metrics"].get("log_loss")
        if any(told == probability(other)["log_loss"].value for other in alike(vector, slack)):
            wanted[key]["metrics"] = wanted[key]["metrics"] | {"log_loss": told}


def _kept(wanted: Mapping[Any, Any], model: str, since: int, found: Mapping[Any, Any]) -> dict[Any, Any]:
    """Those of one model that must be there, or are."""
    return {k: v for k, v in wanted.items() if k[0] == model and (k[1] >= since or k in found)}


def _drift(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: (c["n"], c["p_value"], c["scale"], c["rejected"]) for name, c in record["cells"].items()}


def _look(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of one revision of a window."""
    found = {name: record[name] for name in ("remembered", "labels", "coverage")}
    late = [record[f"delay_{q}_ms"] for q in ("p50", "p90", "p99")]
    return found | {"delays": late, "metrics": {name: m["value"] for name, m in record["metrics"].items()}}


def panes(config: Config, expected: Expected, stored: Stored) -> Iterator[str]:
    """Every pane that is still there, of every partition; those that are not closed yet must be there."""
    for number, part in enumerate(expected.parts):
        for name, model in config.models.items():
            found = {k: _slots(v) for k, v in stored.panes(number, "features", name).items()}
            open_from = part.slim.watermark.get(name, 0) - model.windows.lateness - model.windows.pane
            wanted = {
                k: (f.rows, f.low, f.high, _sparse(f.counts))
                for k, f in part.panes.features.items()
                if k[0] == name and (k in found or k[1] > open_from)
            }
            yield from maps(f"pane of features, partition {number},", wanted, found)
            blocks = {k: v[_HEADER:] for k, v in stored.panes(number, "arrivals", name).items()}
            arrived = {k: _block(v) for k, v in blocks.items()}
            outcomes = {
                k: _counted(o, blocks[k], part.slack.get(("arrivals", k), NONE))
                for k, o in part.panes.arrivals.items()
                if k in arrived
            }
            yield from maps(f"pane of arrivals, partition {number},", outcomes, arrived)
            raw = stored.panes(number, "performance", name)
            kept = {k: _performance(v) for k, v in raw.items()}
            both = {}
            for k in part.panes.performance.keys() & kept.keys():
                w, (early, late) = part.panes.performance[k], _halves(raw[k])
                at, by = part.slack.get(("early", k), NONE), part.slack.get(("late", k), NONE)
                whole = _counted(joined(w.early, w.late), early + late, at + by)
                both[k] = w.remembered, _counted(w.early, early, at), whole
            yield from maps(f"window of outcomes, partition {number},", both, kept)


def _sparse(counts: Any) -> dict[int, int]:  # noqa: ANN401  # a list or an array
    return {i: int(n) for i, n in enumerate(counts) if n}


def _slots(v: NDArray[np.int64]) -> tuple[int, int, int, dict[int, int]]:
    return int(v[0]), int(v[1]), int(v[2]), _sparse(v[_HEADER:])


def _counted(o: Outcomes, block: NDArray[np.int64], slack: Slack) -> tuple[dict[int, int], dict[int, int]]:
    """The oracle's outcomes, with the sums of losses of a stored block where they are as good."""
    return _sparse(settled(o.vector, spelt(block[:_WIDTH]), slack)), _sparse(o.histogram)


def _block(v: NDArray[np.int64]) -> tuple[dict[int, int], dict[int, int]]:
    return _sparse(spelt(v[:_WIDTH])), _sparse(v[_WIDTH:])


def _halves(v: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The blocks of outcomes up to maturity and after it."""
    rest = v[_HEADER + 1 :]
    return rest[: len(rest) // 2], rest[len(rest) // 2 :]


def _performance(v: NDArray[np.int64]) -> tuple[int, Any, Any]:
    early, late = _halves(v)
    return int(v[_HEADER]), _block(early), _block(early + late)


# -- events -----------------------------------------------------------------------------------------------------------


def alerts(expected: Expected, told: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Alert events of the families that the oracle decides, by id."""
    wanted = {i: events.expected_alert(e) for i, e in expected.report.events.items()}
    found = {i: events.told_alert(e) for i, e in told.items() if e["data"]["kind"] in events.FAMILIES}
    yield from maps("alert event", wanted, found)


def requests(config: Config, expected: Expected, told: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Retrain events by id."""
    names = {"predictions": config.topics.predictions, "labels": config.topics.labels}
    wanted = {
        i: events.expected_request(r, {names[t]: by for t, by in offsets.items()})
        for i, (r, offsets) in expected.report.requests.items()
    }
    yield from maps("retrain event", wanted, {i: events.told_request(e) for i, e in told.items()})


def published(
    heads: Mapping[str, EvaluatorHead | None],
    alerts: Mapping[str, Mapping[str, Any]],
    requests: Mapping[str, Mapping[str, Any]],
) -> Iterator[str]:
    """P3, of all families: what an evaluator counts as decided was published, and nothing else waits.

    What is published and still in the outbox was not acknowledged before its worker ended: it is published again, which is allowed.
    """
    for name, head in heads.items():
        if head is None:
            continue
        yield from maps(f"alerts of {name}, published and", head.transitions, transitions(alerts, name))
        if waiting := [i for i in head.outbox if i not in alerts and i not in requests]:
            yield f"{len(waiting)} events of {name} wait in the outbox: {', '.join(waiting[:3])}"
