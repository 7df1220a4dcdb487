"""What can happen to a Redis, done to a real one: it dies, forgets its last second, fills up, stalls, is written over.

Every function acts on a ``RedisService`` or a client of it; those that end again are context managers. Figures that a cell
needs as a proof (bytes cut off, keys hit) are returned.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

import redis

from tests.faults.deployment import NotInTime
from tests.services.redis import RedisService

NO_REWRITE: Final = ("--auto-aof-rewrite-percentage", "0")
"""Settings for a Redis whose log is to be cut: a rewritten log has forgotten where the last second began."""
SLOW_LOAD: Final = ("--key-load-delay", "-5")
"""Settings for a Redis that takes long to load: a negative number waits once in so many keys, a microsecond each."""
_PREFIX: Final = "driftline:"


def boundaries(log: bytes) -> Iterator[int]:
    """Where an append-only file may be cut: behind every command, and never inside a transaction.

    A log that begins with a snapshot (``aof-use-rdb-preamble`` after a rewrite) is not understood: ValueError.
    """
    at, inside = 0, False
    while at < len(log):
        end = log.find(b"\r\n", at)
        if log[at : at + 1] != b"*" or end < 0:
            message = f"no command at byte {at} of the append-only file"
            raise ValueError(message)
        words, count = [], int(log[at + 1 : end])
        at = end + 2
        for _ in range(count):
            end = log.find(b"\r\n", at)
            if end < 0 or end + 2 + int(log[at + 1 : end]) + 2 > len(log):
                return  # cut off in the middle of a command
            first = end + 2
            at = first + int(log[at + 1 : end]) + 2
            words.append(log[first : at - 2])
        name = words[0].upper()
        inside = name == b"MULTI" or (inside and name != b"EXEC")
        if not inside:
            yield at


def written(service: RedisService) -> int:
    """Bytes in the append-only file: a point in time to go back to."""
    return service.append_only_file.stat().st_size


def go_back(service: RedisService, size: int) -> int:
    """Cut the log of a dead server at the first boundary from ``size`` on; returns how many commands and transactions went."""
    log = service.append_only_file.read_bytes()
    ends = [end for end in boundaries(log) if end >= size]
    if not ends:
        return 0
    os.truncate(service.append_only_file, ends[0])
    return len(ends) - 1


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that stands still: its connections stay open and nothing is answered."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def full(client: Any) -> Iterator[None]:  # noqa: ANN401  # redis-py's answers have no useful type
    """No memory is left: every write is refused with OOM."""
    client.config_set("maxmemory", "1")
    try:
        yield
    finally:
        client.config_set("maxmemory", "0")


@contextlib.contextmanager
def read_only(client: Any) -> Iterator[None]:  # noqa: ANN401  # as above
    """A replica of a master that is away: reads are answered, writes are refused with READONLY."""
    client.replicaof("127.0.0.1", 1)  # nobody listens there, so nothing is ever loaded over our data
    try:
        yield
    finally:
        client.replicaof("NO", "ONE")


@contextlib.contextmanager
def evicting(client: Any) -> Iterator[None]:  # noqa: ANN401  # as above
    """Somebody has changed the policy: keys go when memory is short. None is short yet."""
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        yield
    finally:
        client.config_set("maxmemory-policy", "noeviction")


@contextlib.contextmanager
def busy(url: str, seconds: float) -> Iterator[None]:
    """Another client runs a script for so long; after 0.1 s of it everybody else is told BUSY."""
    with redis.from_url(url) as client, redis.from_url(url, socket_timeout=seconds + 30) as other:
        client.config_set("lua-time-limit", "100")
        script = """
            local function now() local time = redis.call('TIME') return time[1] + time[2] / 1e6 end
            local last = now() + ARGV[1]
            while now() < last do end"""

        def run() -> None:
            with contextlib.suppress(redis.RedisError):
                other.eval(script, 0, str(seconds))

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        wait_for(url, "BUSY")
        try:
            yield
        finally:
            thread.join(seconds + 30)


def answers(url: str) -> str:
    """What a PING is told right now: PONG, LOADING, BUSY, ... or the name of the error of the connection."""
    try:
        with redis.from_url(url, socket_timeout=1.0) as client:
            return "PONG" if client.ping() else "nothing"
    except redis.exceptions.BusyLoadingError:
        return "LOADING"
    except redis.exceptions.ResponseError as error:
        return str(error).partition(" ")[0]
    except redis.RedisError as error:
        return type(error).__name__


def keys(client: Any, pattern: str) -> list[str]:  # noqa: ANN401  # as above
    """Driftline's keys of a pattern, like ``*:head`` or ``*:cell:features:*``, sorted."""
    return sorted(k.decode() for k in client.scan_iter(_PREFIX + pattern, count=1000))


def begun(client: Any) -> bool:  # noqa: ANN401  # as above
    """Whether every shard that was claimed has state: what never had any cannot lose it."""
    return all(client.hexists(key, "body") for key in keys(client, "*:head"))


def key_with(client: Any, pattern: str, field: str = "") -> str:  # noqa: ANN401  # as above
    """The last of the keys of a pattern that has a value (in a field), empty when none has."""
    found = [k for k in keys(client, pattern) if (client.hget(k, field) if field else client.strlen(k))]
    return found[-1] if found else ""


def flip(client: Any, key: str, field: str = "", at: float = 0.5) -> None:  # noqa: ANN401  # as above
    """Turn one bit of a value round; ``at`` says where, as a share of its length."""
    value = bytearray(client.hget(key, field) if field else client.get(key))
    value[int(at * (len(value) - 1))] ^= 0x10
    if field:
        client.hset(key, field, bytes(value))
    else:
        client.set(key, bytes(value))


def wait_for(url: str, answer: str, timeout_s: float = 30.0) -> float:
    """Return after how many seconds a PING gave this answer; NotInTime when it never did."""
    begin = time.monotonic()
    while answers(url) != answer:
        if time.monotonic() > begin + timeout_s:
            message = f"Redis never said {answer}"
            raise NotInTime(message)
        time.sleep(0.01)
    return time.monotonic() - begin
