"""One thing that ``python -m loadtest detectors`` measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Case:
    """A speed: ``run`` does the work once and returns units per CPU-second of this process.

    ``unit`` is what is counted, in the plural ("values", "windows"). ``target`` is the least rate that ``--check`` accepts,
    None where there is none. ``run`` warms up what has to be compiled before it measures, and is called several times.
    """

    name: str
    unit: str
    target: float | None
    run: Callable[[], float]
