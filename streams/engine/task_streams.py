"""The streams that one task has met, numbered in the order of its own log.

The decoder numbers the streams of a whole process; a task has numbers of its own, so that its state and its bound (how many
versions and variants of a model it takes) depend on its partition's log alone, not on who else shares the process (P2, P6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streams.engine.columns import NO_MODEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streams.engine.plan import Plan
    from streams.engine.shape import Shape

MAX_STREAMS = 250
"""Versions x variants of one model that one task follows: more is a producer's mistake (a timestamp as the version)."""
_BITS = 24


class TaskStreams:
    """Per model: ``names[m][s]`` is the (version, variant) of the task's stream s, ``shapes[m][s]`` its reference's layout."""

    def __init__(self, plan: Plan) -> None:
        """No streams yet."""
        self._models = plan.models
        self._number: list[dict[int, int]] = [{} for _ in plan.models]
        self.names: list[list[tuple[str, str]]] = [[] for _ in plan.models]
        self.shapes: list[list[Shape]] = [[] for _ in plan.models]

    def add(self, m: int, stream: int) -> int:
        """The task's number for a stream of the process, given when it is new; -1 beyond ``MAX_STREAMS``."""
        number = self._number[m].get(stream)
        if number is None:
            if len(self.names[m]) >= MAX_STREAMS:
                return -1
            number = self._number[m][stream] = len(self.names[m])
            self.names[m].append(self._models[m].stream_names[stream])
            self.shapes[m].append(self._models[m].stream_shapes[stream])
        return number

    def number(self, m: int, name: tuple[str, str]) -> int:
        """The number of a stream that the task has met. Raises ValueError when it has not."""
        return self.names[m].index(name)

    def admit(
        self, model: NDArray[np.int32], stream: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], list[int]]:
        """Renumber the rows of a batch; returns (model, stream, rows refused). Refused rows belong to no model any more."""
        rows = np.flatnonzero(model >= 0)
        if not len(rows):
            return model, stream, []
        packed = model[rows].astype(np.int64) << _BITS | stream[rows]
        distinct, first, inverse = np.unique(packed, return_index=True, return_inverse=True)
        numbers = np.empty(len(distinct), np.int32)
        for i in np.argsort(first).tolist():  # in the order of the log: with one stream too many, the first ones stay
            numbers[i] = self.add(int(distinct[i]) >> _BITS, int(distinct[i]) & ((1 << _BITS) - 1))
        own = np.zeros(len(stream), np.int32)
        own[rows] = numbers[inverse]
        refused = rows[own[rows] < 0]
        if len(refused):
            model = model.copy()
            model[refused] = NO_MODEL
        return model, own, refused.tolist()
