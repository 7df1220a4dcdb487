"""State in Redis: the ``Store`` protocol on redis-py, one Lua script for the commit.

Keys (prefix ``driftline:``, then the shard, which is a hash tag, so that Redis Cluster keeps a shard together):
``<shard>:head`` hash, ``<shard>:outbox`` hash, ``<shard>:segments`` set, ``<shard>:cell:<kind>:<model>:<start>`` string,
``<shard>:cells:<kind>:<model>`` sorted set of starts, ``<shard>:segment:<name>`` string. Per group: ``starts`` and ``pins``
hashes; for all groups that share the Redis: ``references`` hashes.
"""

from __future__ import annotations

import re
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from schemas.errors import (
    PUBLISH_AGAIN,
    RESTORE,
    ConnectionProblem,
    ReferenceMismatch,
    StateCorrupt,
    StateMissing,
    StoreRestarted,
)
from streams.engine.fence import Position
from streams.engine.store import Commit, Head, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from streams.engine.store import Cell

TIMEOUT_S = 5.0
"""How long one command may take: longer than a Redis that rewrites its append-only file, shorter than a session time-out."""
_SCANNED = 1_000
"""Keys that one step of a scan looks at: below a millisecond of Redis."""
_ERASED = 1_000
"""Keys that one command deletes; their memory is freed in the background."""
_PREFIX = "driftline:"
_RUN_ID = re.compile(rb"run_id:(\w+)")


def _number(data: bytes, where: str) -> int:
    try:
        return int(data)
    except ValueError:
        raise StateCorrupt(f"{where}: {data[:40]!r} is no number", RESTORE) from None


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise StateCorrupt(f"{where}: {data[:40]!r} is no name", RESTORE) from None


def _head(
    shard: str,
    sequence: bytes | None,
    body: bytes | None,
    token: bytes | None,
    commit: bytes | None,
    journal: bytes | None,
) -> Head:
    where = f"{shard} head"
    try:
        position = Position(*map(int, journal.split(b":"))) if journal else Position()
    except (ValueError, TypeError):
        raise StateCorrupt(f"{where}: {journal!r} is no position in the journal", RESTORE) from None
    return Head(
        _number(sequence or b"0", where),
        body,
        (token or b"").decode("utf-8", "replace"),
        (commit or b"").decode("utf-8", "replace"),
        position,
    )


def _shard_of(key: bytes) -> str:
    """The shard of a key: its hash tag."""
    return key[len(_PREFIX) :].partition(b"}")[0].decode("utf-8", "replace") + "}"


def _times(data: bytes, where: str) -> tuple[int, int]:
    try:
        return msgspec.json.decode(data, type=tuple[int, int])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StateCorrupt(f"{where}: {data[:40]!r} is no pair of times", RESTORE) from error


_START = "start Redis, or correct redis.url in monitor.yaml"
_REMEDIES = (  # by text, because an error inside a script has no type of its own
    (re.compile(r"\bOOM\b"), "give Redis more memory (maxmemory)"),
    (re.compile(r"\bREADONLY\b"), "this Redis is a replica: point redis.url in monitor.yaml to the master"),
    (re.compile(r"\bNOPERM\b"), "give the user of redis.url the right to do it"),
    (re.compile(r"\bLOADING\b|\bBUSY\b"), "wait: Redis is there, and busy with something else"),
)


class _Restarted(redis.exceptions.ConnectionError):
    """A new connection leads to another life of Redis than the first one did."""


class RedisStore:
    """The store on one Redis.

    Every method raises ConnectionProblem when Redis does not answer as it should, StateCorrupt when it holds what driftline never
    wrote, and StoreRestarted when Redis is in another life than at our first connection, until ``go_on``.
    """

    def __init__(self, url: str) -> None:
        """Connect lazily; retries are the caller's business, because a commit that may have happened must be recognised."""
        self._url = url
        # Retrying inside the client would hide how long Redis has been away; the worker retries, with metrics.
        self._redis: Any = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=self._greet,
        )
        self._life = b""
        edges = files("streams.edges")
        self._commit = self._redis.register_script(edges.joinpath("commit.lua").read_text())
        self._claim = self._redis.register_script(edges.joinpath("claim.lua").read_text())

    def _greet(self, connection: Any) -> None:  # noqa: ANN401  # untyped client
        """Look at every new connection, before anything is sent on it: a Redis that was restarted may have gone back (R3)."""
        connection.on_connect()
        connection.send_command("INFO", "server")
        found = _RUN_ID.search(connection.read_response())
        if found is None:
            raise redis.exceptions.ConnectionError("INFO does not tell Redis' run_id, by which a restart is noticed")
        life = found[1]
        self._life = self._life or life
        if self._life != life:
            raise _Restarted("Redis was restarted")

    def go_on(self) -> None:
        """As the protocol says."""
        self._life = b""

    def close(self) -> None:
        """Close the connections; the next question opens new ones."""
        self._redis.close()

    def _ask(self, call: Callable[[], Any]) -> Any:  # noqa: ANN401  # whatever Redis answers
        try:
            return call()
        except _Restarted as error:
            what = "Redis was restarted, and may have lost its last second"
            raise StoreRestarted(what, "nothing is to be done: this worker claims its state again") from error
        except redis.RedisError as error:
            if "WRONGTYPE" in str(error):  # waiting would not mend it
                raise StateCorrupt(f"Redis holds something else under a key of driftline: {error}", RESTORE) from error
            where = self._redis.connection_pool.connection_kwargs
            what = f"Redis at {where.get('host', 'a socket')}:{where.get('port', '')} did not do what it was asked: {error}"
            remedy = next((r for sign, r in _REMEDIES if sign.search(str(error))), _START)
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
        """Run the script, which sets the token and reads the head."""
        return _head(shard, *self._ask(lambda: self._claim(keys=[self._key(shard, "head")], args=[token])))

    def peek(self, shard: str) -> Head:
        """Read the head."""
        names = ("sequence", "body", "token", "commit", "journal")
        return _head(shard, *self._ask(lambda: self._redis.hmget(self._key(shard, "head"), names)))

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

        args: list[Any] = [
            commit.token,
            commit.sequence,
            commit.commit_id,
            commit.body,
            commit.progress,
            str(commit.position),
        ]
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
        answer = self._ask(lambda: self._commit(keys=keys, args=args))
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
        key = self._key(shard, "segments")
        names = sorted(_text(n, key) for n in self._ask(lambda: self._redis.smembers(key)))
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
        return {_text(k, key): _times(v, key) for k, v in self._ask(lambda: self._redis.hgetall(key)).items()}

    def pin_partitions(self, group: str, count: int) -> int:
        """Set if absent, then read."""
        return _number(self.pin(group, "partitions", str(count)).encode(), self._key(group, "pins"))

    def pin(self, group: str, name: str, value: str) -> str:
        """Set if absent, then read."""
        key = self._key(group, "pins")

        def call() -> Any:  # noqa: ANN401  # whatever Redis answers
            pipe = self._redis.pipeline(transaction=True)
            pipe.hsetnx(key, name, value)
            pipe.hget(key, name)
            return pipe.execute()[1]

        return str(self._ask(call).decode("utf-8", "replace"))

    def unpin(self, group: str) -> None:
        """Delete the hash."""
        self._ask(lambda: self._redis.delete(self._key(group, "pins")))

    def forget_starts(self, group: str) -> None:
        """Delete the hash."""
        self._ask(lambda: self._redis.delete(self._key(group, "starts")))

    def shards(self, beginning: str) -> list[str]:
        """Scan for keys, which blocks nobody for long."""
        return sorted({_shard_of(key) for key in self._keys(beginning)})

    def erase(self, beginning: str) -> int:
        """Delete what a scan finds, heads first: from then on nobody can commit to a shard."""
        keys = sorted(self._keys(beginning), key=lambda key: not key.endswith(b":head"))
        for first in range(0, len(keys), _ERASED):
            some = keys[first : first + _ERASED]
            self._ask(partial(self._redis.unlink, *some))
        return len({_shard_of(key) for key in keys})

    def _keys(self, beginning: str) -> set[bytes]:
        pattern = re.sub(r"([\\*?\[\]])", r"\\\1", self._key(beginning)) + "*"
        return set(self._ask(lambda: list(self._redis.scan_iter(match=pattern, count=_SCANNED))))

    def pinned_partitions(self, group: str) -> int | None:
        """Read the pin."""
        key = self._key(group, "pins")
        found = self._ask(lambda: self._redis.hget(key, "partitions"))
        return None if found is None else _number(found, key)

    def publish_reference(self, content_hash: str, data: bytes, model: str, version: str) -> None:
        """The bytes under their hash, the version pointing to it; a version keeps the reference that it has.

        The bytes are written also where some are: what was damaged or lost is whole again.
        """
        named, kept = self._key("references", "versions", model), self._key("references", "content")

        def call() -> Any:  # noqa: ANN401  # whatever Redis answers
            self._redis.hset(kept, content_hash, data)
            self._redis.hsetnx(named, version, content_hash)
            return self._redis.hget(named, version)

        found = _text(self._ask(call), named)
        if found != content_hash:
            what = f"version {version!r} of model {model!r} already has the reference {found}"
            raise ReferenceMismatch(what, "publish it for a new version: a version's reference never changes")

    def reference(self, model: str, version: str) -> tuple[str, bytes] | None:
        """Follow the version to its bytes."""
        named = self._key("references", "versions", model)
        found = self._ask(lambda: self._redis.hget(named, version))
        if found is None:
            return None
        content_hash = _text(found, named)
        data: bytes | None = self._ask(lambda: self._redis.hget(self._key("references", "content"), found))
        if data is None:
            what = (
                f"the reference that was published for version {version!r} of model {model!r}, {content_hash}, is gone"
            )
            raise StateMissing(what, PUBLISH_AGAIN)
        return content_hash, data
