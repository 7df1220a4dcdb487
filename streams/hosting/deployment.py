"""What a host works at: the groups of co-partitioned topics with their plans, and the names of the shards that hold their state."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from schemas.errors import OTHER_COUNT, PartitionCountChanged
from schemas.identifiers import task_tag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.config import Config
    from streams.engine.plan import Plan
    from streams.engine.store import Store

PREDICTIONS, FEATURE_EVENTS = "predictions", "features"
"""The two groups of co-partitioned topics: {predictions, labels} and {features}."""


class Deployment:
    """One configuration with its plans and numbers of partitions, each by group. Nothing of it changes while a process runs."""

    def __init__(self, config: Config, plans: Mapping[str, Plan], partitions: Mapping[str, int]) -> None:
        """Know the topics of each group; a topic whose group has no plan is none of ours."""
        self.config, self.plans, self.partitions = config, plans, partitions
        topics = config.topics
        self.topics = {PREDICTIONS: (topics.predictions, topics.labels), FEATURE_EVENTS: (topics.features,)}
        self.group_of = {t: g for g, ts in self.topics.items() for t in ts if g in plans}

    def pin(self, store: Store) -> None:
        """Raise PartitionCountChanged when a topic has another number of partitions than the state was made for."""
        for group, count in self.partitions.items():
            pinned = store.pin_partitions(self.state_group(group), count)
            if pinned != count:
                what = f"topic {self.topics[group][0]} has {count} partitions, the state was made for {pinned}"
                raise PartitionCountChanged(what, OTHER_COUNT)

    def state_group(self, group: str) -> str:
        """What tells this deployment's tasks of a topic group apart in the store."""
        return f"{self.config.group}.{group}"

    def shards(self, group: str) -> list[str]:
        """The names of all tasks' shards of a group, by partition."""
        return [task_tag(self.state_group(group), p) for p in range(self.partitions[group])]

    def evaluated(self, group: str, partition: int) -> list[str]:
        """The models whose evaluators live with a task: whoever owns the partition of a model's name (DESIGN section 6)."""
        count = self.partitions[group]
        return [m.name for m in self.plans[group].models if zlib.crc32(m.name.encode()) % count == partition]
