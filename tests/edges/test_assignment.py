"""Half a task is not read, a task that loses a half stops, and a call that fails leaves nothing between two places."""

from __future__ import annotations

from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.edges.kafka_assignment import Assignment

P, L, F = "predictions", "labels", "features"


class Client:
    """What librdkafka keeps of an assignment, with its refusals."""

    # ruff: noqa: D102  # the methods are the client's

    def __init__(self) -> None:
        self.places: dict[tuple[str, int], int] = {}
        self.paused: set[tuple[str, int]] = set()
        self.away = False
        self.asked = 0

    def _answer(self) -> None:
        if self.away:
            raise KafkaException(KafkaError(KafkaError._STATE))  # noqa: SLF001  # the client's name

    def assign(self, places: list[TopicPartition]) -> None:
        self._answer()
        self.places, self.paused = {(p.topic, p.partition): p.offset for p in places}, set()

    def unassign(self) -> None:
        self.places = {}

    def incremental_assign(self, places: list[TopicPartition]) -> None:
        self._answer()
        assert not self.places.keys() & {(p.topic, p.partition) for p in places}, "assigned twice"
        self.places |= {(p.topic, p.partition): p.offset for p in places}

    def incremental_unassign(self, places: list[TopicPartition]) -> None:
        for place in places:
            del self.places[place.topic, place.partition]

    def pause(self, places: list[TopicPartition]) -> None:
        self.paused |= {(p.topic, p.partition) for p in places}

    def resume(self, places: list[TopicPartition]) -> None:
        self.paused -= {(p.topic, p.partition) for p in places}

    def offsets_for_times(self, places: list[TopicPartition], timeout: float) -> None:
        assert timeout <= 0.5, "a turn of the loop waits for this"
        self.asked += len(places)


@pytest.fixture
def client() -> Client:
    """A client without assignment."""
    return Client()


def made(client: Client, *, incremental: bool = True) -> Assignment:
    """An assignment of {predictions, labels} and {features}."""
    return Assignment(cast("Any", client), [(P, L), (F,)], incremental=incremental)


def test_half_a_task_waits_for_the_other_half(client: Client) -> None:
    assignment = made(client)
    assignment.give([(P, 0), (P, 1), (F, 0)])
    assert assignment.waiting == [(F, 0)]
    assignment.give([(L, 1)])
    assert assignment.waiting == [(F, 0), (L, 1), (P, 1)]
    assert client.places == {}


def test_a_task_that_loses_a_half_is_told_whole_and_stops_until_it_is_complete_again(client: Client) -> None:
    assignment = made(client)
    assignment.give([(P, 0), (L, 0), (P, 1), (L, 1)])
    assignment.read({(P, 0): 5, (L, 0): 0, (P, 1): 6, (L, 1): 7})
    assert assignment.tasks_of([(L, 0)]) == [(L, 0), (P, 0)]
    assignment.take([(L, 0)])
    assert (client.places, assignment.waiting) == ({(P, 1): 6, (L, 1): 7}, [])
    assert assignment.position((P, 0)) == -1
    assignment.give([(L, 0)])
    assert assignment.waiting == [(L, 0), (P, 0)]


def test_partitions_that_are_not_ours_are_passed_over(client: Client) -> None:
    assignment = made(client)
    assignment.give([(F, 0)])
    assignment.read({(F, 1): 3})
    assert (client.places, assignment.position((F, 1))) == ({}, -1)
    assignment.read({(F, 0): 0, (F, 1): 3})
    assert client.places == {(F, 0): 0}
    assignment.forget()
    assignment.read({(F, 0): 9})
    assert client.places == {(F, 0): 0}


def test_reading_one_again_leaves_the_others_where_they_are(client: Client) -> None:
    assignment = made(client, incremental=False)
    assignment.give([(F, 0), (F, 1)])
    assignment.read({(F, 0): 10, (F, 1): 20})
    assignment.advance((F, 1), 25)
    assignment.advance((F, 1), 24)  # an end that was seen before
    assignment.read({(F, 0): 4})
    assert client.places == {(F, 0): 4, (F, 1): 25}


@pytest.mark.parametrize("incremental", [False, True])
def test_a_call_that_fails_leaves_the_partition_to_be_claimed_again(client: Client, *, incremental: bool) -> None:
    assignment = made(client, incremental=incremental)
    assignment.give([(F, 0)])
    assignment.read({(F, 0): 10})
    client.away = True
    with pytest.raises(KafkaException):
        assignment.read({(F, 0): 4})
    assert (assignment.waiting, (F, 0) in assignment) == ([(F, 0)], False)
    client.away = False
    assignment.read({(F, 0): 3})
    assert client.places == {(F, 0): 3}


@pytest.mark.parametrize("incremental", [False, True])
def test_what_is_read_while_paused_is_paused(client: Client, *, incremental: bool) -> None:
    assignment = made(client, incremental=incremental)
    assignment.pause()
    assignment.give([(F, 0)])
    assignment.read({(F, 0): 10})
    assert client.paused == {(F, 0)}
    assignment.resume()
    assert client.paused == set()


def test_what_is_held_is_not_read_until_it_is_let_go_whatever_else_is_paused_and_resumed(client: Client) -> None:
    assignment = made(client)
    assignment.give([(P, 0), (L, 0)])
    assignment.read({(P, 0): 0, (L, 0): 0})
    assignment.hold({(P, 0)})
    assert client.paused == {(P, 0)}
    assignment.pause()
    assignment.resume()
    assert client.paused == {(P, 0)}
    assignment.pause()
    assignment.hold(set())
    assert client.paused == {(P, 0), (L, 0)}
    assignment.resume()
    assert client.paused == set()


def test_a_client_that_is_to_read_again_is_asked_something_because_it_would_sleep_a_second(client: Client) -> None:
    assignment = made(client)
    assignment.give([(P, 0), (L, 0)])
    assignment.read({(P, 0): 0, (L, 0): 0})
    assert client.asked == 2
    assignment.pause()
    assert client.asked == 2
    assignment.resume()
    assert client.asked == 4


def test_the_classic_protocol_gives_everything_anew(client: Client) -> None:
    assignment = made(client, incremental=False)
    assignment.give([(F, 0), (F, 1)])
    assignment.read({(F, 0): 10, (F, 1): 20})
    assignment.take([(F, 0), (F, 1)])
    assert client.places == {}
    assignment.give([(F, 1)])
    assert assignment.waiting == [(F, 1)]
