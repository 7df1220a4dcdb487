"""Which seeds a test run goes through: those that fail without a protection, then a fixed range, so that CI can repeat what it saw."""

from __future__ import annotations

import os
from pathlib import Path

KEPT = Path(__file__).with_name("kept_seeds.txt")
MORE = "DRIFTLINE_SIM_SEEDS"
"""An environment variable: how many times as many seeds to go through, for a night's run."""


def kept(kind: str) -> list[tuple[int, str]]:
    """Seeds of a kind of simulation, and what is taken out for them to fail; empty where a bug was that nobody can put back."""
    lines = [line.split(", ") for line in KEPT.read_text().splitlines() if line and not line.startswith("#")]
    return [(int(seed), taken_out) for name, seed, taken_out in lines if name == kind]


def seeds(least: int) -> range:
    """The range of this run."""
    return range(least * int(os.environ.get(MORE, "1")))
