"""What a piece of work cost a process: CPU of all its threads, wall time, and the main thread's time by stage."""

from __future__ import annotations

import functools
import resource
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENT_THREADS, REST = "client threads", "rest"
"""Stages that no call belongs to: threads beside the main one (librdkafka's), and what the main thread did in between."""


class Cost(msgspec.Struct, frozen=True):
    """``cpu_s`` is user + system time of all threads of the process (``getrusage``); ``thread_s`` of the calling thread alone."""

    cpu_s: float
    system_s: float
    thread_s: float
    wall_s: float


class Meter:
    """Starts when it is made; ``read`` tells the cost since then."""

    def __init__(self) -> None:
        """Start."""
        self._begin = self._now()

    @staticmethod
    def _now() -> Cost:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return Cost(used.ru_utime + used.ru_stime, used.ru_stime, time.thread_time(), time.perf_counter())

    def read(self) -> Cost:
        """The cost up to now; call it from the thread that made the meter."""
        a, b = self._begin, self._now()
        return Cost(b.cpu_s - a.cpu_s, b.system_s - a.system_s, b.thread_s - a.thread_s, b.wall_s - a.wall_s)


@dataclass(slots=True)
class Stages:
    """CPU seconds of the main thread by stage, exclusive: a stage inside another is not counted twice.

    It costs about a microsecond per call, and calls are per batch of up to 10,000 events: below a nanosecond per event.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    _inner: list[float] = field(default_factory=list)

    def watch(self, owner: type, method: str, stage: str) -> None:
        """Book every call of ``owner.method`` under ``stage`` from now on."""
        original: Callable[..., Any] = getattr(owner, method)
        self.seconds.setdefault(stage, 0.0)

        @functools.wraps(original)
        def timed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # stands in for any method
            begin = time.thread_time()
            self._inner.append(0.0)
            try:
                return original(*args, **kwargs)
            finally:
                spent = time.thread_time() - begin
                self.seconds[stage] += spent - self._inner.pop()
                if self._inner:
                    self._inner[-1] += spent

        setattr(owner, method, timed)

    def clear(self) -> None:
        """Forget what was measured, keep watching."""
        self.seconds = dict.fromkeys(self.seconds, 0.0)

    def per_event(self, cost: Cost, events: int) -> dict[str, float]:
        """Nanoseconds of CPU per event by stage; they add up to the whole process."""
        whole = self.seconds | {
            REST: cost.thread_s - sum(self.seconds.values()),
            CLIENT_THREADS: cost.cpu_s - cost.thread_s,
        }
        return {stage: seconds / events * 1e9 for stage, seconds in whole.items()}
