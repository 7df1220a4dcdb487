"""The streams that one task has met, numbered in the order of its own log, and the cohorts of rows that count in the same ones.

The decoder numbers the versions and variants of a whole process; a task has numbers of its own, so that its state and its
bounds depend on its partition's log alone, not on who else shares the process (P2, P6). A *stream* is a version and variant,
all of its traffic or one segment of it. A *cohort* is one combination of streams: that of all traffic, and one of each
definition of segments. A row has one cohort, and counts once in each of its streams; where a model has no segments, cohort
and stream are the same number.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from schemas.errors import RESTORE, StateCorrupt
from schemas.identifiers import segment_values
from streams.engine.columns import NO_MODEL
from streams.engine.segments import MISSING, OTHER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from streams.engine.columns import SegmentRows
    from streams.engine.plan import Plan
    from streams.engine.segments import Definition
    from streams.engine.shape import Shape

MAX_STREAMS = 250
"""Versions x variants of one model that one task follows: more is a producer's mistake (a timestamp as the version)."""
MAX_SEGMENT_STREAMS = 4096
"""Segments of all versions and variants of one model that one task follows; later ones count as ``other``. A pane holds a vector
of each, and the task's head the name of each: 180 KB a commit."""
MAX_COHORTS = 65_000
"""Cohorts of one model that one task tells apart: the join remembers them in 16 bits. A row of a later one counts as ``other`` in
every definition."""
_BITS = 24
_CACHED = 1 << 16
"""Combinations of values that are looked up at once; beyond, all are forgotten and found again."""
_WIDEST = 1 << 62


class TaskStreams:
    """Per model m: ``names[m][s]`` is the (version, variant, segment) of the task's stream s, ``shapes[m][s]`` its reference's layout.

    ``members[m][c]`` are the streams of cohort c, all traffic first.
    """

    def __init__(self, plan: Plan) -> None:
        """No streams yet."""
        self._models = plan.models
        n = len(plan.models)
        self._base: list[dict[int, int]] = [{} for _ in range(n)]
        self._number: list[dict[tuple[str, str, str], int]] = [{} for _ in range(n)]
        self._cohort: list[dict[tuple[int, ...], int]] = [{} for _ in range(n)]
        self._found: list[dict[tuple[int, tuple[str, ...]], int]] = [{} for _ in range(n)]
        self._followed: list[list[set[tuple[str, ...]]]] = [
            [set() for _ in m.segments.definitions] for m in plan.models
        ]
        self._segments = [0] * n
        self._packed: list[bytes | None] = [None] * n
        self._whole: list[list[int]] = [[] for _ in range(n)]
        self._table = [np.zeros((2, 0), np.int64) for _ in range(n)]
        self.names: list[list[tuple[str, str, str]]] = [[] for _ in range(n)]
        self.shapes: list[list[Shape]] = [[] for _ in range(n)]
        self.members: list[list[tuple[int, ...]]] = [[] for _ in range(n)]

    def add(self, m: int, stream: int) -> int:
        """The task's number for all traffic of a stream of the process, given when it is new; -1 beyond ``MAX_STREAMS``."""
        number = self._base[m].get(stream)
        if number is None:
            if len(self._base[m]) >= MAX_STREAMS:
                return -1
            model = self._models[m]
            version, variant = model.stream_names[stream]
            number = self._base[m][stream] = self._new(m, (version, variant, ""), model.stream_shapes[stream])
        return number

    def _new(self, m: int, name: tuple[str, str, str], shape: Shape) -> int:
        number = self._number[m][name] = len(self.names[m])
        self.names[m].append(name)
        self.shapes[m].append(shape)
        if not name[2]:
            self._whole[m].append(number)
        return number

    def number(self, m: int, name: tuple[str, str, str]) -> int:
        """The number of a stream that the task has met. Raises ValueError when it has not."""
        if name not in self._number[m]:
            message = f"no stream {name!r}"
            raise ValueError(message)
        return self._number[m][name]

    def bases(self, m: int, cohort: NDArray[np.int64]) -> NDArray[np.int64]:
        """The streams of all traffic that cohorts count in."""
        found: NDArray[np.int64] = self._lookup(m)[0, cohort]
        return found

    def _lookup(self, m: int) -> NDArray[np.int64]:
        """Of each cohort: its stream of all traffic, and which of these that is."""
        table = self._table[m]
        if table.shape[1] < len(self.members[m]):
            place = {s: i for i, s in enumerate(self._whole[m])}
            rows = [(ours[0], place[ours[0]]) for ours in self.members[m]]
            table = self._table[m] = np.array(rows, np.int64).reshape(-1, 2).T.copy()
        return table

    def remembered(
        self, model: NDArray[np.int32], cohort: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """How the join remembers rows: by which of the versions and variants (below ``MAX_STREAMS``), and by cohort + 1.

        The latter is 0, which costs nothing, for models without segments.
        """
        if not any(self._segments):
            return cohort, np.zeros(len(cohort), np.int32)
        which, number = cohort.copy(), np.zeros(len(cohort), np.int32)
        for m in np.flatnonzero(self._segments).tolist():
            mine = np.flatnonzero(model == m)
            which[mine] = self._lookup(m)[1, cohort[mine]]
            number[mine] = cohort[mine] + 1
        return which, number

    def recalled(self, m: int, which: NDArray[np.int64], number: NDArray[np.int64]) -> NDArray[np.int64]:
        """The cohorts of rows as the join remembered them (``remembered``)."""
        if not self._segments[m]:
            return which
        plain = np.array([self._cohort[m].get((s,), -1) for s in self._whole[m]], np.int64)
        return np.where(number > 0, number - 1, plain[which])

    # -- rows ---------------------------------------------------------------------------------------------------------

    def admit(
        self,
        model: NDArray[np.int32],
        stream: NDArray[np.int32],
        segments: Mapping[int, SegmentRows] | None = None,
        first: int = 0,
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], list[int]]:
        """Number the rows of a batch that begin with its row ``first``; returns (model, cohort, rows refused).

        Refused rows belong to no model any more.
        """
        cohort = np.zeros(len(stream), np.int32)
        of_segments = segments or {}
        plain = model >= 0
        for m, found in of_segments.items():
            low, high = np.searchsorted(found.rows, (first, first + len(model)))
            rows = found.rows[low:high] - first
            codes = found.codes[:, low:high]
            plain[rows] = False
            if len(rows):
                cohort[rows] = self._of_segments(m, stream[rows].astype(np.int64), codes, found.texts)
        rows = np.flatnonzero(plain)
        if len(rows):
            packed = model[rows].astype(np.int64) << _BITS | stream[rows]
            distinct, at, inverse = np.unique(packed, return_index=True, return_inverse=True)
            numbers = np.empty(len(distinct), np.int32)
            for i in np.argsort(at).tolist():  # in the order of the log: with one stream too many, the first ones stay
                numbers[i] = self._cohort_of(int(distinct[i]) >> _BITS, int(distinct[i]) & ((1 << _BITS) - 1), ())
            cohort[rows] = numbers[inverse]
        refused = np.flatnonzero((model >= 0) & (cohort < 0))
        if len(refused):
            model = model.copy()
            model[refused] = NO_MODEL
        return model, cohort, refused.tolist()

    def _of_segments(
        self, m: int, stream: NDArray[np.int64], codes: NDArray[np.int64], texts: Sequence[str]
    ) -> NDArray[np.int32]:
        key, bound = stream, 1 << _BITS
        for row in codes:
            if bound * len(texts) >= _WIDEST:
                distinct, key = np.unique(key, return_inverse=True)
                bound = len(distinct)
            key = key * len(texts) + row
            bound *= len(texts)
        _, at, inverse = np.unique(key, return_index=True, return_inverse=True)
        numbers = np.empty(len(at), np.int32)
        for i in np.argsort(at).tolist():
            row = int(at[i])
            numbers[i] = self._cohort_of(m, int(stream[row]), tuple(texts[c] for c in codes[:, row].tolist()))
        return numbers[inverse]

    def _cohort_of(self, m: int, stream: int, values: tuple[str, ...]) -> int:
        """The cohort of a stream of the process with these values of the model's names; -1 beyond ``MAX_STREAMS``."""
        known = self._found[m]
        cohort = known.get((stream, values))
        if cohort is None:
            base = self.add(m, stream)
            if base < 0:
                return -1
            definitions = self._models[m].segments.definitions
            ours = (base, *(self._segment(m, base, i, d, values) for i, d in enumerate(definitions)))
            cohort = self._cohort[m].get(ours)
            if cohort is None and len(self.members[m]) >= MAX_COHORTS:
                ours = (base, *(self._stream(m, base, d.other) for d in definitions))
                cohort = self._cohort[m].get(ours)
            if cohort is None:
                cohort = self._number_cohort(m, ours)
            if len(known) >= _CACHED:
                known.clear()
            known[stream, values] = cohort
        return cohort

    def _number_cohort(self, m: int, ours: tuple[int, ...]) -> int:
        cohort = self._cohort[m][ours] = len(self.members[m])
        self.members[m].append(ours)
        self._packed[m] = None
        return cohort

    def _segment(self, m: int, base: int, i: int, definition: Definition, values: tuple[str, ...]) -> int:
        """The stream of a definition that values count in."""
        parts = tuple(values[k] for k in definition.at)
        if MISSING in parts:
            return self._stream(m, base, definition.missing)
        followed = self._followed[m][i]
        if definition.known is not None:
            follows = parts in definition.known
        else:
            follows = OTHER not in parts and (parts in followed or len(followed) < definition.most)
        text = definition.text(parts)
        name = (*self.names[m][base][:2], text)
        if not follows or (name not in self._number[m] and self._segments[m] >= MAX_SEGMENT_STREAMS):
            return self._stream(m, base, definition.other)
        followed.add(parts)
        return self._stream(m, base, text)

    def _stream(self, m: int, base: int, segment: str) -> int:
        version, variant, _ = self.names[m][base]
        number = self._number[m].get((version, variant, segment))
        if number is None:
            number = self._new(m, (version, variant, segment), self.shapes[m][base])
            self._segments[m] += 1
        return number

    # -- state --------------------------------------------------------------------------------------------------------

    def cohorts(self, m: int) -> bytes:
        """The cohorts as the head keeps them; empty where every cohort is the stream of its number."""
        packed = self._packed[m]
        if packed is None:
            plain = all(ours == (c,) for c, ours in enumerate(self.members[m]))
            packed = self._packed[m] = b"" if plain else zlib.compress(msgspec.msgpack.encode(self.members[m]), 1)
        return packed

    def load(
        self, m: int, names: Sequence[tuple[str, str, str]], streams: Sequence[int], cohorts: bytes, where: str
    ) -> None:
        """Number streams and cohorts as they were; ``streams`` are the process's numbers of the streams, by version and variant.

        Raises StateCorrupt when the cohorts are none of these streams.
        """
        model = self._models[m]
        for name, stream in zip(names, streams, strict=True):
            number = self._new(m, name, model.stream_shapes[stream])
            if name[2]:
                self._segments[m] += 1
                self._follow(m, name[2])
            else:
                self._base[m][stream] = number
        try:
            members = (
                msgspec.msgpack.decode(zlib.decompress(cohorts), type=list[tuple[int, ...]])
                if cohorts
                else [(s,) for s in range(len(names))]
            )
        except (zlib.error, msgspec.MsgspecError) as error:
            raise StateCorrupt(f"{where}: the cohorts of {model.name!r}: {error}", RESTORE) from error
        if any(not ours or not 0 <= min(ours) <= max(ours) < len(names) for ours in members):
            raise StateCorrupt(f"{where}: a cohort of {model.name!r} counts in a stream that is not there", RESTORE)
        for ours in members:
            self._number_cohort(m, ours)

    def _follow(self, m: int, segment: str) -> None:
        """Values that were followed in the order of their coming go on being followed."""
        said = segment_values(segment)
        for i, definition in enumerate(self._models[m].segments.definitions):
            parts = tuple(said.values())
            if tuple(said) == definition.names and not {MISSING, OTHER} & set(parts):
                self._followed[m][i].add(parts)
