"""What ``driftline check`` says about labels: whether they meet their predictions, and what waiting for them costs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from schemas.errors import DriftlineError
from streams.co_partitioning import look, same_number, verdict
from streams.edges.kafka_sample import count_since
from streams.edges.redis_store import RedisStore
from streams.findings import NO, Finding
from streams.label_cost import Rate, cost, counted, in_words, live, sampled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.config import Config
    from streams.co_partitioning import Sightings
    from streams.label_cost import Cost

SHARED, PLACED, MEMORY, STORE = (
    "predictions and labels share partitions",
    "labels come to their predictions",
    "memory for the labels of model {}",
    "labels fit into Redis",
)
"""The subjects of these findings."""
_DAY_MS, _HOUR_MS = 86_400_000, 3_600_000


def label_findings(config: Config, counts: Mapping[str, int]) -> Iterator[Finding]:
    """Everything about labels, as far as both topics are there (``counts``: their partitions)."""
    t = config.topics
    if not config.models:
        return
    if t.predictions not in counts or t.labels not in counts:
        yield from (Finding(subject, "not checked") for subject in (SHARED, PLACED, STORE))
        return
    wrong = same_number(t, counts)
    yield Finding(SHARED, "ok") if wrong is None else Finding(SHARED, "failed", wrong.what, wrong.remedy, NO)
    try:
        seen = look(config.kafka, (t.predictions, t.labels), counts)
    except DriftlineError as error:
        yield from (Finding(subject, "not checked", error.what, error.remedy) for subject in (PLACED, STORE))
        return
    if wrong is None:
        yield _placed(config, counts, seen)
    yield from _costs(config, counts, seen)


def _placed(config: Config, counts: Mapping[str, int], seen: Sightings) -> Finding:
    found = verdict(config.topics, counts, seen)
    if found.state == "together":
        return Finding(PLACED, "ok", found.what)
    if found.state == "unknown":
        return Finding(PLACED, "not checked", found.what, found.remedy)
    return Finding(PLACED, "failed", found.what, found.remedy, NO)


def _costs(config: Config, counts: Mapping[str, int], seen: Sightings) -> Iterator[Finding]:
    """Rate x horizon of each model against ``labels.memory``, and of all of them against Redis."""
    topic = config.topics.predictions
    sightings = [s for s in seen[topic] if s.id]
    if not sightings:
        yield Finding(STORE, "not checked", f"{topic}: no records yet")
        return
    needs: list[Cost] = []
    numbers = any(model.task == "regression" for model in config.models.values())
    for name, model in config.models.items():
        share = sum(s.model == name for s in sightings) / len(sightings)
        rate = _rate(config, counts[topic], seen, model.labels.horizon)
        if rate is None:
            yield Finding(MEMORY.format(name), "not checked", f"{topic}: too few records for a rate")
            continue
        part = Rate(rate.per_second * share, rate.over)
        needs.append(cost(model, part.per_second, numbers=numbers))
        yield _memory(config, name, part, needs[-1])
    if needs:
        yield _store(config, needs)


def _rate(config: Config, partitions: int, seen: Sightings, horizon_ms: int) -> Rate | None:
    topic = config.topics.predictions
    if live(seen[topic]):
        now = time.time_ns() // 1_000_000
        try:
            day, hour = (count_since(config.kafka, topic, partitions, now - ms) for ms in (_DAY_MS, _HOUR_MS))
        except DriftlineError:
            day = hour = None
        if (found := counted(day, hour, horizon_ms)) is not None:
            return found
    return sampled(seen[topic])


def _memory(config: Config, name: str, rate: Rate, need: Cost) -> Finding:
    labels = config.models[name].labels
    allowed = int(labels.memory)
    what = (
        f"{rate.per_second:,.1f} predictions a second ({rate.over}) wait {labels.horizon / _DAY_MS:g} d for labels: "
        f"{need.remembered:,} at once, {in_words(need.memory_bytes)} in the memory of all workers together"
        f" (labels.memory is {in_words(allowed)}) and up to {in_words(need.store_bytes)} in Redis"
        f", there {in_words(need.outliving_bytes)} more at most for labels that outlive their prediction"
    )
    if need.memory_bytes <= allowed:
        return Finding(MEMORY.format(name), "ok", what)
    fits = labels.sample * allowed / need.memory_bytes
    remedy = (
        f"set labels.sample of {name} to {_down(fits)}, or labels.memory to {in_words(need.memory_bytes)}, or shorten labels.horizon"
        "; beyond the bound new predictions are not remembered"
    )
    return Finding(MEMORY.format(name), "failed", what, remedy, NO)


def _down(share: float) -> str:
    """A share rounded down to two digits that count."""
    digits = 2
    while share * 10**digits < 10:  # noqa: PLR2004  # two digits
        digits += 1
    return f"{int(share * 10**digits) / 10**digits:.{digits}f}"


def _store(config: Config, needs: list[Cost]) -> Finding:
    total = sum(need.store_bytes for need in needs)
    try:
        most, where = RedisStore(config.redis.url).most_bytes()
    except DriftlineError as error:
        return Finding(STORE, "not checked", error.what)
    what = f"up to {in_words(total)} of {in_words(most)} ({where})"
    if total <= most:
        return Finding(STORE, "ok", what)
    return Finding(STORE, "failed", what, "give Redis more memory, lower labels.sample, or shorten labels.horizon", NO)
