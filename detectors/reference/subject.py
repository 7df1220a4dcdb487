"""What a reference knows of one feature, of the prediction or of the score."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import orjson

from detectors.reference.bins import numeric_slots
from detectors.reference.columns import Column, as_booleans, as_numbers, as_texts, column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Kind = Literal["numeric", "integer", "categorical", "boolean"]
"""What the values of a subject are."""
KINDS: tuple[Kind, ...] = ("numeric", "integer", "categorical", "boolean")
"""All kinds."""
NUMERIC = frozenset({"numeric", "integer"})
"""The kinds with edges; the others have categories."""
EXTRA_SLOTS = 4
"""Slots beside the bins: below, above, missing, type error; or other, unseen, missing, type error."""


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A distribution over frozen slots. Equal, and of equal hash, are subjects with the same content.

    `edges` is float64[B + 1] for numeric and integer, empty otherwise. `categories` have a bin each, by descending
    count, then name; `others` are further categories that the reference knows (one slot together). `counts` is the
    slot vector of the reference's own rows, int64[width]:

    - numeric: 0 below, 1..B the bins, B+1 above, B+2 missing, B+3 type error;
    - categorical: 0..K-1 the categories, K other, K+1 unseen, K+2 missing, K+3 type error.

    `identity` is a hash over all of it. Arrays are read-only.

    Raises:
        ValueError: the slot vector does not fit the edges or categories, or the edges do not ascend.
    """

    name: str
    kind: Kind
    edges: NDArray[np.float64]
    categories: tuple[str, ...]
    others: tuple[str, ...]
    counts: NDArray[np.int64]
    identity: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the layout, freeze the arrays, name the content."""
        edges = np.array(self.edges, np.float64)
        counts = np.array(self.counts, np.int64)
        if self.kind not in KINDS:
            message = f"{self.name!r} cannot be of kind {self.kind!r}"
            raise ValueError(message)
        if len(counts) != self.width or counts.min() < 0:
            message = f"{self.name!r}: {len(counts)} counts do not fit {self.width} slots, or one is negative"
            raise ValueError(message)
        if self.numeric and not (len(edges) > 1 and np.isfinite(edges).all() and (np.diff(edges) > 0).all()):
            message = f"{self.name!r}: edges must be two finite numbers or more, strictly ascending"
            raise ValueError(message)
        edges.flags.writeable = counts.flags.writeable = False
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "identity", hashlib.sha256(orjson.dumps(self.to_dict())).hexdigest()[:32])

    def __eq__(self, other: object) -> bool:
        """Return whether both have the same content."""
        return isinstance(other, Subject) and self.identity == other.identity

    def __hash__(self) -> int:
        """Return a hash of the content."""
        return hash(self.identity)

    @property
    def numeric(self) -> bool:
        """Whether it has edges (numeric or integer) rather than categories."""
        return self.kind in NUMERIC

    @property
    def bins(self) -> int:
        """Number of bins or categories (B or K)."""
        return len(self.edges) - 1 if self.numeric else len(self.categories)

    @property
    def width(self) -> int:
        """Length of its slot vectors."""
        return self.bins + EXTRA_SLOTS

    @property
    def n(self) -> int:
        """Number of values present in the reference: neither missing nor of a wrong type."""
        return present(self.counts)

    @property
    def constant(self) -> bool:
        """Whether the reference has one value only."""
        return self.bins == 1 and int(self.counts[1 if self.numeric else 0]) == self.n

    def slots_of(self, values: Sequence[Any] | NDArray[Any] | Column) -> NDArray[np.int64]:
        """Return the slot vector of values, int64[width]: what a pane that saw them holds.

        None and NaN are missing. Numbers for a categorical subject and 0 or 1 for a boolean one count as the categories
        they spell; text for a numeric subject counts as the number it spells, else as a type error.
        """
        return np.bincount(self.slot_of_each(values), minlength=self.width).astype(np.int64)

    def slot_of_each(self, values: Sequence[Any] | NDArray[Any] | Column) -> NDArray[np.int64]:
        """Return the slot of every value, int64[n]; values are read as in `slots_of`."""
        source = values if isinstance(values, Column) else column(values)
        if self.numeric:
            numbers, wrong = as_numbers(source)
            slots = numeric_slots(self.edges, numbers)
        else:
            texts, wrong = as_booleans(source) if self.kind == "boolean" else (as_texts(source), np.zeros(0, bool))
            known = {name: min(i, self.bins) for i, name in enumerate((*self.categories, *self.others))}
            missing = self.bins + 2
            slots = np.array([missing if t is None else known.get(t, self.bins + 1) for t in texts], np.int64)
        slots[np.flatnonzero(wrong)] = self.width - 1
        return slots

    def to_dict(self) -> dict[str, Any]:
        """Return the content as JSON values."""
        return {**self.shape(), "counts": self.counts.tolist()}

    def shape(self) -> dict[str, Any]:
        """Return what decides the meaning of its slots, as JSON values."""
        return {
            "name": self.name,
            "kind": self.kind,
            "edges": self.edges.tolist(),
            "categories": list(self.categories),
            "others": list(self.others),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Subject:
        """Return the subject whose `to_dict` this was; raises KeyError, TypeError or ValueError when it is none."""
        return cls(
            content["name"],
            content["kind"],
            np.array(content["edges"], np.float64),
            tuple(content["categories"]),
            tuple(content["others"]),
            np.array(content["counts"], np.int64),
        )


def present(counts: NDArray[np.int64]) -> int:
    """Return how many values of a slot vector are neither missing nor of a wrong type."""
    return int(counts[:-2].sum())
