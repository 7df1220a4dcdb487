"""State as it lies in Redis, read with plain redis-py and msgpack: heads, panes, and the records of evaluated windows.

Sealed bytes are ``drft`` | version u16 | kind, 4 bytes | CRC-32 of the payload u32 | msgpack; numbers little-endian.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import orjson
import redis
from numpy.typing import NDArray

from schemas.config import Config
from tests.faults.verifier_log import CannotLookError

_SEAL = struct.Struct("<4sH4sI")
TIMEOUT_S = 5.0
NEVER = -(1 << 62)

Key = tuple[str, int, str, str]
"""Model, start, version, variant."""


class DamagedError(Exception):
    """A value is not what driftline writes."""


@dataclass(frozen=True)
class TaskHead:
    """The committed state of one task: offsets and ledgers by topic."""

    sequence: int
    token: str
    offsets: dict[str, int]
    ledger: dict[str, dict[str, int]]
    waiting: int
    outbox: int


@dataclass(frozen=True)
class EvaluatorHead:
    """The committed state of one evaluator; ``cursors`` of drift, performance, sequential, retrain, final performance."""

    sequence: int
    cursors: tuple[int, ...]
    transitions: dict[str, int]
    outbox: dict[str, str]
    """The topics of the events that wait, by id."""
    """Ids of the events that Kafka has not acknowledged, as far as the state knows."""


class Stored:
    """One Redis. Every failure to ask is CannotLookError, every value that is not driftline's DamagedError."""

    def __init__(self, config: Config, url: str | None = None) -> None:
        self._config = config
        self._redis: Any = redis.Redis.from_url(
            url or config.redis.url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
        )

    def _ask(self, command: str, *args: object) -> Any:  # noqa: ANN401  # whatever Redis answers
        try:
            return self._redis.execute_command(command, *args)
        except redis.RedisError as error:
            raise CannotLookError(f"Redis: {command}: {error}") from error

    def run_id(self) -> str:
        """Changes when Redis was restarted."""
        try:
            return str(self._redis.info("server")["run_id"])
        except redis.RedisError as error:
            raise CannotLookError(f"Redis: INFO: {error}") from error

    def _task(self, partition: int) -> str:
        return f"driftline:{{task:{self._config.group}.predictions:{partition}}}"

    def _model(self, model: str) -> str:
        return f"driftline:{{model:{self._config.group}:{model}}}"

    def task(self, partition: int) -> TaskHead | None:
        """A task's head and outbox at one moment; None before its first commit."""
        key = self._task(partition)
        sequence, token, body, progress = self._ask("HMGET", f"{key}:head", "sequence", "token", "body", "progress")
        if body is None:
            return None
        head, others = _open(body, f"{key} head"), _open(progress, f"{key} progress")
        return TaskHead(
            int(sequence),
            (token or b"").decode(),
            dict(head["offsets"]),
            {t: {k: n for k, n in found.items() if n} for t, found in head["ledger"].items()},
            int(others[1]) if len(others) > 1 else 0,
            int(self._ask("HLEN", f"{key}:outbox")),
        )

    def evaluator(self, model: str) -> EvaluatorHead | None:
        """An evaluator's head; None before its first commit."""
        key = self._model(model)
        sequence, body, progress = self._ask("HMGET", f"{key}:head", "sequence", "body", "progress")
        if body is None:
            return None
        head, cursors = _open(body, f"{key} head"), _open(progress, f"{key} progress")
        return EvaluatorHead(
            int(sequence),
            tuple(cursors),
            {k: n for k, n in head.get("alerts", {}).items() if n},
            {
                e["event_id"]: e["topic"]
                for e in (_open(d, f"{key} outbox") for d in self._ask("HVALS", f"{key}:outbox"))
            },
        )

    def windows(self, kind: str, model: str) -> dict[Key, dict[str, Any]]:
        """The records of evaluated windows by stream, without segments: kind ``drift`` or ``performance``."""
        return {
            (model, r["window"][0], r["version"], r["variant"]): r
            for r in self.records(kind, model)
            if not r.get("segment")
        }

    def records(self, kind: str, model: str) -> Iterator[dict[str, Any]]:
        """All records of evaluated windows of a kind."""
        for start, data in self._cells(self._model(model), f"{kind}-results", model):
            try:
                found: list[dict[str, Any]] = orjson.loads(data)
            except orjson.JSONDecodeError:
                raise DamagedError(f"{kind} window {start} of {model}: not JSON") from None
            for record in found:
                if record["window"][0] != start:
                    raise DamagedError(f"{kind} window {start} of {model}: holds the one of {record['window'][0]}")
                yield record

    def panes(self, partition: int, kind: str, model: str) -> dict[Key, NDArray[np.int64]]:
        """The vectors of one task's panes: kind ``features``, ``arrivals`` or ``performance``."""
        found: dict[Key, NDArray[np.int64]] = {}
        for start, data in self._cells(self._task(partition), kind, model):
            for entry in _open(data, f"{kind} {start} of {model}, partition {partition}"):
                version, variant, _, vector, *segment = entry
                if not any(segment):
                    found[model, start, version, variant] = np.frombuffer(zlib.decompress(vector), "<i8")
        return found

    def _cells(self, shard: str, kind: str, model: str) -> Iterator[tuple[int, bytes]]:
        for name in self._ask("ZRANGE", f"{shard}:cells:{kind}:{model}", 0, -1):
            start = int(name)
            data = self._ask("GET", f"{shard}:cell:{kind}:{model}:{start}")
            if data is None:
                raise DamagedError(f"{shard}: {kind} {start} of {model} is listed, and not there")
            yield start, data


def _open(data: bytes | None, where: str) -> Any:  # noqa: ANN401  # msgpack
    """What sealed bytes hold."""
    if data is None or len(data) < _SEAL.size:
        raise DamagedError(f"{where}: not there")
    magic, _, _, checksum = _SEAL.unpack_from(data)
    payload = data[_SEAL.size :]
    if magic != b"drft" or zlib.crc32(payload) != checksum:
        raise DamagedError(f"{where}: damaged")
    try:
        return msgspec.msgpack.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DamagedError(f"{where}: {error}") from error


def transitions(events: Mapping[str, Mapping[str, Any]], model: str) -> dict[str, int]:
    """How many alerts of a model were opened, escalated and resolved, from the events that were published."""
    found: dict[str, int] = {}
    for event in events.values():
        if event["data"]["model"] == model and ".alert." in event["type"]:
            verb = event["type"].split(".")[3]
            found[verb] = found.get(verb, 0) + 1
    return found
