"""On what a figure was measured."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import confluent_kafka
import psutil

_LIBRARIES = ("confluent-kafka", "msgspec", "numba", "numpy", "orjson", "redis")


def fingerprint() -> dict[str, Any]:
    """Processor, cores, memory, kernel, and the versions of what runs on the hot path."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "librdkafka": confluent_kafka.libversion()[0],
        **{name: version(name) for name in _LIBRARIES},
    }


def load() -> float:
    """The load average of the last minute: more than the run itself needs means that others used the cores too."""
    return os.getloadavg()[0]


def _cpu() -> str:
    found = Path("/proc/cpuinfo")
    lines = found.read_text().splitlines() if found.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
