"""The part of `monitor.yaml` that says where things are: Kafka, Redis, topics, HTTP, dead letters."""

import re
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from schemas import identifiers


class Strict(BaseModel):
    """Base of every section: unknown keys are errors, nothing changes after loading, inputs stay out of messages."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_default=True,
        hide_input_in_errors=True,
    )


DRIFTLINE_SETS: Final = {
    "enable.auto.commit": "Redis is the truth for offsets",
    "auto.commit.interval.ms": "Redis is the truth for offsets",
    "enable.auto.offset.store": "Redis is the truth for offsets",
    "group.id": "write `group:` at the top level instead",
    "auto.offset.reset": "a missing offset is an error, never a silent jump",
    "partition.assignment.strategy": "labels must land where their predictions are, which only `range` does",
    "group.remote.assignor": "labels must land where their predictions are, which only `range` does",
    "enable.partition.eof": "it is how driftline knows that a partition is caught up",
    "enable.idempotence": "every event is published at least once and in order",
    "acks": "an event is published when all replicas have it",
    "request.required.acks": "an event is published when all replicas have it",
    "transactional.id": "there are no Kafka transactions in driftline",
}
"""librdkafka settings that would break a promise if they were changed, with the reason or what to write instead."""
BROKER_SETS: Final = {
    "session.timeout.ms": "group.consumer.session.timeout.ms",
    "heartbeat.interval.ms": "group.consumer.heartbeat.interval.ms",
    "group.protocol.type": "",
}
"""Settings that librdkafka refuses with `group.protocol: consumer`, and the broker's setting that decides instead."""


def _setting(value: object) -> object:
    # Checked here and not by the union, so that a wrong value is one problem and not one for each type.
    if not isinstance(value, str | int | bool):
        message = "text, an integer, true or false"
        raise ValueError(message)  # noqa: TRY004  # pydantic turns only ValueError into a located problem
    return value


def _setting_name(name: str) -> str:
    if name in DRIFTLINE_SETS:
        message = f"any setting of librdkafka but this one, which driftline sets itself: {DRIFTLINE_SETS[name]}"
        raise ValueError(message)
    return name


def _kafka(settings: dict[str, str | int | bool]) -> dict[str, str | int | bool]:
    if not settings.get("bootstrap.servers"):
        message = 'settings of librdkafka, among them bootstrap.servers, like "localhost:9092"'
        raise ValueError(message)
    protocol = settings.get("group.protocol", "classic")
    if protocol not in {"classic", "consumer"}:
        message = "group.protocol: classic, or consumer with brokers of Kafka 4.0 and newer"
        raise ValueError(message)
    if protocol == "consumer" and (refused := sorted(BROKER_SETS.keys() & settings.keys())):
        instead = ", ".join(filter(None, map(BROKER_SETS.__getitem__, refused)))
        message = f"settings without {', '.join(refused)}, because with group.protocol: consumer the broker decides"
        raise ValueError(f"{message} ({instead})" if instead else message)
    return settings


_KafkaName = Annotated[str, AfterValidator(_setting_name)]
_KafkaValue = Annotated[
    str | int | bool,
    BeforeValidator(_setting),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "boolean"}]}),
]

KafkaSettings = Annotated[dict[_KafkaName, _KafkaValue], AfterValidator(_kafka)]
"""Settings for librdkafka, passed through; those in `DRIFTLINE_SETS` are refused."""


def _redis_url(url: str) -> str:
    if not re.match(r"(redis|rediss|unix)://.", url):
        message = "a URL like redis://host:6379/0, rediss://... or unix:///path"
        raise ValueError(message)
    return url


def not_empty(items: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse an empty list; pydantic's own check would also fire when the items themselves are wrong.

    Raises:
        ValueError: there is nothing in it.
    """
    if not items:
        message = "at least one of them"
        raise ValueError(message)
    return items


class RedisConfig(Strict):
    """Where the state is."""

    url: Annotated[str, AfterValidator(_redis_url), Field(repr=False)] = "redis://localhost:6379/0"
    """Address, with user and password if there are any: redis://, rediss:// or unix://."""


TopicName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
"""What Kafka allows as the name of a topic."""


class Topics(Strict):
    """Names of the topics that driftline reads and writes; no two may be the same."""

    predictions: TopicName = identifiers.PREDICTIONS
    """Input: what models answered."""
    features: TopicName = identifiers.FEATURES
    """Input: features without a prediction."""
    labels: TopicName = identifiers.LABELS
    """Input: the truth, later."""
    control: TopicName = identifiers.CONTROL
    """Input: commands and acknowledgements."""
    alerts: TopicName = identifiers.ALERTS
    """Output: alerts."""
    retrain: TopicName = identifiers.RETRAIN
    """Output: retrain requests."""
    dead_letters: TopicName = identifiers.DEAD_LETTERS
    """Output: records that could not be read."""
    journal: TopicName = identifiers.JOURNAL
    """Output and input: what shaped a result and is in no input."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = list(self.model_dump().values())
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            message = f"a name of its own for each topic; used twice: {', '.join(twice)}"
            raise ValueError(message)
        return self


class HttpConfig(Strict):
    """Where the worker serves /metrics, /healthz and /readyz."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 inside a container."""
    port: int = Field(default=9108, ge=0, le=65535)
    """Port to listen on; 0 takes any free one."""


class DeadLetters(Strict):
    """What goes into the dead letters: the one place where raw events are kept (P10)."""

    max_bytes: int = Field(default=262_144, ge=1024, le=900_000)
    """Longer values are cut to this, with a hash of the whole. Stays under Kafka's usual 1 MB for a record."""
    payload: Literal["full", "hash"] = "full"
    """`hash` keeps nothing of the record but a hash."""
