"""What recovery asks of Kafka: where topics begin and end, whether they are still the same ones, and who works in a group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.errors import ConfigError
from streams.edges.kafka_log import REQUEST_S, as_driftline_error, client_settings, partition_counts, without_group
from streams.edges.kafka_topics import admin_client, topic_ids

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class KafkaTopics:
    """One client that reads nothing and joins nothing. Every method raises ConnectionProblem when no broker answers."""

    def __init__(self, kafka: Mapping[str, str | int | bool]) -> None:
        """Connect lazily."""
        settings = client_settings(without_group(kafka))
        # A group id is asked for by the client and never used.
        self._asker = Consumer(settings | {"group.id": "driftline.recovery", "enable.auto.commit": False})
        self._admin = admin_client(kafka)

    def counts(self, topics: Sequence[str]) -> dict[str, int]:
        """How many partitions each topic has. Raises TopicMissing or PermissionMissing."""
        return partition_counts(self._asker, topics)

    def ids(self, topics: Sequence[str]) -> dict[str, str]:
        """What tells each topic from another one that had its name before; empty where the cluster does not know."""
        return topic_ids(self._admin, topics)

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset that a partition still has, and the one that its next record will get."""
        try:
            low, high = self._asker.get_watermark_offsets(TopicPartition(topic, partition), timeout=REQUEST_S)
        except KafkaException as error:
            raise as_driftline_error(error.args[0], topic) from error
        return low, high

    def members(self, group: str) -> int:
        """How many consumers are in a group. Raises PermissionMissing, or ConfigError where the cluster cannot tell."""
        try:
            future: Any = self._admin.describe_consumer_groups([group], request_timeout=REQUEST_S)[group]
            return len(future.result().members)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return 0
            if error.args[0].code() == KafkaError._UNSUPPORTED_FEATURE:  # noqa: SLF001  # the client's name
                what = f"this Kafka cannot tell which workers are in the group {group!r}"
                raise ConfigError(what, "the embedded Kafka lives as long as its worker: start that anew") from error
            raise as_driftline_error(error.args[0]) from error

    def forget(self, group: str) -> bool:
        """Delete the offsets that a group once told Kafka; False where Kafka does not."""
        try:
            self._admin.delete_consumer_groups([group], request_timeout=REQUEST_S)[group].result()
        except KafkaException:
            return False
        return True

    def close(self) -> None:
        """Close the client."""
        self._asker.close()
