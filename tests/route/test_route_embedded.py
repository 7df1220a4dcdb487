"""`driftline route` with the embedded Kafka: what the demo does, and what needs a broker that goes away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.edges.embedded import EmbeddedKafka
from tests.route.harness import Answer, Deployment, Endpoint, RouteProgram, alert, eventually, publish, retrain

if TYPE_CHECKING:
    from pathlib import Path

TOPICS = ("alerts", "retrain", "letters")


def test_it_delivers_from_the_embedded_kafka(tmp_path: Path) -> None:
    with EmbeddedKafka(TOPICS) as kafka:
        deployment = Deployment(kafka.bootstrap, *TOPICS, group="embedded", folder=tmp_path)
        events = [alert("a"), alert("b"), retrain("r")]
        publish(kafka.bootstrap, "alerts", events[:2])
        busy_at_first = Endpoint(lambda requests: Answer(503 if len(requests) == 1 else 200))
        with busy_at_first as endpoint, RouteProgram(deployment.configure(endpoint.url)) as program:
            eventually(lambda: len(endpoint.delivered) == 2)
            publish(kafka.bootstrap, "retrain", events[2:])
            eventually(lambda: len(endpoint.delivered) == 3)
            program.stop()
    assert endpoint.delivered == [event.event_id for event in events]
    assert [r.body for r in endpoint.requests] == [events[0].value, *(event.value for event in events)]


def test_it_stops_when_told_although_the_broker_has_gone(tmp_path: Path) -> None:
    kafka = EmbeddedKafka(TOPICS)
    deployment = Deployment(kafka.bootstrap, *TOPICS, group="embedded", folder=tmp_path)
    publish(kafka.bootstrap, "alerts", [alert("a")])
    with Endpoint(lambda _: Answer()) as endpoint, RouteProgram(deployment.configure(endpoint.url)) as program:
        eventually(lambda: len(endpoint.delivered) == 1)
        kafka.close()
        program.stop()
