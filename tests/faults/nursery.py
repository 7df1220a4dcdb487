"""Workers in a tenth of a second: a process that has imported the product already, and forks a worker when it is asked to.

Importing takes a worker two seconds of CPU; a suite that kills hundreds of them would measure little else. What a forked
worker runs is the same: ``python -m MODULE ARGUMENTS`` in a process of its own, which ends by its own signals. The nursery
itself opens no socket and starts no thread. It dies with us, and its children with it.

As a program it reads a request a line, ``{"argv": [module, ...], "log": path}``, answers ``{"pid": n}``, and says
``{"pid": n, "ended": status}`` when one has ended (128 + n after signal n, as shells have it).
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PRELOADED = (
    "streams.cli.run",
    "streams.worker",
    "streams.metrics",
    "streams.edges.http",
    "streams.cli.main",
    "structlog",
)
_PR_SET_PDEATHSIG = 1
"""Linux: the signal that a process gets when its parent ends."""
_FORK_S = 30.0
"""A fork takes milliseconds; the machine may be busy."""


class Nursery:
    """The one nursery of this process, started when it is first needed."""

    _only: Nursery | None = None

    def __init__(self) -> None:
        """Start it; its first answer comes when everything is imported."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._changed = threading.Condition()
        self._born: list[int] = []
        self._ended: dict[int, int] = {}
        threading.Thread(target=self._listen, name="nursery", daemon=True).start()

    @classmethod
    def shared(cls) -> Nursery:
        """The running one."""
        if cls._only is None or not cls._only.alive:
            cls._only = cls()
        return cls._only

    @property
    def alive(self) -> bool:
        """Whether it can fork."""
        return self._process.poll() is None

    @classmethod
    def close(cls) -> None:
        """End it, and every child that still runs."""
        if cls._only is not None:
            cls._only.end()
            cls._only = None

    def end(self) -> None:
        """End this one."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(_FORK_S)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as told:
            for line in told:
                said = json.loads(line)
                with self._changed:
                    if "ended" in said:
                        self._ended[said["pid"]] = said["ended"]
                    else:
                        self._born.append(said["pid"])
                        self._ended.pop(said["pid"], None)  # another one's, which ended long ago
                    self._changed.notify_all()

    def fork(self, argv: Sequence[str], log: Path) -> Forked:
        """A new child; one at a time."""
        assert self._process.stdin is not None
        with self._changed:
            self._born.clear()
            self._process.stdin.write(json.dumps({"argv": list(argv), "log": str(log)}) + "\n")
            self._process.stdin.flush()
            if not self._changed.wait_for(lambda: self._born, _FORK_S):
                message = "the nursery does not answer"
                raise RuntimeError(message)
            return Forked(self, self._born.pop())

    def status(self, pid: int, timeout_s: float = 0.0) -> int | None:
        """How a child ended, None while it runs."""
        with self._changed:
            self._changed.wait_for(lambda: pid in self._ended, timeout_s)
            return self._ended.get(pid)


class Forked:
    """A child of the nursery."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        """As the nursery told."""
        self._nursery, self.pid = nursery, pid
        self._status: int | None = None

    def poll(self) -> int | None:
        """The exit status, None while it runs."""
        if self._status is None:
            self._status = self._nursery.status(self.pid)
        return self._status

    def wait(self, timeout_s: float) -> int:
        """The exit status. Raises subprocess.TimeoutExpired."""
        if self._status is None:
            self._status = self._nursery.status(self.pid, timeout_s)
        if self._status is None:
            raise subprocess.TimeoutExpired(f"worker {self.pid}", timeout_s)
        return self._status


def main() -> None:
    """The nursery as a program: one thread, no clients, nothing that a fork could break."""
    for module in PRELOADED:
        import_module(module)
    gc.freeze()  # what is shared with the children stays shared
    wake, alarm = os.pipe()
    os.set_blocking(alarm, False)  # its only argument
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(alarm)
    pending, children = b"", set[int]()
    while True:
        readable, _, _ = select.select([0, wake], [], [])
        if wake in readable:
            os.read(wake, 4096)
            _collect(children)
        if 0 in readable:
            data = os.read(0, 65536)
            if not data:
                break
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    os.close(wake)
                    os.close(alarm)
                    _child(json.loads(line))
                children.add(pid)
                _tell(pid=pid)
    for pid in children:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _collect(children: set[int]) -> None:
    while children:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        children.discard(pid)
        code = os.waitstatus_to_exitcode(status)
        _tell(pid=pid, ended=code if code >= 0 else 128 - code)


def _tell(**said: int) -> None:
    os.write(1, json.dumps(said).encode() + b"\n")


def _child(request: dict[str, object]) -> None:
    """Become ``python -m MODULE ARGUMENTS``; never returns."""
    status = 1
    try:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        faulthandler.register(signal.SIGUSR2)  # where it hangs, when a cell has waited in vain
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(str(request["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for found, place in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(found, place)
        argv = request["argv"]
        assert isinstance(argv, list)
        module, *arguments = argv
        sys.argv = [module, *arguments]
        sys.modules.pop(module, None)  # run anew, as `python -m` would
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001  # what would end an interpreter ends this one
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
