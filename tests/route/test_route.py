"""`driftline route` against a real Kafka and a real HTTP server: every event arrives, whatever happens on the way."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from streams.edges.embedded import LOOPBACK, free_ports
from tests.route.harness import (
    ROUTE,
    Answer,
    Deployment,
    Endpoint,
    RouteProgram,
    alert,
    committed,
    eventually,
    publish,
    records,
    retrain,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import TopicMaker
    from tests.route.harness import Request
    from tests.services.kafka import KafkaService

SECRETS = ("s3cret", "t0ken")
# The same program with the protection removed: the offset is committed before the event is delivered.
COMMITS_FIRST = f"""
from streams.router import Router
handle, commit = Router.handle, Router._commit
async def commit_first(self, record):
    await commit(self, record)
    await handle(self, record)
Router.handle = commit_first
{ROUTE}
"""
_groups = itertools.count(1)


@pytest.fixture
def deployment(kafka: KafkaService, topics: TopicMaker, tmp_path: Path) -> Deployment:
    names = (topics("alerts"), topics("retrain"), topics("dead-letters"))
    return Deployment(kafka.bootstrap, *names, group=f"route-test-{next(_groups)}", folder=tmp_path)


def _done(deployment: Deployment) -> int:
    return committed(deployment.bootstrap, f"{deployment.group}-route", deployment.alerts)


@pytest.mark.kafka
def test_what_fails_twice_is_delivered_and_what_is_refused_goes_to_the_dead_letters(deployment: Deployment) -> None:
    events = [alert("a"), alert("b"), alert("c")]
    request = retrain("r")

    def answer(requests: list[Request]) -> Answer:
        key = requests[-1].key
        if key == events[0].event_id and [r.key for r in requests].count(key) <= 2:
            return Answer(503)
        return Answer(400) if key == events[1].event_id else Answer()

    publish(deployment.bootstrap, deployment.alerts, events)
    publish(deployment.bootstrap, deployment.retrain, [request])
    with Endpoint(answer) as endpoint:
        config = deployment.configure(endpoint.url)
        with RouteProgram(config) as program:
            eventually(lambda: len(endpoint.delivered) == 3)
            eventually(lambda: _done(deployment) == 3)
            program.stop()
        # All offsets are committed: a second run has nothing to do but the event that comes new.
        later = alert("d")
        publish(deployment.bootstrap, deployment.alerts, [later])
        with RouteProgram(config) as program:
            eventually(lambda: len(endpoint.delivered) == 4)
            program.stop()
    of_alerts = [r for r in endpoint.requests if r.key != request.event_id]
    assert [r.key for r in of_alerts] == [e.event_id for e in (events[0], events[0], *events, later)]
    (of_retrain,) = (r for r in endpoint.requests if r.key == request.event_id)
    assert of_retrain.body == request.value
    assert all(r.key == r.event_id == r.headers["ce-id"] for r in endpoint.requests)
    assert of_alerts[0].body == events[0].value
    assert of_alerts[0].headers["Content-Type"] == "application/cloudevents+json"
    assert of_alerts[0].headers["ce-subject"] == "fraud/7/champion/gr%C3%B6%C3%9Fe"
    assert of_alerts[0].headers["Authorization"] == "Bearer t0ken"
    (letter,) = records(deployment.bootstrap, deployment.dead_letters, 1)
    headers = dict(letter.headers())
    assert (letter.key(), letter.value()) == (b"fraud", events[1].value)
    assert headers["__connect.errors.topic"] == deployment.alerts.encode()
    assert headers["__connect.errors.offset"] == b"1"
    assert headers["__connect.errors.exception.class.name"] == b"refused"
    assert headers["__connect.errors.exception.message"] == b"127.0.0.1 answered 400"
    assert headers["ce_id"] == events[1].event_id.encode()
    said = program.log.read_text() + str(headers)
    assert not [secret for secret in SECRETS if secret in said]


@pytest.mark.kafka
def test_an_endpoint_that_is_down_gets_everything_in_order_also_when_the_router_is_stopped_meanwhile(
    deployment: Deployment,
) -> None:
    (port,) = free_ports(1)
    config = deployment.configure(f"http://{LOOPBACK}:{port}/hook")
    events = [alert(str(number)) for number in range(20)]
    publish(deployment.bootstrap, deployment.alerts, events)
    with RouteProgram(config) as program:
        eventually(lambda: "gave no answer" in program.log.read_text())
        program.stop()
    assert _done(deployment) == 0  # Faust's own acknowledgement would have passed the event under way
    with RouteProgram(config) as program, Endpoint(lambda _: Answer(), port) as endpoint:
        eventually(lambda: len(endpoint.delivered) == 20)
        program.stop()
    assert endpoint.delivered == [event.event_id for event in events]


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("program", "loses"), [(ROUTE, False), (COMMITS_FIRST, True)], ids=["as it is", "unprotected twin"]
)
def test_a_killed_router_loses_nothing_and_delivers_at_most_one_event_of_a_topic_again(
    deployment: Deployment, program: str, *, loses: bool
) -> None:
    events = [alert(str(number), model=f"model-{number % 5}") for number in range(30)]

    def answer(requests: list[Request]) -> Answer:
        # The eleventh answer never comes: that is when the router dies.
        return Answer(500, after_s=30) if len(requests) == 11 else Answer()

    publish(deployment.bootstrap, deployment.alerts, events)
    with Endpoint(answer) as endpoint:
        config = deployment.configure(endpoint.url, "timeout: 1m")
        with RouteProgram(config, program) as first:
            eventually(lambda: len(endpoint.requests) == 11)
            first.kill()
        assert len(endpoint.delivered) == 10
        with RouteProgram(config, program) as second:
            eventually(lambda: _done(deployment) == 30)
            second.stop()
    # The twin may lose the last event too: its commit, which the wait above looks at, comes before the delivery.
    assert bool({event.event_id for event in events} - set(endpoint.delivered)) is loses
    assert all(r.key == r.event_id for r in endpoint.requests)
    assert len(endpoint.delivered) - len(set(endpoint.delivered)) <= 1
    for model in range(5):
        expected = [e.event_id for e in events if e.key == f"model-{model}".encode()]
        arrived = [key for key in dict.fromkeys(endpoint.delivered) if key in expected]
        assert arrived == [key for key in expected if key in arrived]


@pytest.mark.kafka
def test_two_routers_share_the_work_and_one_takes_over_when_the_other_is_killed(deployment: Deployment) -> None:
    events = [alert(str(number), model=f"model-{number % 12}") for number in range(80)]
    with Endpoint(lambda _: Answer(after_s=0.05)) as endpoint:
        config = deployment.configure(endpoint.url)
        with RouteProgram(config, name="survivor") as survivor, RouteProgram(config, name="other") as other:
            for program in (survivor, other):
                eventually(lambda log=program.log: "routing" in log.read_text())  # type: ignore[misc]
            publish(deployment.bootstrap, deployment.alerts, events)
            for program in (survivor, other):
                eventually(lambda log=program.log: "delivered" in log.read_text())  # type: ignore[misc]
            other.kill()
            assert len(endpoint.delivered) < 80
            eventually(lambda: _done(deployment) == 80)
            survivor.stop()
    assert set(endpoint.delivered) == {event.event_id for event in events}


@pytest.mark.kafka
def test_a_late_duplicate_is_skipped_and_what_is_no_event_stops_nothing(deployment: Deployment) -> None:
    opened, escalated = alert("opened", alert_id="a"), alert("escalated", alert_id="a", sequence=2)
    other = alert("other")
    publish(deployment.bootstrap, deployment.alerts, [opened, escalated, opened])
    _junk(deployment)
    publish(deployment.bootstrap, deployment.alerts, [other])
    with Endpoint(lambda _: Answer()) as endpoint, RouteProgram(deployment.configure(endpoint.url)) as program:
        eventually(lambda: _done(deployment) == 6)
        program.stop()
    assert endpoint.delivered == [opened.event_id, escalated.event_id, other.event_id]
    letters = records(deployment.bootstrap, deployment.dead_letters, 2)
    reasons = {letter.value(): dict(letter.headers())["__connect.errors.exception.class.name"] for letter in letters}
    assert reasons == {b"{junk": b"invalid_event", b"": b"invalid_event"}


def _junk(deployment: Deployment) -> None:
    from confluent_kafka import Producer  # noqa: PLC0415 - only here is something written that is no event

    producer = Producer({"bootstrap.servers": deployment.bootstrap})
    producer.produce(deployment.alerts, value=b"{junk", key=b"fraud")
    producer.produce(deployment.alerts, value=None, key=b"fraud")
    assert producer.flush(20) == 0
