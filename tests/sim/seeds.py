"""Which seeds a test run goes through: those that failed once, then a fixed range, so that CI can repeat what it saw."""

from __future__ import annotations

import os
from pathlib import Path

FAILED = Path(__file__).with_name("failed_seeds.txt")
MORE = "DRIFTLINE_SIM_SEEDS"
"""An environment variable: how many times as many seeds to go through, for a night's run."""


def failed(kind: str) -> list[int]:
    """The seeds of a kind of simulation that failed once."""
    lines = [line.split(", ") for line in FAILED.read_text().splitlines() if line and not line.startswith("#")]
    return [int(seed) for name, seed in lines if name == kind]


def seeds(least: int) -> range:
    """The range of this run."""
    return range(least * int(os.environ.get(MORE, "1")))
