"""``driftline dump``: a range of topics into a file that ``driftline replay`` reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.errors import ConfigError
from streams import logfile
from streams.edges.kafka_range import KafkaRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from schemas.config import Config


def topics_of(config: Config, names: Sequence[str] = ()) -> list[str]:
    """The topics that are meant by their name or by their role (``predictions``); without any: all that a replay reads.

    Raises ConfigError for a name that is neither.
    """
    roles: dict[str, str] = config.topics.model_dump()
    if not names:
        wanted = ["predictions", "labels"] if config.models else []
        wanted += ["features"] if config.feature_sets else []
        return [roles[role] for role in (*wanted, "journal")]
    known = roles | {topic: topic for topic in roles.values()}
    for name in names:
        if name not in known:
            what = f"there is no topic {name!r} in the configuration"
            raise ConfigError(what, f"use one of {', '.join(roles)}")
    return list(dict.fromkeys(known[name] for name in names))


def dump(
    config: Config,
    out: Path,
    topics: Sequence[str] = (),
    *,
    first: int | None = None,
    until: int | None = None,
    watch: Callable[[Iterable[logfile.Record], int], Iterable[logfile.Record]] | None = None,
) -> dict[str, int]:
    """Write [first, until) of every partition of the topics (default: all that a replay reads); returns counts by topic.

    Raises ConfigError, TopicMissing, PermissionMissing, BehindLogStart or ConnectionProblem.
    """
    wanted = topics_of(config, topics)
    found = KafkaRange(config.kafka, wanted, first, until)
    counts = dict.fromkeys(wanted, 0)

    def records() -> Iterator[logfile.Record]:
        for m in found:
            counts[m.topic()] += 1
            _, timestamp = m.timestamp()
            headers = list(m.headers() or [])
            yield logfile.Record(m.topic(), m.partition(), m.offset(), timestamp, m.key(), m.value(), headers)

    try:
        logfile.write(out, records() if watch is None else watch(records(), found.total))
    except OSError as error:
        what = f"{out} cannot be written: {error.strerror}"
        raise ConfigError(what, "give --out a path in a folder that exists and may be written to") from error
    return counts
