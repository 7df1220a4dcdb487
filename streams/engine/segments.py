"""Segments: which groups of its traffic a model is also watched in, and which of their values have streams of their own.

A *definition* is one name ("country") or a combination ("country" with "channel"). Of each event every name has one value, a text:
that of the event's ``segments``, else that of its ``features`` (text, boolean, whole number), else ``missing``. Each event counts in
all traffic, and in one segment of each definition: that of its value when the value is *followed*, ``missing`` when a part of it
is missing, ``other`` otherwise.

Which values are followed is decided by the first of these that applies (``followed``):

1. the reference was built with this definition (``reference build --segment``): exactly the values that it holds;
2. every name is listed under ``follow``, or is a feature with categories in the reference: the first ``segment_values`` of them,
   of combinations those with the largest product of shares;
3. otherwise the first ``segment_values`` values that come, in the order of each partition's own log.

The first two are functions of configuration and reference, so that all partitions follow the same values. With the third, a
value may be followed in one partition and be ``other`` in the next: its stream then counts a part of its events, all of those of some
partitions, which is still a fair sample, because partitions are made by the hash of the id. ``Definition.known`` is None then,
and the record of a window says ``partial``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from detectors.reference.segments import LONGEST, MISSING, OTHER, value_text
from schemas.config import ModelConfig
from schemas.identifiers import segment_text, segment_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detectors.reference import Reference
    from schemas.config import FeatureSetConfig

__all__ = ["LONGEST", "MISSING", "NONE", "OTHER", "Definition", "Segments", "segments_of", "value_text"]


@dataclass(frozen=True, slots=True)
class Definition:
    """One name or combination. ``at`` are the places of its names in ``Segments.names``; ``known`` None: the first that come."""

    names: tuple[str, ...]
    at: tuple[int, ...]
    known: frozenset[tuple[str, ...]] | None
    most: int

    @property
    def streams(self) -> int:
        """How many streams it makes of one version and variant at most: the values followed, ``other`` and ``missing``."""
        return (self.most if self.known is None else len(self.known)) + 2

    def text(self, values: Sequence[str]) -> str:
        """The canonical text of a segment."""
        return segment_text(self.names, values)

    @property
    def other(self) -> str:
        """The canonical text of ``other``."""
        return self.text([OTHER] * len(self.names))

    @property
    def missing(self) -> str:
        """The canonical text of ``missing``."""
        return self.text([MISSING] * len(self.names))


@dataclass(frozen=True, slots=True)
class Segments:
    """All definitions of a model, and the names that they need."""

    names: tuple[str, ...]
    definitions: tuple[Definition, ...]

    @property
    def streams(self) -> int:
        """How many streams they make of one version and variant at most: what shares the segments' half of the budget."""
        return sum(d.streams for d in self.definitions)

    def partial(self, segment: str) -> bool:
        """Whether its values are followed as they come: some of its events may count as ``other`` in some partition."""
        names = tuple(segment_values(segment))
        return any(d.names == names and d.known is None for d in self.definitions)


NONE = Segments((), ())


def segments_of(config: ModelConfig | FeatureSetConfig, reference: Reference) -> Segments:
    """The segments of a model; ``reference`` is the model's own, not a version's."""
    if not isinstance(config, ModelConfig) or not config.segments:
        return NONE
    names = tuple(dict.fromkeys(name for one in config.segment_definitions for name in one))
    return Segments(
        names,
        tuple(
            Definition(one, tuple(names.index(n) for n in one), followed(config, one, reference), config.segment_values)
            for one in config.segment_definitions
        ),
    )


def followed(config: ModelConfig, names: tuple[str, ...], reference: Reference) -> frozenset[tuple[str, ...]] | None:
    """The values of a definition that are followed everywhere; None where nothing tells them beforehand."""
    built = [tuple(v.values()) for v in map(segment_values, reference.segments) if tuple(v) == names]
    if built:
        return frozenset(v for v in built if not {OTHER, MISSING} & set(v))
    best: list[tuple[float, tuple[str, ...]]] = [(1.0, ())]
    for name in names:
        shares = _shares(config, name, reference)
        if shares is None:
            return None
        # Cutting after each name loses nothing: what begins with a rarer part has as many more frequent ones before it.
        longer = [(-w * s, (*values, v)) for w, values in best for v, s in shares]
        best = [(-w, values) for w, values in sorted(longer)[: config.segment_values]]
    return frozenset(values for _, values in best)


def _shares(config: ModelConfig, name: str, reference: Reference) -> list[tuple[str, float]] | None:
    """The values of a name with their weights, None where neither the configuration nor the reference knows them."""
    listed = config.follow.get(name)
    if listed is not None:
        found = [(v, 1 / (i + 1)) for i, v in enumerate(dict.fromkeys(listed))]
    else:
        subject = next((s for s in reference.features if s.name == name and s.categories), None)
        if subject is None:
            return None
        found = [(v, float(c)) for v, c in zip(subject.categories, subject.counts.tolist(), strict=False)]
    return [(v, w) for v, w in found if v not in {"", OTHER, MISSING} and len(v) <= LONGEST]
