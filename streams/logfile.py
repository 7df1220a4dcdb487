"""A range of topics as a file: JSONL, one record a line, as ``driftline dump`` writes it and ``driftline replay`` reads it.

A line is {"topic", "partition", "offset", "timestamp", "key", "value", "headers"}; bytes that are UTF-8 stand as text, others
as {"base64": "..."}, null is null. Files that end in .gz are compressed.
"""

from __future__ import annotations

import base64
import gzip
import zlib
from typing import IO, TYPE_CHECKING, Any, cast

import msgspec
import orjson

from schemas.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_TOO_WIDE = 1 << 63
"""Kafka's offsets and time stamps have 64 bits."""


class Record(msgspec.Struct, frozen=True):
    """One record of a topic. ``timestamp`` is its record time in ms."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None = None
    value: bytes | None = None
    headers: list[tuple[str, bytes | None]] = []


def _text(data: bytes | None) -> str | dict[str, str] | None:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _data(text: Any) -> bytes | None:  # noqa: ANN401  # JSON
    if isinstance(text, dict):
        return base64.b64decode(text["base64"])
    return None if text is None else text.encode()


def _open(path: Path, mode: str) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, mode) if path.suffix == ".gz" else path.open(mode))


def write(path: Path, records: Iterable[Record]) -> int:
    """Write records; returns how many."""
    count = 0
    with _open(path, "wb") as file:
        for r in records:
            headers = [[k, _text(v)] for k, v in r.headers]
            line = {
                "topic": r.topic,
                "partition": r.partition,
                "offset": r.offset,
                "timestamp": r.timestamp,
                "key": _text(r.key),
                "value": _text(r.value),
                "headers": headers,
            }
            file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            count += 1
    return count


def read(path: Path) -> Iterator[Record]:
    """Read records. Raises ConfigError that names the line that is none."""
    if not path.is_file():
        raise ConfigError(f"there is no file {path}", "write one with `driftline dump`")
    with _open(path, "rb") as file:
        for number, line in enumerate(_lines(file, path), 1):
            try:
                raw = orjson.loads(line)
                headers = [(str(k), _data(v)) for k, v in raw.get("headers") or []]
                place = (str(raw["topic"]), int(raw["partition"]), int(raw["offset"]), int(raw["timestamp"]))
                if min(place[1:3]) < 0 or max(map(abs, place[1:])) >= _TOO_WIDE:
                    raise ValueError("a number that Kafka cannot have")  # noqa: TRY301  # as every other reason
                record = Record(*place, _data(raw.get("key")), _data(raw.get("value")), headers)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                what = f"{path}, line {number}: not a record of a dump ({error!r})"
                remedy = (
                    "write the file with `driftline dump`: topic, partition, offset, timestamp, key, value, headers"
                )
                raise ConfigError(what, remedy) from error
            yield record


def _lines(file: IO[bytes], path: Path) -> Iterator[bytes]:
    """The lines of a file; raises ConfigError where a compressed one is cut off or damaged."""
    try:
        yield from file
    except (EOFError, OSError, zlib.error) as error:
        what = f"{path} cannot be read to its end: {error}"
        raise ConfigError(what, "copy it again, or write it again with `driftline dump`") from error
