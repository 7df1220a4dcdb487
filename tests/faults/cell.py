"""A cell: one fault on real processes, with one outcome. ``Stage`` is what a cell gets to play on.

A cell is a function that takes a ``Stage`` and returns when everything was as it must be:

    def a_worker_is_killed(stage: Stage) -> None:
        with stage.deployment() as d, Watch(d) as watch:
            one = d.start("one")
            d.wait_ready(one)
            load = d.load(Spec(predictions=50_000))
            with stage.fault(d, watch, "SIGKILL"):      # proves that work was in flight before and after
                one.kill()
            d.start("two")
            stage.settle(d, load)                        # all read, decided; truth, undisturbed run and verifier agree

    CELLS = [Cell("worker.kill", "a worker is killed", a_worker_is_killed, short=True)]

``AssertionError`` (and every other exception) is a fail; ``Inconclusive`` says that the fault did not land while work was in
flight, and is never a pass. ``stage.note`` adds a line of evidence, ``stage.sample`` a number to a named series of figures,
``stage.count`` adds to a named count.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from streams.edges.embedded import LOOPBACK
from tests.faults import results
from tests.faults.deployment import Deployment, NotInTime
from tests.faults.nursery import Nursery
from tests.services.kafka import REPOSITORY, KafkaService

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.load import Load, Truth
    from tests.faults.watch import Watch

Verdict = Literal["pass", "fail", "inconclusive"]
Verify = Literal["all", "some", "none"]
VERIFY_S = 900.0
"""The verifier may take ten minutes for three million events."""
_AHEAD = 30_000
"""Records that a producer that waits is ahead: seconds of work for a worker."""
UNANSWERED_S = 5.0
"""How long it is asked again what is unread: a broker that is back answers once it has elected its leaders."""
PLAYS = 3
"""So often a cell is played whose fault lands when nothing is unread. One that fails is never played again."""
_IN_FLIGHT_S = 30.0
"""How long the start of work is waited for before a fault."""


class Inconclusive(Exception):  # noqa: N818  # an outcome, not an error
    """The fault did not land while work was in flight: nothing is proved."""


class Missed(Inconclusive):
    """Nothing was unread when the fault landed: it may land better another time. No other reason is played again."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One scenario. ``short``: part of ``make test``. ``caught``: a twin without a protection, which passes when it FAILS.

    It fails by AssertionError. Any other exception is a failure of the twin itself, and so is ``NotInTime``, though it is one:
    where a missing protection shows as "it never comes to an end", the twin's own check says so.
    """

    name: str
    what: str
    play: Callable[[Stage], None]
    short: bool = False
    caught: str = ""
    """Of a sabotage twin: the name of the protection that was taken away."""
    verified: bool = False
    """Whether the verifier is run, too, where only some cells have it: it takes a minute for 300,000 records."""


@dataclass(slots=True)
class Outcome:
    """What came of a cell."""

    name: str
    what: str
    verdict: Verdict
    seconds: float
    why: str = ""
    evidence: list[str] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    caught: str = ""
    again: list[str] = field(default_factory=list)
    """Why it was played again, once for each time."""


class Stage:
    """Brokers, folders and checks for the cells of one session; a context manager. One cell at a time."""

    def __init__(
        self, kafka: KafkaService | None = None, *, keep: bool = False, verify: Verify = "all", fresh: bool = False
    ) -> None:
        """Use a broker that runs, or start one when a cell first asks.

        ``keep``: leave the folders of cells that did not pass. ``verify``: where the verifier is run if a cell does
        not say: in all cells, in those that are marked ``verified``, or in none.
        ``fresh``: every worker by a new interpreter.
        """
        self._given, self._kafka, self._keep, self._verify = kafka, kafka, keep, verify
        self._fresh, self._verifies, self._missed = fresh, False, False
        self._home = Path(tempfile.mkdtemp(prefix="driftline-faults-"))
        self._number = 0
        self._begin("")

    def _begin(self, name: str) -> None:
        self.name, self._number = name, self._number + 1
        self.folder = self._home / f"{self._number}-{name or 'none'}"
        self.evidence: list[str] = []
        self.samples: dict[str, list[float]] = {}
        self.counts: dict[str, int] = {}
        self._deployments = 0

    def __enter__(self) -> Self:
        """Return the stage."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the broker and the nursery, and remove the folders."""
        Nursery.close()
        if self._kafka is not None and self._kafka is not self._given:
            self._kafka.close()
        if not self._keep:
            shutil.rmtree(self._home, ignore_errors=True)

    # -- what a cell plays with ---------------------------------------------------------------------------------------

    @property
    def kafka(self) -> KafkaService:
        """The broker of the session: for cells that leave it as it is."""
        if self._kafka is None:
            self._kafka = KafkaService()
            self._kafka.start()
        return self._kafka

    def deployment(self, kafka: KafkaService | None = None, **choices: Any) -> Deployment:  # noqa: ANN401  # Deployment says which
        """A new deployment, on the session's broker or on one that the cell may hurt."""
        self._deployments += 1
        return Deployment(kafka or self.kafka, self.folder / f"d{self._deployments}", fresh=self._fresh, **choices)

    def note(self, line: str) -> None:
        """A line of evidence."""
        self.evidence.append(line)

    def sample(self, series: str, value: float) -> None:
        """A measurement."""
        self.samples.setdefault(series, []).append(value)

    def count(self, what: str, n: int = 1) -> None:
        """Add to a count."""
        self.counts[what] = self.counts.get(what, 0) + n

    @contextlib.contextmanager
    def fault(
        self,
        deployment: Deployment,
        watch: Watch,
        what: str,
        *,
        note: bool = True,
        proof: Callable[[], bool] | None = None,
    ) -> Iterator[None]:
        """Inject a fault in the block, with proof: commits were coming before it, and records were left after it.

        ``note`` False: no line of evidence, for one of many. ``proof``: what says that work was in flight where what is unread
        cannot: at the end of the block the broker or Redis is meant to be away, or a topic is another one.

        Raises Inconclusive when nothing was in flight, or nobody can say.
        """
        before = watch.commits()
        begin = time.monotonic()
        while watch.commits() < before + 2:  # this very moment work is going on
            if time.monotonic() - begin > _IN_FLIGHT_S:
                message = f"{what}: no commit in the {_IN_FLIGHT_S:.0f} s before it"
                raise Inconclusive(message)
            time.sleep(0.01)
        before = watch.commits()
        yield
        if proof is None:
            left = self.unread(deployment)
            landed, unread = left > 0, f", with {left} records unread"
        else:
            landed, unread = proof(), ""
        if note:
            self.note(f"{what}: after {before} commits{unread}")
        if not landed:
            message = f"{what}: nothing was unread when it landed"
            raise Missed(message)
        self.count("faults")

    @contextlib.contextmanager
    def waited_for(self, deployment: Deployment, load: Load) -> Iterator[None]:
        """In the block the producer waits for workers that are dead or slow: work is in flight as long as there is any."""
        over = threading.Event()

        def hold() -> None:
            while not over.wait(0.2):
                unread = self.lag(deployment)
                if unread is not None:
                    (load.freeze if unread > _AHEAD else load.thaw)()

        thread = threading.Thread(target=hold, name="pace", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(30)
            load.hurry()

    def lag(self, deployment: Deployment) -> int | None:
        """Records that are produced and not committed; None when Kafka or Redis does not answer."""
        try:
            committed = results.offsets(deployment)
            ends = deployment.ends()
        except Exception:  # noqa: BLE001  # a fault is going on: whatever it is, there is no answer
            return None
        return sum(n - committed.get((deployment.topics[half], p), 0) for (half, p), n in ends.items())

    def unread(self, deployment: Deployment) -> int:
        """Records that are produced and not committed, asked until there is an answer; Inconclusive when none comes."""
        begin = time.monotonic()
        while (left := self.lag(deployment)) is None:
            if time.monotonic() - begin > UNANSWERED_S:
                message = f"for {UNANSWERED_S:.0f} s nobody could say what is unread"
                raise Inconclusive(message)
            time.sleep(0.05)
        return left

    def settle(
        self,
        deployment: Deployment,
        load: Load,
        *,
        timeout_s: float = 180.0,
        calm: bool = True,
        verify: bool | None = None,
    ) -> Truth:
        """Wait until all is produced, read and decided; end the workers; hold the results against everything we know.

        AssertionError names the differences. ``calm`` False: a replay of the inputs and the journal instead
        of an undisturbed run, where wall clocks have a part. ``verify``: run
        the verifier or not; None: as the stage does.

        An idempotent producer may repeat records over a broker that goes and comes back (librdkafka's issue 4953). Then what the
        traffic was made with is no truth any more: the verifier, which reads what the topics hold, takes its place.
        """
        truth = load.wait()
        repeated = results.repeated(deployment, truth)
        results.wait_until_done(deployment, truth, timeout_s)
        asked = self._verifies if verify is None else verify
        verdict = self.verifier(deployment) if asked or repeated else []
        deployment.end_workers()
        found = results.look(deployment)
        if repeated:
            self.note(f"the producer repeated {repeated} records: held against the verifier instead of the truth")
        wrong = [] if repeated else results.against_truth(found, truth)
        if not calm:
            wrong += results.against_replay(deployment, found, self.folder / f"replay{self._deployments}")
        else:
            expected = results.undisturbed(deployment, truth, self.folder / f"calm{self._deployments}", timeout_s)
            if not repeated:
                wrong += [f"undisturbed run: {w}" for w in results.against_truth(expected, truth)]
            wrong += results.against_calm(found, expected)
        self.count("events", truth.total)
        self.note(
            f"{truth.total} records, {len(found.events)} events, {len(found.windows)} windows, {found.repeated} repeats"
        )
        wrong += verdict
        assert not wrong, "\n".join(wrong)
        return truth

    def verifier(self, deployment: Deployment) -> list[str]:
        """What the verifier has to say against it."""
        command = [sys.executable, "-m", "tests.faults.verifier", "--config", str(deployment.monitor_yaml)]
        if living := [w for w in deployment.workers.values() if w.alive]:
            everything = list(range(deployment.partitions))
            deployment.wait_for(
                lambda: sorted(p for w in living for p in w.partitions()) == everything,
                "the living workers to own every task once",
            )
            # Who owns a task tells its whole ledger, so together they must come to what the topics hold.
            command += ["--metrics", *(f"http://{LOOPBACK}:{w.port}/metrics" for w in living)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=VERIFY_S, cwd=REPOSITORY)
        return [] if done.returncode == 0 else [f"verifier ({done.returncode}): {(done.stdout + done.stderr)[-2000:]}"]

    # -- playing ------------------------------------------------------------------------------------------------------

    def play(self, cell: Cell) -> Outcome:
        """Play one cell; again, up to ``PLAYS`` times in all, where its fault landed when nothing was unread."""
        missed: list[str] = []
        while True:
            outcome = self._play(cell)
            if not self._missed or len(missed) == PLAYS - 1:
                outcome.again += missed
                return outcome
            missed.append(outcome.why)

    def _play(self, cell: Cell) -> Outcome:
        self._begin(cell.name)
        begin, why, broken, self._missed = time.monotonic(), "", False, False
        verdict: Verdict = "pass"
        self._verifies = self._verify == "all" or (self._verify == "some" and cell.verified)
        try:
            cell.play(self)
        except Inconclusive as error:
            verdict, why, self._missed = "inconclusive", str(error), isinstance(error, Missed)
        except AssertionError as error:  # of a twin, time that was not enough has seen nothing
            verdict, why, broken = "fail", str(error) or _trace(3), isinstance(error, NotInTime)
        except Exception:  # noqa: BLE001  # whatever went wrong, the cell did not pass
            verdict, why, broken = "fail", _trace(5), True
        if cell.caught and verdict != "inconclusive" and not broken:  # what broke down has seen nothing
            verdict = "pass" if verdict == "fail" else "fail"
            why = why if verdict == "pass" else f"nobody saw that {cell.caught} was taken away"
        if verdict == "pass" and not self._keep:
            shutil.rmtree(self.folder, ignore_errors=True)
        seconds = time.monotonic() - begin
        args = (cell.name, cell.what, verdict, seconds, why, self.evidence, self.samples, self.counts, cell.caught)
        return Outcome(*args)


def _trace(frames: int) -> str:
    """The error that is being handled, with its last frames; of files only the names, because the report is published."""
    return re.sub(r'(?<=File ")[^"]*/', "", traceback.format_exc(limit=-frames))
