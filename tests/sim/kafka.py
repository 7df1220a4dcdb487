"""What Kafka is in a simulation: a journal topic, and producers whose records arrive late, twice, out of order or never.

A producer keeps what it has sent until the world says what became of it (``Producer.step``): it arrives and is acknowledged; it
arrives, and the client hears of an error and sends it again; it does not arrive, and is sent again behind the others. A
process that died leaves records under way that may still arrive.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from schemas.errors import ConnectionProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from schemas.journal import Claim, Record
    from schemas.outbox import OutboxEvent
    from streams.engine.columns import Rejected
    from streams.engine.records import RecordBatch

Fate = Literal["arrives", "arrives, and is sent again", "is sent again"]
FATES: tuple[Fate, ...] = ("arrives", "arrives, and is sent again", "is sent again")


@dataclass(eq=False, slots=True)
class Sent:
    """Something under way. ``arrive`` puts it into its topic and returns its offset; ``done`` is told that."""

    arrive: Callable[[], int]
    done: Callable[[int], None]


@dataclass(eq=False)
class Producer:
    """The records that one process has under way, in the order it sent them; acknowledgements wait until it asks (``poll``)."""

    under_way: deque[Sent] = field(default_factory=deque)
    _heard: deque[tuple[Callable[[int], None], int]] = field(default_factory=deque)

    def send(self, arrive: Callable[[], int], done: Callable[[int], None]) -> None:
        """Put it on its way."""
        self.under_way.append(Sent(arrive, done))

    def step(self, fate: Fate) -> None:
        """What becomes of the first one."""
        sent = self.under_way.popleft()
        if fate == "arrives":
            self._heard.append((sent.done, sent.arrive()))
            return
        if fate == "arrives, and is sent again":
            sent.arrive()
        self.under_way.append(sent)

    def poll(self) -> None:
        """Hand over acknowledgements."""
        while self._heard:
            done, offset = self._heard.popleft()
            done(offset)

    @property
    def idle(self) -> bool:
        """Whether everything has arrived and been heard of."""
        return not self.under_way and not self._heard


class JournalTopic:
    """One partition of the journal, which several shards share. The offset of a record is its index."""

    def __init__(self) -> None:
        """Empty."""
        self.records: list[Record] = []

    def append(self, record: Record) -> int:
        """Put it at the end."""
        self.records.append(record)
        return len(self.records) - 1


class SimJournal:
    """A process's journal. ``point`` lets the rest of the world go on; ``gives_up`` says that a wait has been too long."""

    def __init__(
        self, topic: JournalTopic, producer: Producer, point: Callable[[], None], gives_up: Callable[[], bool]
    ) -> None:
        """Over a topic that other processes write, too."""
        self._topic, self._producer, self._point, self._gives_up = topic, producer, point, gives_up

    def claim(self, claims: Sequence[Claim], since: Mapping[str, int]) -> dict[str, list[tuple[int, Record]]]:
        """As the protocol says."""
        places: dict[str, int] = {}
        for claim in claims:
            self._send(claim, lambda offset, shard=claim.shard: places.__setitem__(shard, offset))  # type: ignore[misc]
        while len(places) < len(claims):
            if self._gives_up():
                raise ConnectionProblem("the journal did not answer", "wait")
            self._point()
            self._producer.poll()
        self._point()
        return {
            shard: [
                (offset, record)
                for offset, record in enumerate(self._topic.records[: place + 1])
                if record.shard == shard and offset > since[shard]
            ]
            for shard, place in places.items()
        }

    def write(self, record: Record, done: Callable[[int], None]) -> None:
        """As the protocol says."""
        self._point()
        self._send(record, done)

    def _send(self, record: Record, done: Callable[[int], None]) -> None:
        self._producer.send(lambda: self._topic.append(record), done)

    def settled(self) -> bool:
        """As the protocol says."""
        self._point()
        self._producer.poll()
        return not self._producer.under_way


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Where a record lies that was refused."""

    topic: str
    partition: int
    offset: int
    reason: str


@dataclass(eq=False)
class OutputTopics:
    """Everything that was ever published."""

    events: list[OutboxEvent] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)


class SimPublisher:
    """A process's publisher, over the same producer as its journal."""

    def __init__(self, topics: OutputTopics, producer: Producer, point: Callable[[], None]) -> None:
        """Over topics that other processes write, too."""
        self._topics, self._producer, self._point = topics, producer, point
        self._letters = 0

    def publish(self, event: OutboxEvent, done: Callable[[], None]) -> None:
        """As the protocol says."""
        self._point()

        def arrive() -> int:
            self._topics.events.append(event)
            return 0

        self._producer.send(arrive, lambda _: done())

    def dead_letter(self, batch: RecordBatch, rejected: Rejected) -> None:
        """As the protocol says."""
        self._point()
        row = rejected.row
        letter = DeadLetter(batch.topic, int(batch.partition[row]), int(batch.offset[row]), str(rejected.reason))
        self._letters += 1

        def arrive() -> int:
            self._topics.dead_letters.append(letter)
            return 0

        def done(_: int) -> None:
            self._letters -= 1

        self._producer.send(arrive, done)

    def settled(self) -> bool:
        """As the protocol says."""
        self._producer.poll()
        return not self._letters

    def poll(self) -> None:
        """As the protocol says."""
        self._point()
        self._producer.poll()
