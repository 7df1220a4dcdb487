"""Making topics: the one thing that driftline asks of Kafka's administrative side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.cimpl import NewTopic

from schemas.errors import ConfigError, ConnectionProblem
from streams.edges.kafka_log import REQUEST_S, as_driftline_error, client_settings, without_group

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_CREATE_S = 30.0
"""How long the cluster may take to make all topics: a controller that is being elected needs a few seconds."""
_KEEP = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}
"""Settings of a topic that keeps everything."""
_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"
"""What a broker from before KIP-516 tells: sixteen zero bytes."""
MOST_AHEAD_MS = 86_400_000
"""Record time may run ahead of the broker's clock by a day at most: Kafka's own default is an hour."""
_NOT_POSSIBLE = {
    KafkaError.INVALID_PARTITIONS,
    KafkaError.INVALID_REPLICATION_FACTOR,
    KafkaError.INVALID_CONFIG,
    KafkaError.POLICY_VIOLATION,
}


def create_topics(
    kafka: Mapping[str, str | int | bool],
    names: Sequence[str],
    partitions: int,
    replication: int,
    keep: Sequence[str] = (),
) -> dict[str, tuple[bool, int]]:
    """Make the topics that do not exist; returns for each name whether it is new, and its number of partitions.

    New topics among ``keep`` delete nothing: a replay needs all of the journal.

    Raises ConnectionProblem, PermissionMissing, or ConfigError when the cluster cannot make such a topic.
    """
    admin = admin_client(kafka)
    try:
        # All topics, because naming one that does not exist would let the broker make it with its own defaults.
        there = admin.list_topics(timeout=REQUEST_S).topics
    except KafkaException as error:
        raise as_driftline_error(error.args[0]) from error
    found = {name: (False, len(there[name].partitions)) for name in names if name in there}
    new = [
        NewTopic(
            name,
            num_partitions=partitions,
            replication_factor=replication,
            config=_KEEP if name in keep else {},
        )
        for name in names
        if name not in there
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


def topic_ids(admin: AdminClient, names: Sequence[str]) -> dict[str, str]:
    """What tells a topic from another one that had its name before (KIP-516); empty where the cluster does not know.

    Raises ConnectionProblem, TopicMissing or PermissionMissing.
    """
    try:
        cluster = admin.list_topics(timeout=REQUEST_S)
        if cluster.controller_id not in cluster.brokers:  # the embedded Kafka: nobody makes topics anew there
            return {}
        found = admin.describe_topics(TopicCollection(list(names)), request_timeout=REQUEST_S)
        told = {name: str(future.result().topic_id) for name, future in found.items()}
        return {name: topic_id for name, topic_id in told.items() if topic_id != _NO_ID}
    except KafkaException as error:
        raise as_driftline_error(error.args[0]) from error


def untrusted_times(kafka: Mapping[str, str | int | bool], names: Sequence[str]) -> list[str]:
    """The topics whose record times a producer may set as it likes, into the future (R13).

    Raises ConnectionProblem or PermissionMissing when the cluster does not tell.
    """
    found = []
    for name, settings in _settings(kafka, names).items():
        ahead = settings.get("message.timestamp.after.max.ms")
        appended = settings["message.timestamp.type"].value == "LogAppendTime"
        if not appended and (ahead is None or int(ahead.value) > MOST_AHEAD_MS):
            found.append(name)
    return found


def forgetful_topics(kafka: Mapping[str, str | int | bool], names: Sequence[str]) -> dict[str, list[str]]:
    """By topic, the settings by which it deletes records: by age, by size, or because a later one has their key.

    Raises ConnectionProblem or PermissionMissing when the cluster does not tell.
    """
    return {
        name: [key for key, value in _KEEP.items() if key in settings and settings[key].value != value]
        for name, settings in _settings(kafka, names).items()
    }


def _settings(kafka: Mapping[str, str | int | bool], names: Sequence[str]) -> dict[str, Any]:
    wanted = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    found = {}
    admin = admin_client(kafka)  # until all answers are there: the client that goes takes its questions with it
    for resource, future in admin.describe_configs(wanted, request_timeout=REQUEST_S).items():
        try:
            found[resource.name] = future.result()
        except KafkaException as error:
            raise as_driftline_error(error.args[0], resource.name) from None
    return found


def admin_client(kafka: Mapping[str, str | int | bool]) -> AdminClient:
    """A client that asks and makes, with the user's settings."""
    return AdminClient(client_settings(without_group(kafka)))


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
