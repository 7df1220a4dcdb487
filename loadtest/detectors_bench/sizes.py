"""Bytes of one feature's state in one pane: in memory, and as the pane is stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadtest.quality.slots import build_reference, count
from loadtest.quality.worlds import BY_NAME, DAY_MS, Stream
from streams.engine.snapshot import pack_vector

TARGET_BYTES = 1024
NUMERIC, CATEGORICAL = "normal_1", "category_200"


@dataclass(frozen=True, slots=True)
class Size:
    """The bytes of a feature's slot vector after a pane of ``rows``; ``target`` is the most that ``--check`` accepts."""

    what: str
    rows: int
    bytes: int
    target: int | None = None


def sizes() -> list[Size]:
    """Measure a numeric feature with 100 bins and one with 200 categories, after a small and a large pane."""
    rng = np.random.default_rng(1)
    chosen = [BY_NAME[NUMERIC], BY_NAME[CATEGORICAL]]
    reference = build_reference("independent", rng, 50_000, features=chosen)
    made = []
    for rows in (1_000, 1_000_000):
        columns = Stream("independent", rng, chosen).take(rows, DAY_MS)[1]
        numeric, categories = (vectors[0] for vectors in count(reference.features, columns, 1))
        made += [
            Size("numeric, 100 bins, in memory", rows, numeric.nbytes, TARGET_BYTES),
            Size("numeric, 100 bins, as stored", rows, len(pack_vector(numeric)), TARGET_BYTES),
            Size("200 categories, in memory", rows, categories.nbytes),
            Size("200 categories, as stored", rows, len(pack_vector(categories))),
        ]
    return made
