"""The two group protocols on a real broker: who reads what, from where, and what a claim that fails or a slow revoke does."""

from __future__ import annotations

import contextlib
import random
import time

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from schemas.errors import ConnectionProblem, StateMissing
from tests.conftest import TopicMaker
from tests.edges.members import PATIENCE_S, Ledger, Member, closing, fill, trickle, until
from tests.services.kafka import KafkaService

pytestmark = pytest.mark.kafka
PARTITIONS = 4
PROTOCOLS = pytest.mark.parametrize("protocol", ["classic", "consumer"])


class Group:
    """Two topics, a ledger, and members that share them."""

    def __init__(self, kafka: KafkaService, topics: TopicMaker, protocol: str, records: int) -> None:
        self.bootstrap, self.protocol, self.ledger = kafka.bootstrap, protocol, Ledger()
        self.topics = [topics("predictions", partitions=PARTITIONS), topics("labels", partitions=PARTITIONS)]
        self.places = [(t, p) for t in self.topics for p in range(PARTITIONS)]
        fill(self.bootstrap, self.topics, PARTITIONS, 0, records)

    def member(self, name: str, **kafka: str) -> Member:
        """Join."""
        timing = {"session.timeout.ms": "6000", "heartbeat.interval.ms": "200"} if self.protocol == "classic" else {}
        settings = timing | {"group.protocol": self.protocol} | kafka
        return Member(name, self.bootstrap, self.topics[0], self.topics, self.ledger, **settings)

    def shorten_sessions(self) -> None:
        """Let the broker throw out soon who is silent, in the protocol where the broker decides that."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        short = ConfigEntry("consumer.session.timeout.ms", "1500", incremental_operation=AlterConfigOpType.SET)
        group = ConfigResource(ResourceType.GROUP, self.topics[0], incremental_configs=[short])
        for done in admin.incremental_alter_configs([group]).values():
            done.result(timeout=PATIENCE_S)

    def wait_until_empty(self) -> None:
        """Return when the broker has thrown every member out."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})  # it must outlive its answers
        deadline = time.monotonic() + PATIENCE_S
        while admin.describe_consumer_groups(self.topics[:1])[self.topics[0]].result().members:
            assert time.monotonic() < deadline, "the broker kept a member that does not poll"
            time.sleep(0.1)


@PROTOCOLS
def test_both_halves_of_a_task_come_to_one_member_and_go_together(
    kafka: KafkaService, topics: TopicMaker, protocol: str
) -> None:
    group = Group(kafka, topics, protocol, 100)
    one, two = group.member("one"), group.member("two")
    with closing(one, two):
        until(lambda: len(one.reading) == len(two.reading) == PARTITIONS, one, two)
        for member in (one, two):
            first, second = (member.partitions[t] for t in group.topics)
            assert first == second
        assert sorted([*one.reading, *two.reading]) == sorted(group.places)
        two.log.close()
        until(lambda: len(one.reading) == 2 * PARTITIONS, one)
        fill(group.bootstrap, group.topics, PARTITIONS, 100, 200)
        until(lambda: all(o == 200 for o in one.reading.values()), one)
        one.commit()
    assert group.ledger.counted == {place: list(range(200)) for place in group.places}


@PROTOCOLS
def test_claimed_names_all_partitions_in_classic_and_the_new_ones_with_consumer(
    kafka: KafkaService, topics: TopicMaker, protocol: str
) -> None:
    group = Group(kafka, topics, protocol, 10)
    one, two = group.member("one"), group.member("two")
    with closing(one, two):
        until(lambda: len(one.reading) == len(two.reading) == PARTITIONS, one, two)
        kept = sorted(one.reading)
        one.events.clear()
        two.log.close()
        until(lambda: len(one.reading) == 2 * PARTITIONS, one)
        new = sorted(set(group.places) - set(kept))
        wanted = (
            [("claimed", new)] if protocol == "consumer" else [("revoked", kept), ("claimed", sorted(group.places))]
        )
        assert wanted == one.events


@PROTOCOLS
def test_a_claim_that_fails_reads_nothing_and_is_made_again_at_the_next_poll(
    kafka: KafkaService, topics: TopicMaker, protocol: str
) -> None:
    group = Group(kafka, topics, protocol, 50)
    # Kafka remembers another place, which the client would go to by itself if it were left to: nobody may start there
    group.ledger.offsets = dict.fromkeys(group.places, 7)
    group.ledger.counted = {place: list(range(7)) for place in group.places}
    one = group.member("one")
    one.log.commit(dict.fromkeys(group.places, 30))
    failures = [
        ConnectionProblem("Redis is away", "wait"),
        StateMissing("gone", "restore"),
        ConnectionProblem("a", "b"),
    ]

    def fail() -> None:
        if failures:
            raise failures.pop()

    one.on_claim = fail
    with closing(one):
        seen: list[type] = []
        deadline = time.monotonic() + 20
        while not one.reading and time.monotonic() < deadline:
            try:
                count = one.step()
                assert count == 0 or one.reading
            except (ConnectionProblem, StateMissing) as error:
                seen.append(type(error))
        assert seen == [ConnectionProblem, StateMissing, ConnectionProblem]
        until(lambda: all(o == 50 for o in one.reading.values()), one)
        one.commit()
    assert group.ledger.counted == {place: list(range(50)) for place in group.places}


@PROTOCOLS
def test_a_rebalance_goes_on_while_a_claim_waits_for_its_store(
    kafka: KafkaService, topics: TopicMaker, protocol: str
) -> None:
    group = Group(kafka, topics, protocol, 20)
    one = group.member("one")

    def away() -> None:
        raise ConnectionProblem("Redis is away", "wait")

    one.on_claim = away
    with closing(one):
        with pytest.raises(ConnectionProblem):
            until(lambda: False, one)
        two = group.member("two")
        with closing(two):
            deadline = time.monotonic() + 20
            while len(two.reading) < PARTITIONS and time.monotonic() < deadline:
                two.step()
                with contextlib.suppress(ConnectionProblem):
                    one.step()
            assert (len(two.reading), one.reading) == (PARTITIONS, {})


@PROTOCOLS
def test_records_in_hand_when_a_callback_comes_are_neither_lost_nor_counted_twice(
    kafka: KafkaService, topics: TopicMaker, protocol: str
) -> None:
    group = Group(kafka, topics, protocol, 0)
    one = group.member("one")
    one.most, one.wait_s = 1_000_000, 0.5  # a poll that waits for more, with some in hand

    def fail() -> None:
        raise StateMissing("told by the callback", "restore")

    told = []

    def step() -> None:
        try:
            one.step()
        except StateMissing as error:
            told.append(error)

    with trickle(group.bootstrap, group.topics, PARTITIONS) as sent, closing(one):
        until(lambda: len(one.reading) == 2 * PARTITIONS and all(one.reading.values()), one)
        for failing in (False, True, True):
            one.on_revoke = fail if failing else lambda: None
            two = group.member("two")
            with closing(two):
                deadline = time.monotonic() + PATIENCE_S
                while not (len(one.reading) == len(two.reading) == PARTITIONS and all(two.reading.values())):
                    assert time.monotonic() < deadline
                    step()
                    two.step()
            one.on_revoke = lambda: None
            step()  # what the callback raised may still wait
            until(lambda: len(one.reading) == 2 * PARTITIONS, one)
        count = sent()
        until(lambda: all(o >= count for o in one.reading.values()), one)
        assert len(told) == 2


@PROTOCOLS
def test_what_the_group_gives_while_paused_is_not_read_before_resume(
    kafka: KafkaService, topics: TopicMaker, protocol: str
) -> None:
    group = Group(kafka, topics, protocol, 0)
    one, two = group.member("one"), group.member("two")
    with closing(one, two):
        until(lambda: len(one.reading) == len(two.reading) == PARTITIONS, one, two)
        one.log.pause()
        two.log.close()
        fill(group.bootstrap, group.topics, PARTITIONS, 0, 300)
        until(lambda: len(one.reading) == 2 * PARTITIONS, one)
        end = time.monotonic() + 1.0  # an absence can only be waited for
        while time.monotonic() < end:
            assert one.step() == 0
        one.log.resume()
        until(lambda: all(o == 300 for o in one.reading.values()), one)


@PROTOCOLS
def test_nobody_reads_a_partition_before_the_slow_last_commit_of_its_owner(
    kafka: KafkaService, topics: TopicMaker, protocol: str
) -> None:
    group = Group(kafka, topics, protocol, 200)
    one = group.member("one")
    with closing(one):
        until(lambda: len(one.reading) == 2 * PARTITIONS and all(one.reading.values()), one)
        one.on_revoke = lambda: time.sleep(1.0)  # a Redis that takes its time; below every session time-out
        two = group.member("two")
        with closing(two):
            until(lambda: len(two.reading) == PARTITIONS, one, two)
            until(lambda: all(o == 200 for m in (one, two) for o in m.reading.values()), one, two)
            for member in (one, two):
                member.commit()
    assert group.ledger.counted == {place: list(range(200)) for place in group.places}


@PROTOCOLS
def test_a_member_that_did_not_poll_for_too_long_is_told_that_it_lost_its_partitions(
    kafka: KafkaService, topics: TopicMaker, protocol: str
) -> None:
    group = Group(kafka, topics, protocol, 50)
    short = {"max.poll.interval.ms": "2000"} | ({"session.timeout.ms": "2000"} if protocol == "classic" else {})
    group.shorten_sessions()
    one = group.member("one", **short)
    with closing(one):
        until(lambda: len(one.reading) == 2 * PARTITIONS and all(one.reading.values()), one)
        group.wait_until_empty()  # one stands still, and the group goes on without it
        two = group.member("two")
        with closing(two):
            until(lambda: len(two.reading) == 2 * PARTITIONS, two)
            until(lambda: any(what == "lost" for what, _ in one.events), one, two)
            until(lambda: len(one.reading) == len(two.reading) == PARTITIONS, one, two)
            until(lambda: all(o == 50 for m in (one, two) for o in m.reading.values()), one, two)
            for member in (one, two):
                member.commit()
    assert group.ledger.counted == {place: list(range(50)) for place in group.places}


@PROTOCOLS
def test_a_member_that_rejoins_gives_everything_up_and_claims_it_again(
    kafka: KafkaService, topics: TopicMaker, protocol: str
) -> None:
    group = Group(kafka, topics, protocol, 50)
    one = group.member("one")
    with closing(one):
        until(lambda: all(o == 50 for o in one.reading.values()) and bool(one.reading), one)
        one.drop(list(one.reading))
        one.log.rejoin()
        until(lambda: all(o == 50 for o in one.reading.values()) and bool(one.reading), one)
        assert [what for what, _ in one.events].count("claimed") == 2


@PROTOCOLS
def test_reading_again_from_earlier_or_later_offsets_skips_and_repeats_nothing(
    kafka: KafkaService, topics: TopicMaker, protocol: str
) -> None:
    records, rng = 4000, random.Random(11)
    group = Group(kafka, topics, protocol, records)
    one = group.member("one")
    with closing(one):
        until(lambda: len(one.reading) == 2 * PARTITIONS, one)
        for turn in range(60):
            for _ in range(rng.randrange(4)):  # the client's queue is full of what comes after
                one.step(rng.choice([1, 50, 700]), rng.choice([0.0, 0.01]))
            if turn % 5 == 4:
                (one.log.resume if turn % 10 == 9 else one.log.pause)()
            for place in rng.sample(group.places, rng.choice([1, 2, 8])):
                one.reading[place] = rng.choice([0, one.reading[place], rng.randrange(records)])
                one.log.assign_again({place: one.reading[place]})
                assert one.log.position(*place) == one.reading[place]
        one.log.resume()
        until(lambda: all(o == records for o in one.reading.values()), one)


@PROTOCOLS
def test_members_that_come_and_go_under_load_count_every_record_once(
    kafka: KafkaService, topics: TopicMaker, protocol: str
) -> None:
    records, rng = 6000, random.Random(5)
    group = Group(kafka, topics, protocol, records)
    one = group.member("one")
    others: list[Member] = []
    with closing(one):
        for turn in range(6):
            until(lambda: len(one.reading) >= PARTITIONS, one, *others)
            for _ in range(rng.randrange(1, 6)):
                for member in (one, *others):
                    member.step(300)
                    if rng.random() < 0.3:
                        member.commit()
            if others and turn % 2:
                leaver = others.pop()
                leaver.log.close()
            else:
                others.append(group.member(f"other-{turn}"))
                joined = others[-1]
                until(lambda: bool(joined.reading), one, *others)  # noqa: B023  # called at once
        with closing(*others):
            until(lambda: sum(map(len, (m.reading for m in (one, *others)))) == 2 * PARTITIONS, one, *others)
            until(lambda: all(o == records for m in (one, *others) for o in m.reading.values()), one, *others)
            for member in (one, *others):
                member.commit()
    assert group.ledger.counted == {place: list(range(records)) for place in group.places}
