"""One task driven through a history: any batches, any interleaving of its two topics, commits and crashes anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from hypothesis import strategies as st

from detectors.reference import Reference
from schemas.config import Labels, ModelConfig, Windows
from streams.digest import HasEvaluator, HasTask, parts
from streams.edges.memory_journal import MemoryJournal
from streams.edges.memory_store import MemoryStore
from streams.engine import cells, snapshot
from streams.engine.decode import LabelDecoder, PredictionDecoder
from streams.engine.plan import Plan, compile_plan
from streams.engine.records import batch_of
from streams.engine.shard import claim
from streams.engine.store import EVERY, LABELS
from streams.engine.task import Task
from streams.engine.task_restore import restore
from tests.oracle.histories import FUTURE, POSITIVE, RULES, label_bytes, prediction_bytes

if TYPE_CHECKING:
    from tests.oracle.join_oracle import Label, Prediction
    from tests.oracle.panes import Panes

SHARD = "{task:test:0}"


@dataclass(frozen=True)
class Step:
    """Take up to ``size`` records of a topic; then, maybe, commit; then, maybe, crash."""

    topic: Literal["predictions", "labels"]
    size: int
    commit: bool
    crash: bool


STEPS = st.lists(
    st.builds(Step, st.sampled_from(["predictions", "labels"]), st.integers(1, 12), st.booleans(), st.booleans()),
    max_size=30,
)


@cache
def reference() -> Reference:
    """Two features, an answer and a score."""
    table: dict[str, Any] = {
        "a": [1.0, 2.0, 3.0, 4.0] * 50,
        "c": ["de", "fr", "de", "uk"] * 50,
        "prediction": ["yes", "no"] * 100,
        "score": [0.9, 0.1] * 100,
        "label": ["yes", "no"] * 100,
    }
    return Reference.build(table, task="binary", positive_class=POSITIVE)


def model_config(name: str) -> ModelConfig:
    """A model with the times of its rules."""
    r = RULES[name]
    return ModelConfig(
        task="binary",
        positive_class=POSITIVE,
        reference="unused.json",
        windows=Windows(pane=r.pane, size=r.window, lateness=r.lateness, idle=r.idle),
        labels=Labels(maturity=r.maturity, horizon=r.horizon),
    )


def new_plan() -> Plan:
    """The plan, as a process that starts compiles it."""
    configs = {name: model_config(name) for name in RULES}
    return compile_plan("predictions", configs, {name: [reference()] for name in RULES}, FUTURE)


class _Held:
    """One task, as ``digest`` wants to see it."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.tasks: dict[tuple[str, int], HasTask] = {("predictions", 0): self}
        self.evaluators: dict[tuple[str, str], HasEvaluator] = {}


class Driver:
    """A process that may crash and come back. The store stays."""

    def __init__(self, predictions: list[Prediction], labels: list[Label]) -> None:
        """Nothing read yet."""
        self.records = {
            "predictions": [(0, p.offset, p.record_time, prediction_bytes(p)) for p in predictions],
            "labels": [(0, x.offset, x.record_time, label_bytes(x)) for x in labels],
        }
        self.store, self.journal = MemoryStore(), MemoryJournal()
        self.start()

    def start(self) -> None:
        """Claim the shard and load what was committed."""
        plan = new_plan()
        self.decoder, self.label_decoder = PredictionDecoder(plan, "predictions"), LabelDecoder(plan)
        self.shard = claim(self.store, self.journal, [SHARD], lambda: "token")[SHARD]
        if self.shard.body is None:
            self.task = Task(plan, SHARD, "predictions", "labels")
        else:
            self.task = restore(plan, SHARD, ("predictions", "labels"), self.shard.body, self.store, None)

    def take(self, topic: Literal["predictions", "labels"], size: int) -> bool:
        """Read on where the task stands; False at the end."""
        at = self.task.offsets[topic]
        batch = batch_of(topic, self.records[topic][at : at + size])
        if not len(batch):
            return False
        if topic == "predictions":
            self.task.predictions(self.decoder.decode(batch.values), 0, len(batch), batch.offset, batch.timestamp_ms)
        else:
            columns = self.label_decoder.decode(batch.values, batch.timestamp_ms)
            self.task.labels(columns, 0, len(batch), batch.offset, batch.timestamp_ms)
        return True

    def commit(self) -> None:
        """Write what changed."""
        self.shard.commit(self.task.stage)
        self.task.committed()

    def run(self, steps: list[Step]) -> None:
        """The steps, then all the rest, then a last commit."""
        for step in steps:
            self.take(step.topic, step.size)
            if step.commit:
                self.commit()
            if step.crash:
                self.start()
        for topic in ("predictions", "labels"):
            while self.take(topic, 1 << 30):
                pass
        self.commit()

    def digest(self) -> dict[str, str]:
        """The digest of the task as it stands in memory, in parts."""
        return parts(self.store, _Held(self.task))

    def label_panes(self) -> dict[tuple[str, int], list[int]]:
        """Every cell that says where labels stand in the log."""
        found = {}
        for name in (*RULES, EVERY):
            starts = self.store.starts(SHARD, LABELS, name, 0, 1 << 62)
            for at, data in zip(starts, self.store.cells([(SHARD, (LABELS, name, s)) for s in starts]), strict=True):
                (entry,) = cells.decode(data or b"", "test")
                found[name, at] = snapshot.unpack_vector(entry.vector).tolist()
        return found

    def panes(self, kind: str) -> Panes:
        """Every cell in the store, open or closed, as the oracle writes them."""
        found: Panes = {}
        for name in RULES:
            starts = self.store.starts(SHARD, kind, name, 0, 1 << 62)
            for at, data in zip(starts, self.store.cells([(SHARD, (kind, name, s)) for s in starts]), strict=True):
                assert data is not None
                for entry in cells.decode(data, "test"):
                    vector: Any = np.asarray(snapshot.unpack_vector(entry.vector))
                    found[name, at, entry.version, entry.variant] = vector.tolist()
        return found
