"""Sketches with one fault each, by the name of the law that they break: a count of distinct values, bent."""

# ruff: noqa: D102  # a method that is overridden does what the class above says, wrongly

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np

from detectors.registry import Summary
from detectors.sketches import Distinct
from schemas.errors import StateCorrupt


class FirstWins(Distinct):
    """Merges by keeping its own registers where it has any."""

    def merge(self, other: Self) -> Self:
        return self.read(self.to_bytes()) if self != type(self)() else self.read(other.to_bytes())

    @classmethod
    def read(cls, data: bytes) -> Self:
        return cls.from_bytes(data)


class LastBatch(Distinct):
    """Starts anew with every batch."""

    def update(self, values: Any) -> None:  # noqa: ANN401  # as Distinct's
        self._registers[:] = 0
        super().update(values)


class Shortened(Distinct):
    """Writes an empty sketch for whatever it holds."""

    def to_bytes(self) -> bytes:
        return Distinct().to_bytes()


class Grabbing(Distinct):
    """Merges into itself."""

    def merge(self, other: Self) -> Self:
        np.maximum(self._registers, other._registers, out=self._registers)  # another of this class
        return self


def patient(data: bytes) -> Distinct:
    """Read anything."""
    try:
        return Distinct.from_bytes(data)
    except StateCorrupt:
        return Distinct()


def timeless(data: bytes) -> Distinct:
    """Read any version as if it were this one."""
    return Distinct.from_bytes(Distinct().to_bytes()[:6] + data[6:])


DISTINCT = Summary("broken", "", Distinct, Distinct.from_bytes)
SKETCHES: dict[str, Summary] = {
    "merging_is_associative_and_commutative_and_empty_changes_nothing": Summary(
        "", "", FirstWins, FirstWins.from_bytes
    ),
    "cut_order_workers_and_restarts_change_no_byte": Summary("", "", LastBatch, LastBatch.from_bytes),
    "bytes_and_back_is_the_identity": Summary("", "", Shortened, Shortened.from_bytes),
    "merging_leaves_its_operands_alone": Summary("", "", Grabbing, Grabbing.from_bytes),
    "damaged_bytes_are_state_errors": replace(DISTINCT, read=patient),
    "a_newer_format_is_named": replace(DISTINCT, read=timeless),
}
