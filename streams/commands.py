"""Commands to the evaluators, sent by people: one record on the control topic (R9)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from schemas.errors import ConnectionProblem
from schemas.identifiers import event_id
from schemas.outbox import OutboxEvent
from streams.edges.kafka_log import partition_counts
from streams.edges.kafka_publisher import KafkaPublisher

if TYPE_CHECKING:
    from schemas.config import Config
    from schemas.control import Command

DELIVERY_S = 15.0
"""How long a person waits for the broker's acknowledgement: a leader election fits in."""


def send(config: Config, command: Command) -> None:
    """Send a command and wait until Kafka has it.

    Raises TopicMissing, PermissionMissing, or ConnectionProblem when it is not acknowledged in time (it may arrive later).
    """
    publisher = KafkaPublisher(config.kafka, config.topics, config.dead_letters)
    topic = config.topics.control
    partition_counts(publisher.client, [topic])
    delivered: list[bool] = []
    value = msgspec.json.encode(command, order="deterministic")
    name = event_id("command", command.model, command.request, value.decode())
    publisher.publish(OutboxEvent(name, topic, command.model.encode(), value, []), lambda: delivered.append(True))
    deadline = time.monotonic() + DELIVERY_S
    while not delivered and time.monotonic() < deadline:
        publisher.close(0.2)
    if not delivered:
        what = f"Kafka has not acknowledged the command on {topic} within {DELIVERY_S:.0f} s; it may still arrive"
        raise ConnectionProblem(what, "look at the broker, then at `driftline status`")
