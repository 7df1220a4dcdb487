"""Traffic in real time, with silences: what makes the wall clock take part, and the journal fill (R2, R3).

A burst of predictions and their labels, then nothing for longer than ``idle``, again and again, and no closing records: every
window is closed by a clock that is in no input. So there is no undisturbed run to compare with; the verifier, which obeys the
journal, decides.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Final

import numpy as np
import orjson
from confluent_kafka import Producer

from tests.faults.deployment import Deployment, NotInTime
from tests.faults.load import MODELS, Load, Truth, place

MODEL: Final[dict[str, Any]] = {
    "windows": {"size": "10s", "pane": "1s", "lateness": "1s", "idle": "1s"},
    "labels": {"maturity": "10s", "horizon": "30s"},
}
"""Settings of the models: windows that close while a cell looks on."""
BURST: Final = 400
"""Predictions at once: a window has several bursts."""
SILENCE_S: Final = 2.5
"""Between two bursts: more than ``idle`` and a pane, so that every silence is journaled."""


class Ticking(Load):
    """A thread that sends bursts until ``wait`` asks for the truth; ``bursts`` says how many it has sent."""

    def __init__(self, deployment: Deployment, seed: int = 3) -> None:
        """Begin at once."""
        self._deployment, self._rng = deployment, np.random.default_rng(seed)
        self._enough, self.bursts = threading.Event(), 0
        self._made, self._sent = Truth(), 0
        self._thread = threading.Thread(target=self._run, name="ticking", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether there is more to come."""
        return self._thread.is_alive()

    def wait(self, timeout_s: float = 600.0) -> Truth:
        """Send no more, and tell the truth."""
        self._enough.set()
        self._thread.join(timeout_s)
        if self.running:
            message = f"the producer is not done after {timeout_s} s"
            raise NotInTime(message)
        return self._made

    def _run(self) -> None:
        settings = {"bootstrap.servers": self._deployment.bootstrap, "linger.ms": 5, "log_level": 2}
        producer = Producer(settings | {"enable.idempotence": True, "message.timeout.ms": 0})
        while not self._enough.is_set():
            for half in ("predictions", "labels"):
                self._burst(producer, half)
                while producer.flush(5):
                    pass
            self._sent += BURST
            self.bursts += 1
            self._enough.wait(SILENCE_S)

    def _burst(self, producer: Producer, half: str) -> None:
        truth, known = self._made.records[half], self._made.outcomes[half]
        now = time.time_ns() // 1_000_000
        for n in range(self._sent, self._sent + BURST):
            key, yes = f"t{n}", bool(self._rng.random() < 0.5)
            event: dict[str, Any] = {"prediction_id": key, "event_time": now}
            if half == "predictions":
                event |= {"model": MODELS[n % len(MODELS)], "model_version": "v1", "prediction": "yes" if yes else "no"}
                event |= {
                    "score": 0.8 if yes else 0.2,
                    "features": {"a": float(self._rng.normal()), "b": 1.0, "c": "de"},
                }
                self._made.last = now
            else:
                event["label"] = "yes" if yes else "no"
            partition = place(key, self._deployment.partitions)
            truth[partition] = truth.get(partition, 0) + 1
            known["applied"] = known.get("applied", 0) + 1
            producer.produce(self._deployment.topics[half], orjson.dumps(event), key, partition, timestamp=now)
        self._made.end = now
