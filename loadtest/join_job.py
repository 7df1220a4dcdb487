"""What ``python -m loadtest join`` tells the programs that it measures, what they tell it back, and what they work on.

The traffic is known from its number alone: id, time, answer and truth of prediction i are functions of i, so that every
program makes the same events without being told them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from detectors.reference import Reference
from schemas.config import ModelConfig
from streams.engine.join import Join
from streams.engine.plan import compile_plan
from streams.engine.truth import word_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streams.engine.plan import Plan

MODEL: Final = "watched"
SHARD: Final = "loadtest-join"
BEGIN_MS: Final = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""
DAY_MS: Final = 86_400_000
HORIZON_DAYS: Final = 31
SPAN_MS: Final = 30 * DAY_MS
"""All predictions come within this, so that none has been forgotten when the last one comes."""
CLASSES: Final = ("a", "b", "c", "d", "e")
REMEMBER, LABEL, RELOAD = "remember", "label", "reload"
"""The three programs of a case: fill an empty memory; load it as after a restart and label everything; load it again."""


class Job(msgspec.Struct, frozen=True):
    """One program to run: ``size`` predictions of a ``task``, handed over and committed ``rows`` at a time."""

    phase: str
    task: str
    size: int
    redis_url: str
    rows: int


class Cost(msgspec.Struct):
    """What a program measured: ``_ns`` CPU time of one prediction or label, ``_ms`` CPU time, ``_s`` wall time, ``_bytes`` of all.

    ``join_ns`` is the join itself, ``log_ns`` making the blocks of the log; ``longest_ms`` the slowest batch, ``forget_ms``
    forgetting a slot; ``steady_ns`` remembering where the memory is full, forgetting included. ``log_bytes`` were sent to
    Redis, ``redis_bytes`` is what it grew by (the caller asks it). ``array_bytes`` are the join's arrays,
    ``resident_bytes`` and ``peak_bytes`` what the process grew by, at the end and at its worst.
    """

    join_ns: float = 0.0
    log_ns: float = 0.0
    commit_s: float = 0.0
    longest_ms: float = 0.0
    fetch_s: float = 0.0
    load_s: float = 0.0
    forget_ms: float = 0.0
    steady_ns: float = 0.0
    log_bytes: int = 0
    redis_bytes: int = 0
    array_bytes: int = 0
    resident_bytes: int = 0
    peak_bytes: int = 0
    wrong: list[str] = msgspec.field(default_factory=list)


@cache
def plan(task: str) -> Plan:
    """A plan with one model of this task."""
    table: dict[str, object] = {"amount": np.arange(1_000) % 10}
    if task == "regression":
        table |= {"prediction": np.arange(1_000) / 7, "label": np.arange(1_000) / 9}
    else:
        names = np.array(CLASSES if task == "multiclass" else CLASSES[:2])
        table |= {
            "prediction": names[np.arange(1_000) % len(names)],
            "label": names[np.arange(1_000) // 3 % len(names)],
        }
    if task == "binary":
        table["score"] = np.arange(1_000) / 1_000
    positive = {"positive_class": CLASSES[1]} if task == "binary" else {}
    reference = Reference.build(table, task=task, **positive)  # type: ignore[arg-type]  # a task that we named
    config = ModelConfig.model_validate(
        {"task": task, "reference": Path("unused"), "labels": {"horizon": f"{HORIZON_DAYS}d", "memory": "8GB"}}
        | positive
    )
    return compile_plan("predictions", {MODEL: config}, {MODEL: [reference]}, 300_000)


def empty(task: str) -> Join:
    """An empty join for a model of this task."""
    return Join(plan(task))


def mixed(i: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A hash of numbers (splitmix64: Steele, Lea & Flood 2014), never 0: what the decoder makes of an id."""
    z = i * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))) | np.uint64(1)


@dataclass(frozen=True, slots=True)
class Traffic:
    """``size`` predictions, in order of time over `SPAN_MS`, and a label of each one to thirty days later."""

    task: str
    size: int

    def time(self, i: NDArray[np.int64]) -> NDArray[np.int64]:
        """Event times, ms."""
        return BEGIN_MS + i * SPAN_MS // self.size

    def label_time(self, i: NDArray[np.int64]) -> NDArray[np.int64]:
        """When their labels become known, ms."""
        delay = mixed(i.astype(np.uint64) + np.uint64(1 << 40)) % np.uint64(29 * DAY_MS)
        return self.time(i) + DAY_MS + delay.astype(np.int64)

    def answers(self, i: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Classes, and scores or values (NaN for a multiclass task)."""
        word = mixed(i.astype(np.uint64) + np.uint64(1 << 41)) >> np.uint64(11)
        share = word.astype(np.float64) / (1 << 53)
        if self.task == "regression":
            return np.zeros(len(i), np.int64), share * 1_000
        if self.task == "multiclass":
            return (share * len(CLASSES)).astype(np.int64), np.full(len(i), np.nan)
        return (share >= 0.5).astype(np.int64), share  # noqa: PLR2004  # of two classes, the likelier

    def truths(self, i: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
        """Words of the truth (``streams.engine.truth``), and whether they are numbers."""
        word = mixed(i.astype(np.uint64) + np.uint64(1 << 42))
        if self.task == "regression":
            return (word >> np.uint64(11)).astype(np.float64).view(np.uint64), np.ones(len(i), np.uint8)
        classes = CLASSES if self.task == "multiclass" else CLASSES[:2]
        words = np.array([word_of(name)[0] for name in classes], np.uint64)
        return words[(word % np.uint64(len(classes))).astype(np.int64)], np.zeros(len(i), np.uint8)
