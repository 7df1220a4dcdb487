"""State in Redis: the ``Store`` protocol on redis-py, one Lua script for the commit.

Keys (prefix ``driftline:``, then the shard, which is a hash tag, so that Redis Cluster keeps a shard together):
``<shard>:head`` hash, ``<shard>:outbox`` hash, ``<shard>:segments`` set, ``<shard>:cell:<kind>:<model>:<start>`` string,
``<shard>:cells:<kind>:<model>`` sorted set of starts, ``<shard>:segment:<name>`` string. Per group: ``starts`` and ``pins``
hashes; for all groups that share the Redis: ``references`` hashes.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from schemas.errors import RESTORE, ConnectionProblem, ReferenceMismatch, StateCorrupt
from streams.engine.store import Commit, Head, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from streams.engine.store import Cell

TIMEOUT_S = 5.0
"""How long one command may take: longer than a Redis that rewrites its append-only file, shorter than a session time-out."""
_PREFIX = "driftline:"


def _number(data: bytes, where: str) -> int:
    try:
        return int(data)
    except ValueError:
        raise StateCorrupt(f"{where}: {data[:40]!r} is no number", RESTORE) from None


def _times(data: bytes, where: str) -> tuple[int, int]:
    try:
        return msgspec.json.decode(data, type=tuple[int, int])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StateCorrupt(f"{where}: {data[:40]!r} is no pair of times", RESTORE) from error


_START = "start Redis, or correct redis.url in monitor.yaml"
_REMEDIES = (
    (redis.exceptions.OutOfMemoryError, "give Redis more memory (maxmemory)"),
    (redis.exceptions.NoPermissionError, "give the user of redis.url the right to do it"),
)


class RedisStore:
    """The store on one Redis.

    Every method raises ConnectionProblem when Redis does not answer as it should, and StateCorrupt when it holds what
    driftline never wrote.
    """

    def __init__(self, url: str) -> None:
        """Connect lazily; retries are the caller's business, because a commit that may have happened must be recognised."""
        self._url = url
        # Retrying inside the client would hide how long Redis has been away; the worker retries, with metrics.
        self._redis: Any = redis.Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0)
        )
        script = files("streams.edges").joinpath("commit.lua").read_text()
        self._script = self._redis.register_script(script)

    def _ask(self, call: Callable[[], Any]) -> Any:  # noqa: ANN401  # whatever Redis answers
        try:
            return call()
        except redis.RedisError as error:
            if "WRONGTYPE" in str(error):  # waiting would not mend it
                raise StateCorrupt(f"Redis holds something else under a key of driftline: {error}", RESTORE) from error
            where = self._redis.connection_pool.connection_kwargs
            what = f"Redis at {where.get('host', 'a socket')}:{where.get('port', '')} did not do what it was asked: {error}"
            remedy = next((r for kind, r in _REMEDIES if isinstance(error, kind)), _START)
            raise ConnectionProblem(what, remedy) from error

    @staticmethod
    def _key(shard: str, *parts: object) -> str:
        return _PREFIX + ":".join(map(str, (shard, *parts)))

    def check(self) -> None:
        """Raise ConnectionProblem unless Redis answers and never evicts keys (R12)."""
        policy = self.eviction_policy()
        if policy != "noeviction":
            what = f"Redis evicts keys when memory is short (maxmemory-policy {policy}), which would lose state"
            raise ConnectionProblem(what, "set maxmemory-policy noeviction")

    def eviction_policy(self) -> str:
        """Redis' ``maxmemory-policy``: what it does when memory is short."""
        return str(self._ask(lambda: self._redis.info("memory")).get("maxmemory_policy", "noeviction"))

    def most_bytes(self) -> tuple[int, str]:
        """The bytes that Redis may hold, and what says so: its ``maxmemory``, or else the memory of its machine."""
        memory = self._ask(lambda: self._redis.info("memory"))
        if limit := int(memory.get("maxmemory", 0)):
            return limit, "maxmemory"
        return int(memory["total_system_memory"]), "all memory of Redis' machine"

    def claim(self, shard: str, token: str) -> Head:
        """Set the token and read the head in one transaction."""

        def call() -> list[Any]:
            pipe = self._redis.pipeline(transaction=True)
            pipe.hset(self._key(shard, "head"), "token", token)
            pipe.hmget(self._key(shard, "head"), "sequence", "body")
            result: list[Any] = pipe.execute()
            return result

        sequence, body = self._ask(call)[1]
        return Head(_number(sequence or b"0", f"{shard} head"), body, token)

    def peek(self, shard: str) -> Head:
        """Read the head."""
        found = self._ask(lambda: self._redis.hmget(self._key(shard, "head"), "sequence", "body", "token"))
        return Head(_number(found[0] or b"0", f"{shard} head"), found[1], (found[2] or b"").decode())

    def commit(self, commit: Commit) -> Verdict:
        """Run the script; the order of operations is that of the fields of ``Commit``."""
        keys = [self._key(commit.shard, k) for k in ("head", "outbox", "segments")]
        index = {key: i + 1 for i, key in enumerate(keys)}

        def at(*parts: object) -> int:
            key = self._key(commit.shard, *parts)
            if key not in index:
                keys.append(key)
                index[key] = len(keys)
            return index[key]

        args: list[Any] = [commit.token, commit.sequence, commit.commit_id, commit.body, commit.progress]
        for (kind, model, start), data in commit.put:
            args += ["P", at("cell", kind, model, start), at("cells", kind, model), start, data]
        for kind, model, start in commit.drop:
            args += ["D", at("cell", kind, model, start), at("cells", kind, model), start]
        for segment, data in commit.append:
            args += ["A", at("segment", segment), segment, data]
        for segment in commit.cut:
            args += ["C", at("segment", segment), segment]
        for sequence, data in commit.outbox:
            args += ["O", sequence, data]
        for sequence in commit.acknowledged:
            args += ["K", sequence]
        answer = self._ask(lambda: self._script(keys=keys, args=args))
        return Verdict(answer.decode())

    def starts(self, shard: str, kind: str, model: str, first: int, last: int) -> list[int]:
        """A range of the sorted set of starts."""
        key = self._key(shard, "cells", kind, model)
        found = self._ask(lambda: self._redis.zrangebyscore(key, first, f"({last}"))
        return [_number(f, key) for f in found]

    def cells(self, wanted: Sequence[tuple[str, Cell]]) -> list[bytes | None]:
        """One pipeline of GETs, which a cluster can route."""
        if not wanted:
            return []

        def call() -> list[bytes | None]:
            pipe = self._redis.pipeline(transaction=False)
            for shard, (kind, model, start) in wanted:
                pipe.get(self._key(shard, "cell", kind, model, start))
            found: list[bytes | None] = pipe.execute()
            return found

        result: list[bytes | None] = self._ask(call)
        return result

    def segments(self, shard: str) -> dict[str, bytes]:
        """All segments of the join log."""
        names = sorted(n.decode() for n in self._ask(lambda: self._redis.smembers(self._key(shard, "segments"))))
        keys = [self._key(shard, "segment", n) for n in names]

        def call() -> list[bytes | None]:
            pipe = self._redis.pipeline(transaction=False)
            for key in keys:
                pipe.get(key)
            found: list[bytes | None] = pipe.execute()
            return found

        return {n: data or b"" for n, data in zip(names, self._ask(call), strict=True)}

    def outbox(self, shard: str) -> dict[int, bytes]:
        """What waits to be published."""
        found = self._ask(lambda: self._redis.hgetall(self._key(shard, "outbox")))
        return {_number(k, f"{shard} outbox"): v for k, v in found.items()}

    def progress(self, shards: Iterable[str]) -> list[bytes | None]:
        """One pipeline of HGETs."""

        def call() -> list[bytes | None]:
            pipe = self._redis.pipeline(transaction=False)
            for shard in shards:
                pipe.hget(self._key(shard, "head"), "progress")
            found: list[bytes | None] = pipe.execute()
            return found

        result: list[bytes | None] = self._ask(call)
        return result

    def declare_start(self, group: str, model: str, event_time: int, record_time: int) -> tuple[int, int]:
        """Set if absent, then read."""
        key = self._key(group, "starts")
        value = msgspec.json.encode((event_time, record_time))

        def call() -> Any:  # noqa: ANN401  # whatever Redis answers
            pipe = self._redis.pipeline(transaction=True)
            pipe.hsetnx(key, model, value)
            pipe.hget(key, model)
            return pipe.execute()[1]

        return _times(self._ask(call), key)

    def model_starts(self, group: str) -> Mapping[str, tuple[int, int]]:
        """All starts of a group."""
        key = self._key(group, "starts")
        return {k.decode(): _times(v, key) for k, v in self._ask(lambda: self._redis.hgetall(key)).items()}

    def pin_partitions(self, group: str, count: int) -> int:
        """Set if absent, then read."""
        key = self._key(group, "pins")

        def call() -> Any:  # noqa: ANN401  # whatever Redis answers
            pipe = self._redis.pipeline(transaction=True)
            pipe.hsetnx(key, "partitions", count)
            pipe.hget(key, "partitions")
            return pipe.execute()[1]

        return _number(self._ask(call), key)

    def pinned_partitions(self, group: str) -> int | None:
        """Read the pin."""
        key = self._key(group, "pins")
        found = self._ask(lambda: self._redis.hget(key, "partitions"))
        return None if found is None else _number(found, key)

    def publish_reference(self, content_hash: str, data: bytes, model: str, version: str) -> None:
        """The bytes under their hash, the version pointing to it; a version keeps the reference that it has."""
        named, kept = self._key("references", "versions", model), self._key("references", "content")

        def call() -> Any:  # noqa: ANN401  # whatever Redis answers
            self._redis.hsetnx(kept, content_hash, data)
            self._redis.hsetnx(named, version, content_hash)
            return self._redis.hget(named, version)

        found = self._ask(call).decode()
        if found != content_hash:
            what = f"version {version!r} of model {model!r} already has the reference {found}"
            raise ReferenceMismatch(what, "publish it for a new version: a version's reference never changes")

    def reference(self, model: str, version: str) -> bytes | None:
        """Follow the version to its bytes."""
        found = self._ask(lambda: self._redis.hget(self._key("references", "versions", model), version))
        if found is None:
            return None
        data: bytes | None = self._ask(lambda: self._redis.hget(self._key("references", "content"), found))
        return data

    def run_id(self) -> str:
        """Redis's own run id."""
        return str(self._ask(lambda: self._redis.info("server"))["run_id"])
