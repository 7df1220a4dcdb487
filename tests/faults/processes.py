"""A worker of driftline as a process of its own: started, signalled by its process id, asked over HTTP, never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from streams.edges.embedded import LOOPBACK
from streams.edges.embedded import GuardedProcess as _Guarded
from tests.faults.nursery import Nursery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.nursery import Forked

PRODUCT = ("-m", "streams.cli.main")
"""What python runs: the product as it is. A wrapper is named in its place and runs it with something changed."""
HTTP_S = 5.0
"""How long an answer over HTTP may take: the machine is shared, and a worker that is stopped never answers."""
LOOK_S = 0.02
"""Between two looks at something that will happen: short against every time that is measured here."""
_END_S = 20.0
"""An orderly end: the last commits have one deadline of their own, which is shorter."""


class GuardedProcess(_Guarded):
    """A program beside us, with its exit status."""

    def wait(self, timeout_s: float) -> int:
        """The exit status. Raises subprocess.TimeoutExpired."""
        status = self._guard.wait(timeout_s)
        self.kill()  # it has ended: this closes the pipes
        return status

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs."""
        return self._guard.poll()


class WorkerProcess:
    """One ``driftline run``; it dies with us, whatever happens to us. ``pid`` is its own process id."""

    def __init__(
        self, name: str, folder: Path, port: int, program: Sequence[str] = PRODUCT, *, fresh: bool = False
    ) -> None:
        """Start it on ``folder/monitor.yaml``; what it says goes to ``folder/log-N``, one file for each start.

        ``fresh``: by a new interpreter, which takes two seconds longer than a fork of the nursery.
        """
        self.name, self.port, self.folder = name, port, folder
        self.started = time.monotonic()
        self.log = folder / f"log-{len(list(folder.glob('log-*')))}"
        arguments = [*program, "run", "--config", str(folder / "monitor.yaml")]
        self._fork: Forked | None = None
        self._guarded: GuardedProcess | None = None
        if fresh or arguments[0] != "-m":
            self._guarded = GuardedProcess([sys.executable, *arguments], self.log)
            self.pid = self._guarded.pid
        else:
            self._fork = Nursery.shared().fork(arguments[1:], self.log)
            self.pid = self._fork.pid

    # -- signals ------------------------------------------------------------------------------------------------------

    def signal(self, how: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            if self.alive:
                os.kill(self.pid, how)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """SIGTERM; returns when it is gone. Raises subprocess.TimeoutExpired when it does not go."""
        self.signal(signal.SIGTERM)
        self.wait()

    def freeze(self) -> None:
        """SIGSTOP: it stands still and does not know."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on as if no time had passed."""
        self.signal(signal.SIGCONT)

    def term(self) -> None:
        """SIGTERM, without waiting (``stop`` waits)."""
        self.signal(signal.SIGTERM)

    def wait(self, timeout_s: float = _END_S) -> int:
        """The exit status, 128 + n after signal n. Raises subprocess.TimeoutExpired when it still runs."""
        if self._fork is not None:
            return self._fork.wait(timeout_s)
        assert self._guarded is not None
        return self._guarded.wait(timeout_s)

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs."""
        if self._fork is not None:
            return self._fork.poll()
        assert self._guarded is not None
        return self._guarded.status

    @property
    def alive(self) -> bool:
        """Whether it runs, be it frozen."""
        return self.status is None

    def stack(self) -> str:
        """Where it is: the Python stacks of all its threads (of a forked one), what it says of itself, and its last words."""
        ready, why = self.ready()
        before = len(self.said())
        if self._fork is not None and self.alive:
            self.signal(signal.SIGUSR2)
            time.sleep(0.5)
        return f"{self.name} ({self.status}), ready {ready} {why}: {self.said()[before:][-4000:]} {self.tail(5)}"

    def tail(self, lines: int = 20) -> str:
        """The last lines of its log."""
        return "\n".join(self.said().splitlines()[-lines:])

    # -- what it says -------------------------------------------------------------------------------------------------

    def said(self) -> str:
        """Everything it has written to its log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def ask(self, path: str) -> tuple[int, str]:
        """GET: (status, body); status 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}{path}", timeout=HTTP_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def ready(self) -> tuple[bool, str]:
        """What ``/readyz`` says: (ready, why not)."""
        code, text = self.ask("/readyz")
        return code == 200, text.strip()

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Every sample of ``/metrics`` by (name, labels); empty when nobody answers."""
        code, text = self.ask("/metrics")
        if code != 200:
            return {}
        return {
            (s.name, frozenset(s.labels.items())): s.value
            for family in text_string_to_metric_families(text)
            for s in family.samples
        }

    def partitions(self) -> set[int]:
        """The partitions of the tasks that it says it owns."""
        return {
            int(value)
            for (name, labels) in self.metrics()
            if name == "driftline_labels_waiting"
            for key, value in labels
            if key == "partition"
        }

    def memory_bytes(self) -> int:
        """Resident memory, 0 when it has ended."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except OSError:
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")
