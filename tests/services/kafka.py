"""A real Apache Kafka on the loopback interface, from Maven Central, without Docker.

`python -m tests.services.kafka` fetches the jars named in ``kafka.pom.xml`` into ``.cache/kafka/libs`` (46 files,
43 MB, once). `KafkaService` runs one broker (KRaft, broker and controller in one process) in a temporary folder,
and can crash and come back with the data it had.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.edges.embedded import LOOPBACK, GuardedProcess, free_ports

REPOSITORY: Final = Path(__file__).resolve().parents[2]
POM: Final = Path(__file__).with_name("kafka.pom.xml")
LIBS: Final = REPOSITORY / ".cache" / "kafka" / "libs"
NEEDS: Final = "needs Java 17 and Maven"
JAVA_MAJOR: Final = 17  # what Kafka 4 brokers ask for

# A broker is ready in about three seconds on an idle machine, and in twenty when the whole suite shares two cores.
_READY_S: Final = 90.0
# A fresh machine downloads 43 MB and Maven's own plugins.
_FETCH_S: Final = 900.0
# Any 16 bytes in base64 do; the clusters never meet.
_CLUSTER_ID: Final = "MkU3OEVBNTcwNTJENDM2Qg"

_SETTINGS: Final = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{port},PROXIED://{host}:{behind},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port},PROXIED://{host}:{proxy}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/data
# a topic that is missing must be seen to be missing
auto.create.topics.enable=false
# one broker has nowhere to put a second copy
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# a group is complete when a test says so, not three seconds later; and a killed member is noticed soon
# a killed broker may come back as soon as its old session is over, nine seconds by default
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=200
# with `group.protocol: consumer` these are the broker's (45 and 5 s by default), and nobody waits for the second heartbeat
group.consumer.session.timeout.ms=6000
group.consumer.heartbeat.interval.ms=500
# records of 1996 stay, whatever their time stamps say
log.retention.ms=-1
log.message.timestamp.type={timestamps}
"""


def missing() -> str | None:
    """Return what keeps the broker from running on this machine ("needs Java 17 and Maven"), or None."""
    java = shutil.which("java")
    if java is None:
        return NEEDS
    told = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) < JAVA_MAJOR:
        return NEEDS
    return None if _fetched() or shutil.which("mvn") else NEEDS


def _stamp() -> str:
    return hashlib.sha256(POM.read_bytes()).hexdigest()


def _fetched() -> bool:
    stamp = LIBS / "pom.sha256"
    return stamp.exists() and stamp.read_text() == _stamp()


def fetch() -> Path:
    """Put the broker's jars into `LIBS` unless they are there, and return that folder.

    Safe to be called by several processes at once: each downloads aside and the first to finish wins.

    Raises:
        RuntimeError: Maven failed; the message is what it said.
    """
    if _fetched():
        return LIBS
    LIBS.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix="libs-", dir=LIBS.parent))
    try:
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={aside}"]
        command = ["mvn", "--quiet", "--batch-mode", "--file", str(POM), *goal]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_FETCH_S)
        if done.returncode:
            what = f"Maven could not fetch Apache Kafka:\n{done.stdout}{done.stderr}"
            raise RuntimeError(what)
        (aside / "pom.sha256").write_text(_stamp())
        if not _fetched():
            shutil.rmtree(LIBS, ignore_errors=True)  # jars of an older pom.xml
            with contextlib.suppress(OSError):  # somebody else has just put the same there
                aside.rename(LIBS)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return LIBS


class KafkaService:
    """One broker; a context manager. Clients connect to `bootstrap`, topics are made with an admin client.

    `log_append_time=True` makes the broker stamp every record with its own clock (the default keeps the producer's
    time stamp, which replayed history needs). `proxy` is the port of a proxy in front of the broker, whose target is
    the port `behind`: who comes through it is sent back to it, and who connects to `bootstrap` meets the broker itself.
    """

    def __init__(self, *, log_append_time: bool = False, proxy: int = 0) -> None:
        """Choose ports and a folder; nothing runs yet."""
        self._folder = Path(tempfile.mkdtemp(prefix="driftline-kafka-"))
        self._port, self.behind, controller = free_ports(3)
        self.bootstrap = f"{LOOPBACK}:{self._port}"
        self._process: GuardedProcess | None = None
        self._settings = self._folder / "server.properties"
        timestamps = "LogAppendTime" if log_append_time else "CreateTime"
        filled = _SETTINGS.format(
            host=LOOPBACK,
            port=self._port,
            behind=self.behind,
            proxy=proxy or self.behind,
            controller=controller,
            folder=self._folder,
            timestamps=timestamps,
        )
        self._settings.write_text(filled)

    def _java(self, *arguments: str) -> list[str]:
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        # No broker here lives long enough to earn back what the second compiler costs: without it a broker starts in half
        # the processor time, and has used 7 seconds instead of 12 when it has taken and given 600,000 records.
        java = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return [*java, quiet, "-cp", f"{fetch()}/*", *arguments]

    def start(self) -> None:
        """Run the broker and return when it serves requests.

        Raises:
            RuntimeError: it ended at once or did not get ready in time; the message carries its last words.
        """
        if not (self._folder / "data").exists():
            format_storage = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(self._settings)]
            done = subprocess.run(self._java(*format_storage), capture_output=True, text=True, check=False)
            if done.returncode:
                what = f"Kafka's storage could not be made ready:\n{done.stdout}{done.stderr}"
                raise RuntimeError(what)
        self._process = GuardedProcess(self._java("kafka.Kafka", str(self._settings)), self._folder / "log")
        deadline = time.monotonic() + _READY_S
        while self._process.alive and time.monotonic() < deadline:
            if self._serves():
                return
            time.sleep(0.1)
        what = f"Kafka on {self.bootstrap} does not get ready; it says:\n{self._process.tail()}"
        raise RuntimeError(what)

    def _serves(self) -> bool:
        # A plain connection first: librdkafka would write a line about every one that is refused.
        try:
            socket.create_connection((LOOPBACK, self._port), timeout=1.0).close()
            # A broker lists itself only when the controller has let it in.
            return bool(AdminClient({"bootstrap.servers": self.bootstrap}).list_topics(timeout=2.0).brokers)
        except (OSError, KafkaException):
            return False

    @property
    def pid(self) -> int:
        """Process id of the running broker."""
        if self._process is None:
            what = "The broker was never started"
            raise RuntimeError(what)
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the broker's process runs."""
        return self._process is not None and self._process.alive

    def kill(self) -> None:
        """Crash the broker (SIGKILL); its data and its ports stay reserved for `restart`."""
        if self._process is not None:
            self._process.kill()

    def stop(self) -> None:
        """End the broker in good order; `restart` brings it back."""
        if self._process is not None:
            self._process.stop()

    def restart(self) -> None:
        """Start the broker again on the same port with the data it had, after an orderly end if it still runs."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End the broker and remove its folder."""
        # An orderly end would move leadership and write a clean-shutdown mark for data that goes next.
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        """Return the running broker."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.close()


if __name__ == "__main__":
    if (lacking := missing()) is not None:
        sys.exit(f"Apache Kafka for the tests {lacking}")
    sys.stdout.write(f"Apache Kafka for the tests is in {fetch().relative_to(REPOSITORY)}\n")
