"""A member of the group in a simulation: the product's own ``Assignment`` over a client that hands on what the topics have.

What is read of a partition moves its position on, whatever becomes of the records; nothing but an assignment sets it back, and
that can fail, after the state was claimed already. So whoever then goes on counts over a gap.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from confluent_kafka import KafkaError, KafkaException

from schemas.errors import ConnectionProblem
from streams.edges.kafka_assignment import Assignment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from confluent_kafka import Consumer, TopicPartition

    from streams.edges.kafka_assignment import Place
    from tests.sim.world import Machine, World

Run = tuple[str, int, int, int]
"""Topic, partition, and the offsets that were read: from the first to before the last."""


@dataclass(eq=False, slots=True)
class Client:
    """What ``Assignment`` asks of Kafka's client. ``refuses``: an assignment fails."""

    refuses: Callable[[], bool]
    at: dict[Place, int] = field(default_factory=dict)
    """The next offset of each partition that is assigned."""
    paused: set[Place] = field(default_factory=set)

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Read these, and nothing else."""
        self._refuse(partitions)
        self.at = _starts(partitions)

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        """Read these, too."""
        self._refuse(partitions)
        starts = _starts(partitions)
        assert not starts.keys() & self.at.keys(), "assigned twice"
        self.at |= starts

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        """Read these no more."""
        for place in _starts(partitions):
            del self.at[place]

    def unassign(self) -> None:
        """Read nothing."""
        self.at = {}

    def pause(self, partitions: list[TopicPartition]) -> None:
        """Fetch nothing of these; that outlives an assignment."""
        self.paused.update(_starts(partitions))

    def resume(self, partitions: list[TopicPartition]) -> None:
        """Fetch these again."""
        self.paused.difference_update(_starts(partitions))

    def offsets_for_times(self, partitions: list[TopicPartition], timeout: float) -> None:
        """Only the asking matters."""

    def _refuse(self, partitions: list[TopicPartition]) -> None:
        if partitions and self.refuses():
            raise KafkaException(KafkaError(KafkaError._STATE))  # noqa: SLF001  # the client's name


def _starts(partitions: list[TopicPartition]) -> dict[Place, int]:
    return {(p.topic, p.partition): p.offset for p in partitions}


class SimLog:
    """What ``KafkaLog`` is to a worker, with the same callbacks: ``claimed`` between two polls, ``gone`` within one.

    ``end`` says how far a partition is written; ``gone`` is told whether a last commit may be made.
    """

    def __init__(
        self,
        world: World,
        machine: Machine,
        topics: Sequence[str],
        end: Callable[[str, int], int],
        claimed: Callable[[list[Place]], Mapping[Place, int]],
        gone: Callable[[list[Place], bool], None],
    ) -> None:
        """Nothing given yet."""
        self._world, self._machine, self._topics, self._end = world, machine, topics, end
        self._claimed, self._gone_from_us = claimed, gone
        self._classic = world.hazards.group == "classic"
        self._client = Client(lambda: world.chance(world.hazards.assign, "assignment refused"))
        client = cast("Consumer", self._client)
        self._assignment = Assignment(client, [topics], incremental=not self._classic)
        self._given: dict[int, int] = {}
        self._troubles: deque[Exception] = deque()
        self._paused = False

    # -- the group ----------------------------------------------------------------------------------------------------

    def rejoin(self) -> None:
        """Leave the group and join it again."""
        self._assignment.forget()
        self._world.give_again(self._machine)

    @property
    def rests(self) -> bool:
        """Whether everything that is given is read."""
        return self._given == self._machine.given and not self._assignment.waiting and not self._troubles

    def _hear(self) -> set[Place]:
        """What the group takes and gives; returns what a record that is already read must not be of."""
        before, now = self._given, dict(self._machine.given)
        if before == now:
            return set()
        taken = [p for p, generation in sorted(before.items()) if self._classic or now.get(p) != generation]
        given = [p for p, generation in sorted(now.items()) if self._classic or before.get(p) != generation]
        self._given = now
        if taken:
            places = self._places(taken)
            self._gone_from_us(places, self._world.whim(2) == 0)
            self._assignment.take(places)
        self._assignment.give(self._places(given))
        return {*self._places(taken), *self._places(given)}

    def _places(self, partitions: list[int]) -> list[Place]:
        return [(topic, p) for topic in self._topics for p in partitions]

    # -- reading ------------------------------------------------------------------------------------------------------

    def poll(self, most: int) -> list[Run]:
        """Some records of every partition, up to ``most``. Raises as ``KafkaLog.poll``, later where there is something to hand on."""
        if self._troubles:
            raise self._troubles.popleft()
        runs = list(self._fetch(most))
        gone = self._hear()
        runs = [run for run in runs if run[:2] not in gone and run[:2] in self._assignment]
        for topic, partition, _, last in runs:
            self._assignment.advance((topic, partition), last)
        if waiting := self._assignment.waiting:
            try:
                self.assign_again(self._claimed(waiting))
            except Exception as error:
                if not runs:
                    raise
                self._troubles.append(error)
        return runs

    def _fetch(self, most: int) -> Iterator[Run]:
        for (topic, partition), at in sorted(self._client.at.items()):
            room = min(self._end(topic, partition) - at, most)
            if room > 0 and (topic, partition) not in self._client.paused:
                last = self._client.at[topic, partition] = at + 1 + self._world.whim(room)
                yield topic, partition, at, last

    def bounds(self, topic: str, partition: int) -> int:
        """Where a partition ends: a question to Kafka, which may be away."""
        if self._world.chance(self._world.hazards.assign, "no answer about a partition"):
            raise ConnectionProblem("Kafka did not answer", "wait")
        return self._end(topic, partition)

    def assign_again(self, starts: Mapping[Place, int]) -> None:
        """Read these from these offsets. Raises ConnectionProblem, before anything has changed or half-way."""
        if self._world.chance(self._world.hazards.assign, "assignment failed"):
            raise ConnectionProblem("Kafka did not answer", "wait")
        try:
            self._assignment.read(starts)
        except KafkaException as error:
            raise ConnectionProblem("the client refused", "wait") from error

    def position(self, topic: str, partition: int) -> int:
        """The offset behind everything that was handed over."""
        return self._assignment.position((topic, partition))

    def pause(self) -> None:
        """Read nothing until ``resume``."""
        self._paused = True
        self._assignment.pause()

    def resume(self) -> None:
        """Read again, if it was paused."""
        if self._paused:
            self._paused = False
            self._assignment.resume()

    def hold(self, places: set[Place]) -> None:
        """Read nothing of these for now."""
        self._assignment.hold(places)
