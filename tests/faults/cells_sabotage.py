"""Every protection is taken away once, in the moment in which it is needed: the cells must fail then, or they prove nothing.

``protected.NAME`` plays the moment with the product as it is, and must pass; ``sabotage.NAME`` plays the same with one protection
less (``sabotage.py``), and passes when somebody saw it: the verifier, a typed error, or a refusal that did not come. What was not
in time, and a worker that ended in any other way, prove nothing: such a twin is broken.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import orjson
import redis
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from tests.faults import results, verifier
from tests.faults.absences import proven
from tests.faults.cell import Cell, Inconclusive, Missed, Stage
from tests.faults.deployment import INPUTS, Deployment, NotInTime
from tests.faults.load import MODELS, Load, Spec
from tests.faults.processes import WorkerProcess
from tests.faults.sabotage_patches import DYING
from tests.faults.verifier_log import CannotLookError
from tests.faults.watch import Watch
from tests.integration import workers as reading

PLENTY: Final = Spec(predictions=16_000, rate=2_500, step_ms=500, regime=4_800)
"""33,000 records, 13 windows, in 13 s: inputs drift, then answers go wrong."""
LONG: Final = Spec(predictions=48_000, rate=4_500, step_ms=500, regime=4_800)
"""99,000 records in 22 s: longer than a session."""
MOMENT_S: Final = 60.0
"""Until the moment comes, on a machine that others use, too."""
REFUSED: Final = 2
"""The status of a worker that ends by a typed error, in one sentence; a crash of Python's is 1."""
KILLED: Final = 137
"""The status of one that SIGKILL ended: 128 + 9."""
DONE_S: Final = 90.0
"""Until everything is read and decided after it."""
LOOKS: Final = 5
"""Looks while everything goes on: one before, between and after three kills at least."""
BEHIND_MS: Final = 60_000
"""How old the events of the silent scene are: then time can pass without a record of the future."""
SILENT: Final[dict[str, Any]] = {
    "windows": {"size": "4s", "pane": "1s", "lateness": "0s", "idle": "1s"},
    "labels": {"maturity": "4s", "horizon": "12s"},
}


@dataclass(frozen=True, slots=True)
class Twin:
    """A protection: its name in ``sabotage.REMOVALS``, the fault that calls for it, and the play."""

    name: str
    what: str
    fault: str
    play: Callable[[Stage, str], None]
    short: bool = False

    def cells(self) -> list[Cell]:
        """The control, and the twin."""
        fault, both = self.fault, ",".join(n for n in (self.name, self.fault) if n)
        return [
            Cell(f"protected.{self.name}", f"{self.what} is needed, and there", lambda stage: self.play(stage, fault)),
            Cell(
                f"sabotage.{self.name}",
                f"{self.what} is needed, and taken away",
                lambda stage: self.play(stage, both),
                short=self.short,
                caught=self.what,
            ),
        ]


# -- the scene with traffic -------------------------------------------------------------------------------------------


def start(d: Deployment, name: str, patches: str) -> WorkerProcess:
    """A worker with patches; without any, the product."""
    return d.start(name, program=("-m", "tests.faults.sabotaged", patches)) if patches else d.start(name)


def moment(d: Deployment, came: Callable[[], object], what: str) -> None:
    """Wait for the moment that a cell is about. Without it nothing is proved, and nothing was seen: Inconclusive."""
    try:
        d.wait_for(came, what, MOMENT_S)
    except NotInTime as error:
        raise Inconclusive(str(error)) from error


def ended(worker: WorkerProcess) -> NoReturn:
    """A worker has ended by itself: its refusal is a finding (AssertionError), any other end broke it down (RuntimeError)."""
    message = f"{worker.name} ended with {worker.status}: {worker.tail()}"
    if worker.status == REFUSED and "Traceback" not in worker.said():
        raise AssertionError(message)
    raise RuntimeError(message)


def died(worker: WorkerProcess) -> str:
    """A worker has died by its fault, and in no other way; returns what it said of it."""
    said = [line for line in worker.said().splitlines() if DYING in line]
    if worker.status != KILLED or not said:
        ended(worker)
    return said[-1]


def owning(d: Deployment, worker: WorkerProcess) -> None:
    """Wait until a worker owns tasks. Nothing has happened yet that calls for a protection: whatever ends it breaks it down."""
    moment(d, lambda: not worker.alive or worker.partitions(), "the worker to own tasks")
    if not worker.alive:
        message = f"{worker.name} ended with {worker.status} before anything happened: {worker.tail()}"
        raise RuntimeError(message)


def at_work(d: Deployment, patches: str, spec: Spec = PLENTY) -> tuple[WorkerProcess, Load]:
    """A worker that owns tasks, and then traffic."""
    one = start(d, "one", patches)
    owning(d, one)
    return one, d.load(spec)


def finish(d: Deployment, load: Load, worker: WorkerProcess) -> None:
    """Wait until the worker has read and decided everything; then the verifier says what it finds.

    That the worker refuses to go on is a finding. That it is not done in time is none: machines can be slow.
    """
    truth, deadline = load.wait(), time.monotonic() + DONE_S
    while True:
        if not worker.alive:
            ended(worker)
        try:
            results.wait_until_done(d, truth, 3.0)
        except NotInTime as error:
            if time.monotonic() > deadline:
                raise Inconclusive(str(error)) from error
        else:
            break
    look(d)


def look(d: Deployment) -> None:
    """AssertionError with what the verifier finds."""
    try:
        verdict = verifier.apart(d.monitor_yaml, "--processes", "1")
    except CannotLookError as error:
        raise Inconclusive(str(error)) from error
    assert verdict.equal, f"{len(verdict.differences)} differences: " + "; ".join(verdict.differences[:3])


def unread(stage: Stage, d: Deployment, load: Load) -> None:
    """Inconclusive unless records are left, or still come."""
    if not load.running and stage.unread(d) <= 0:
        message = "everything was read when the moment came"
        raise Missed(message)
    stage.count("faults")


def dies(stage: Stage, patches: str) -> None:
    """A worker that dies by its fault; the same member comes back without any."""
    with stage.deployment(static=True) as d:
        one, load = at_work(d, patches)
        moment(d, lambda: not one.alive, "the worker to die")
        said = died(one)
        unread(stage, d, load)
        stage.note(said)
        finish(d, load, d.start("one"))


def killed(stage: Stage, patches: str) -> None:
    """A worker is killed in the middle; one of the same build goes on."""
    with stage.deployment(static=True) as d, Watch(d) as watch:
        one, load = at_work(d, patches)
        moment(d, lambda: watch.commits() >= 20, "commits")
        one.kill()
        unread(stage, d, load)
        finish(d, load, start(d, "one", patches))


def watched(stage: Stage) -> None:
    """A worker is killed three times, and the verifier looks on all the while."""
    with stage.deployment(static=True) as d, Watch(d) as watch:
        one, load = at_work(d, "", LONG)
        with verifier.living(d.monitor_yaml) as verdict:
            for _ in range(3):
                before = watch.commits()
                moment(d, lambda: watch.commits() >= before + 12, "commits")  # noqa: B023  # called at once
                one.kill()
                unread(stage, d, load)
                one = d.start("one")
            finish(d, load, one)
        stage.note(f"{verdict.checked}")
        assert verdict.equal, "; ".join(verdict.differences[:3])
        if verdict.checked["looks"] < LOOKS:
            message = f"only {verdict.checked['looks']} looks"
            raise Inconclusive(message)


def letters_wait(stage: Stage, patches: str) -> None:
    """Dead letters cannot leave; the worker is killed, and another one finds room."""
    with stage.deployment(static=True) as d:
        one, load = at_work(d, patches)
        moment(d, lambda: "a dead letter waits" in one.said(), "a dead letter")
        time.sleep(2.0)  # commits, if nothing keeps them
        unread(stage, d, load)
        one.kill()
        finish(d, load, d.start("one"))


def sleeps(stage: Stage, patches: str) -> None:
    """A worker falls asleep inside a commit for longer than its session, and wakes when another one has gone on.

    Nobody commits after it: what it wrote, if it may, is what a third one finds.
    """
    with stage.deployment() as d, Watch(d) as watch:
        one, load = at_work(d, patches, LONG)
        moment(d, lambda: "sleeping before the script" in one.said(), "it to fall asleep")
        sleeper, begin = {p: watch.now(p).owner for p in range(d.partitions)}, time.monotonic()
        two = start(d, "two", patches.partition(",")[0] if "," in patches else "")
        moment(
            d,
            lambda: all(watch.first_commit(p, begin, not_by=owner) for p, owner in sleeper.items()),
            "another worker to go on with every task",
        )
        unread(stage, d, load)
        two.freeze()
        one.thaw()
        moment(d, lambda: "awake" in one.said(), "it to wake")
        one.kill()
        two.kill()
        finish(d, load, d.start("three"))


def replies_lost(stage: Stage, patches: str) -> None:
    """Replies to commits are lost: the worker sends them again, and knows them; it never has to load its state again."""
    with stage.deployment(static=True) as d:
        one, load = at_work(d, patches)
        moment(d, lambda: one.said().count("a reply is lost") >= 2, "lost replies")
        unread(stage, d, load)
        finish(d, load, one)
        assert "claiming the state again" not in one.said(), "a commit that had happened was taken for another's"


def state_gone(stage: Stage, patches: str) -> None:
    """All of Redis is gone while nobody looks: the next worker must stop, with the remedy."""
    with stage.deployment(static=True) as d, Watch(d) as watch:
        one, load = at_work(d, patches)
        moment(d, lambda: watch.commits() >= 20, "commits")
        proven(d)
        one.kill()
        unread(stage, d, load)
        with redis.Redis(port=d.redis.port) as client:
            client.flushall()
        one = start(d, "one", patches)
        moment(d, lambda: not one.alive or committed(d), "the refusal, or a commit")
        assert not one.alive, "it began anew, without a word"
        if one.status != REFUSED or "no state" not in one.said():  # whatever that was, it was not for want of state
            message = f"{one.name} ended with {one.status}: {one.tail()}"
            raise RuntimeError(message)
        load.wait()


def committed(d: Deployment) -> bool:
    """Whether any task has state."""
    return bool(sum(reading.committed(d.config, d.partitions).values()))


# -- the scene with silence -------------------------------------------------------------------------------------------


class Sender:
    """Sends predictions and labels to every partition, for every model, with the event times that it is told."""

    def __init__(self, d: Deployment) -> None:
        self._d, self._number = d, 0
        self._producer = Producer({"bootstrap.servers": d.bootstrap, "linger.ms": 0, "log_level": 2})

    def send(self, event_time: int, record_time: int) -> None:
        """One prediction and its label for each model and partition."""
        topics = self._d.topics
        for partition in range(self._d.partitions):
            for model in MODELS:
                self._number += 1
                said = {"prediction_id": f"s{self._number}", "model": model, "event_time": event_time}
                answer = {"model_version": "v1", "prediction": "yes", "score": 0.75, "features": {"a": 0.5, "b": 1.0}}
                both = zip(INPUTS, (said | answer, said | {"label": "yes"}), strict=True)
                for half, event in both:
                    self._producer.produce(
                        topics[half], orjson.dumps(event), partition=partition, timestamp=record_time
                    )
        if self._producer.flush(10):
            message = "the broker has not taken the records of the silent scene"
            raise NotInTime(message)

    def for_seconds(self, seconds: float) -> int:
        """Send ten times a second, events of a minute ago; returns the last record time."""
        begin, now = time.monotonic(), 0
        while time.monotonic() < begin + seconds:
            now = time.time_ns() // 1_000_000
            self.send(now - BEHIND_MS, now)
            time.sleep(0.1)
        return now


def rest(d: Deployment, worker: WorkerProcess) -> None:
    """Wait until everything is read and decided; end the worker, so that no clock runs on; then look."""
    try:
        reading.wait_until_read(d.config, d.partitions, DONE_S)
    except AssertionError as error:  # it waits, and says nothing else
        if not worker.alive:
            ended(worker)
        raise Inconclusive(str(error)) from error
    worker.stop()
    look(d)


def lost_in_silence(stage: Stage, patches: str) -> None:
    """A clock is journaled in silence, and the worker is gone; then records come that are late by that clock alone."""
    with stage.deployment(static=True, model_settings=SILENT) as d:
        one, sender = start(d, "one", patches), Sender(d)
        owning(d, one)
        last = sender.for_seconds(2.0)
        moment(d, lambda: not one.alive or "a clock entry waits" in one.said(), "a clock entry")
        time.sleep(2.0)  # a commit, if nothing keeps it
        if one.alive:
            one.kill()
        else:
            stage.note(died(one))
        stage.count("faults")
        for _ in range(20):  # stamped before the clock was
            sender.send(last - BEHIND_MS, last)
        clean = ",".join(p for p in patches.split(",") if p == "obedience")
        rest(d, start(d, "one", clean))


def overtaken(stage: Stage, patches: str) -> None:
    """A worker falls asleep before it journals a clock; its successor claims; it wakes, and commits what no longer counts."""
    with stage.deployment(model_settings=SILENT) as d:
        one, sender = start(d, "one", patches), Sender(d)
        owning(d, one)
        last = sender.for_seconds(2.0)
        moment(d, lambda: "sleeping before the journal" in one.said(), "it to fall asleep")
        two = start(d, "two", "sleeps-after-claims")
        moment(d, lambda: "sleeping after the claims" in two.said(), "another worker to claim")
        one.thaw()
        moment(d, lambda: not one.alive or "awake" in one.said(), "it to commit")
        if not one.alive:
            ended(one)
        one.kill()
        stage.note(next((line for line in one.said().splitlines() if line.startswith("awake")), ""))
        stage.count("faults")
        for _ in range(20):  # stamped before the clock was
            sender.send(last - BEHIND_MS, last)
        two.thaw()
        rest(d, two)


def starved(stage: Stage, patches: str) -> None:
    """Fetches bring nothing for longer than the idle time, while records are there."""
    with stage.deployment(static=True, model_settings=SILENT) as d:
        admin = AdminClient({"bootstrap.servers": d.bootstrap})
        stamped = ConfigEntry("message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET)
        topics = [ConfigResource(ResourceType.TOPIC, d.topics[h], incremental_configs=[stamped]) for h in INPUTS]
        for done in admin.incremental_alter_configs(topics).values():
            done.result(20)
        one, sender = start(d, "one", patches), Sender(d)
        owning(d, one)
        sender.for_seconds(8.0)
        moment(d, lambda: "starving" in one.said(), "slow fetches")
        stage.count("faults")
        rest(d, one)


TWINS: Final = (
    Twin("one-write", "state and offsets in one write", "dies-between-writes", dies, short=True),
    Twin("outbox", "decided events in the commit", "dies-before-publishing", dies),
    Twin("determined-ids", "ids that follow from the decision", "", killed),
    Twin("letters-first", "dead letters before the commit", "no-room-for-letters", letters_wait, short=True),
    Twin("sequence", "compare-and-set on the sequence", "sends-late", dies),
    Twin("token", "token check", "sleeps-with-a-clock", overtaken),
    Twin("fencing", "token check and compare-and-set", "sleeps-in-a-commit", sleeps),
    Twin("recognition", "recognition of our own lost reply", "loses-replies", replies_lost),
    Twin("refusal", "refusal of missing state", "", state_gone),
    Twin("journal-first", "journal before state", "no-room-for-clocks", lost_in_silence),
    Twin("obedience", "obedience to the journal beyond the state", "dies-with-a-clock", lost_in_silence),
    Twin("unknown", "idle is not unknown", "starves", starved),
)
CELLS = [
    Cell("verifier.live", "what must hold at any moment holds while a worker is killed three times", watched),
    *(cell for twin in TWINS for cell in twin.cells()),
]
