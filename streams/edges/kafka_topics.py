"""Making topics: the one thing that driftline asks of Kafka's administrative side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas.errors import ConfigError, ConnectionProblem
from streams.edges.kafka_log import REQUEST_S, as_driftline_error, client_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_CREATE_S = 30.0
"""How long the cluster may take to make all topics: a controller that is being elected needs a few seconds."""
_NOT_POSSIBLE = {
    KafkaError.INVALID_PARTITIONS,
    KafkaError.INVALID_REPLICATION_FACTOR,
    KafkaError.INVALID_CONFIG,
    KafkaError.POLICY_VIOLATION,
}


def create_topics(
    kafka: Mapping[str, str | int | bool], names: Sequence[str], partitions: int, replication: int
) -> dict[str, tuple[bool, int]]:
    """Make the topics that do not exist; returns for each name whether it is new, and its number of partitions.

    Raises ConnectionProblem, PermissionMissing, or ConfigError when the cluster cannot make such a topic.
    """
    client_only = ("group.instance.id", "group.protocol", "session.timeout.ms", "heartbeat.interval.ms")
    admin = AdminClient(client_settings({k: v for k, v in kafka.items() if k not in client_only}))
    try:
        # All topics, because naming one that does not exist would let the broker make it with its own defaults.
        there = admin.list_topics(timeout=REQUEST_S).topics
    except KafkaException as error:
        raise as_driftline_error(error.args[0]) from error
    found = {name: (False, len(there[name].partitions)) for name in names if name in there}
    new = [
        NewTopic(name, num_partitions=partitions, replication_factor=replication) for name in names if name not in there
    ]
    if new:
        for name, future in admin.create_topics(new, operation_timeout=_CREATE_S, request_timeout=_CREATE_S).items():
            try:
                future.result()
            except KafkaException as error:
                found[name] = _refused(name, error.args[0], admin)
            else:
                found[name] = True, partitions
    return {name: found[name] for name in names}


def _refused(name: str, error: KafkaError, admin: AdminClient) -> tuple[bool, int]:
    """Somebody else made it meanwhile; everything else is an error."""
    if error.code() == KafkaError.TOPIC_ALREADY_EXISTS:
        return False, len(admin.list_topics(timeout=REQUEST_S).topics[name].partitions)
    if error.code() in _NOT_POSSIBLE:
        what = f"Kafka cannot make topic {name!r}: {error.str()}"
        raise ConfigError(what, "choose other --partitions or --replication (at most the number of brokers)") from None
    if error.code() == KafkaError._TIMED_OUT:  # noqa: SLF001  # the client's name
        what = f"no controller of the cluster made topic {name!r} within {_CREATE_S:.0f} s ({error.str()})"
        remedy = "look at the brokers; the embedded Kafka has no controller and makes a topic at its first use"
        raise ConnectionProblem(what, remedy) from None
    raise as_driftline_error(error, name) from None
