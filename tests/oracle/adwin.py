"""ADWIN from its description, slow and obvious: every bucket keeps its raw values, and all is computed from them.

Buckets are lists of values, oldest first, each with the number of updates it stands for. After an update, while six
buckets stand for the same number of updates, the two oldest of them become one (smallest first). At every multiple of
32 elements, every boundary between buckets is tried, oldest first, with more than six elements on each side; on a cut
the oldest bucket goes and the scan starts again.
"""

from __future__ import annotations

from math import fsum, log, sqrt


class SlowAdwin:
    """One list of values per bucket."""

    def __init__(self, delta: float) -> None:
        self.delta = delta
        self.buckets: list[tuple[int, list[float]]] = []
        self.time = 0

    @property
    def values(self) -> list[float]:
        """Return the window's values, oldest first."""
        return [v for _, bucket in self.buckets for v in bucket]

    def update(self, pane: list[float]) -> bool:
        """Add a bucket of values; return whether the mean has changed."""
        self.buckets.append((1, pane))
        self._merge()
        before, self.time = self.time, self.time + len(pane)
        due = any(moment % 32 == 0 for moment in range(before + 1, self.time + 1))
        changed = False
        while due and len(self.values) > 10 and self._has_cut():
            self.buckets.pop(0)
            changed = True
        return changed

    def _merge(self) -> None:
        weight = 1
        while True:
            same = [i for i, (w, _) in enumerate(self.buckets) if w == weight]
            if len(same) < 6:
                return
            first, second = same[:2]
            assert second == first + 1
            self.buckets[first : second + 1] = [(2 * weight, self.buckets[first][1] + self.buckets[second][1])]
            weight *= 2

    def _has_cut(self) -> bool:
        values = self.values
        n = len(values)
        mean = fsum(values) / n
        variance = fsum((v - mean) ** 2 for v in values) / n
        d = log(2 * log(n) / self.delta)
        n0 = 0
        for _, bucket in self.buckets[:-1]:
            n0 += len(bucket)
            n1 = n - n0
            if n0 <= 6 or n1 <= 6:
                continue
            gap = abs(fsum(values[:n0]) / n0 - fsum(values[n0:]) / n1)
            m = 1 / (n0 - 5 + 1) + 1 / (n1 - 5 + 1)
            if gap > sqrt(2 * m * variance * d) + 2 / 3 * d * m:
                return True
        return False
