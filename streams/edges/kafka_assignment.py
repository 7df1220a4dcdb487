"""Which partitions the group has given us, and which of them are read: those of a task only all together (R10).

What the group gives is noted in the client's callback and *read* later, between two polls, once the state has said from where.
Until then the client is told to read nothing. So nothing that can fail happens inside a callback that gives (there the client
would go on by itself, from offsets that are not the state's), a Redis that is away for a minute holds up no rebalance, and no
record of an earlier place in the log can come after the new one.

Two protocols. `classic` takes everything and gives everything in each rebalance; `consumer` (KIP-848) gives and takes only
what changes, and the client then refuses the calls that replace an assignment as a whole.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Place = tuple[str, int]
"""A topic and the number of a partition."""
NOT_READ = -1
"""The position in a partition that is not read."""
_NUDGE_S = 0.1
"""How long a question is waited for of which only the asking matters."""


class Assignment:
    """The partitions of one consumer. ``together`` are the topics whose partitions p make one task."""

    def __init__(self, consumer: Consumer, together: Iterable[Sequence[str]], *, incremental: bool) -> None:
        """Nothing is given, nothing is read."""
        self._consumer, self._incremental = consumer, incremental
        self._task_of = {topic: tuple(topics) for topics in together for topic in topics}
        self._given: set[Place] = set()
        self._positions: dict[Place, int] = {}
        self._assigned: set[Place] = set()
        self._paused = False
        self._held: set[Place] = set()

    def _together(self, place: Place) -> list[Place]:
        topic, partition = place
        return [(t, partition) for t in self._task_of.get(topic, (topic,))]

    @property
    def waiting(self) -> list[Place]:
        """What is given, complete and not read yet: whole tasks, in order."""
        return sorted(
            place for place in self._given - self._positions.keys() if self._given.issuperset(self._together(place))
        )

    @property
    def incomplete(self) -> bool:
        """Whether nothing is given, or half a task: with the `consumer` protocol a topic that is deleted is just taken away."""
        return not self._given or any(not self._given.issuperset(self._together(place)) for place in self._given)

    def give(self, places: Iterable[Place]) -> None:
        """In the callback: these are ours from now on, and read later. In the classic protocol, they are all that is ours."""
        if self._incremental:
            self._given.update(places)
            self._consumer.incremental_assign([])
        else:
            self._given = set(places)
            self._positions.clear()
            self._assigned.clear()
            self._consumer.assign([])

    def tasks_of(self, places: Iterable[Place]) -> list[Place]:
        """The partitions of every task that one of these belongs to, in order."""
        return sorted({other for place in places for other in self._together(place)})

    def take(self, places: Iterable[Place]) -> None:
        """In the callback: these are no longer ours. What is left of their tasks stays ours and is not read."""
        gone = set(places)
        self._given -= gone
        stopped = self._assigned.intersection(self.tasks_of(gone))
        if self._incremental:
            self._consumer.incremental_unassign(_places(stopped))
        else:
            self._consumer.unassign()
            stopped = set(self._assigned)
        self._assigned -= stopped
        for place in stopped:
            self._positions.pop(place, None)

    def forget(self) -> None:
        """The group is left: nothing is ours, and what is still read is taken by the callback that follows."""
        self._given.clear()

    def read(self, starts: Mapping[Place, int]) -> None:
        """Read these from these offsets, the others from where they are. What was fetched of these before is dropped.

        Partitions that are not ours (any more) are passed over.
        """
        wanted = {place: offset for place, offset in starts.items() if place in self._given}
        if not wanted:
            return
        places = self._positions | wanted
        for place in wanted:  # where a call fails, they wait to be claimed again
            self._positions.pop(place, None)
        if not self._incremental:
            self._consumer.assign(_places_from(places))
        else:
            if again := self._assigned.intersection(wanted):
                self._consumer.incremental_unassign(_places(again))
                self._assigned -= again
            self._consumer.incremental_assign(_places_from(wanted))
        self._assigned.update(wanted)
        self._positions.update(wanted)
        # A pause outlives an unassignment in the client, so what is assigned begins as it was when it went: say it again.
        if self._paused:
            self.pause()
        else:
            self.resume()

    def advance(self, place: Place, offset: int) -> None:
        """What comes next of a partition that is read has this offset, or a higher one."""
        if offset > self._positions.get(place, offset):
            self._positions[place] = offset

    def position(self, place: Place) -> int:
        """The offset behind everything that was handed over, `NOT_READ` where the partition is not read.

        The client's own position is of no use: for a moment after an assignment it is still the one before (measured).
        """
        return self._positions.get(place, NOT_READ)

    def pause(self) -> None:
        """Read nothing, nor what is assigned later, until ``resume``."""
        self._paused = True
        self._consumer.pause(_places(self._positions))

    def resume(self) -> None:
        """Read again."""
        self._paused = False
        self._consumer.resume(_places(self._positions.keys() - self._held))
        self._nudge()

    def hold(self, places: set[Place]) -> None:
        """Read nothing of these until a later call names others; what is paused stays so."""
        before, self._held = self._held, places
        if held := (places - before) & self._positions.keys():
            self._consumer.pause(_places(held))
        if before - places and not self._paused:
            self.resume()

    def _nudge(self) -> None:
        """Let the client fetch at once.

        Its thread of a broker that had nothing to fetch looks for new work once a second only, and whenever it is asked something
        (measured: the first record after 0.7-1.0 s, with a question after 0.02 s).
        """
        ends = [TopicPartition(t, p, OFFSET_END) for t, p in sorted(self._positions.keys() - self._held)]
        if ends:
            with contextlib.suppress(KafkaException):
                self._consumer.offsets_for_times(ends, timeout=_NUDGE_S)

    def __contains__(self, place: Place) -> bool:
        return place in self._positions


def _places(places: Iterable[Place]) -> list[TopicPartition]:
    return [TopicPartition(t, p) for t, p in sorted(places)]


def _places_from(starts: Mapping[Place, int]) -> list[TopicPartition]:
    return [TopicPartition(t, p, offset) for (t, p), offset in sorted(starts.items())]
