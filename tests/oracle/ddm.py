"""DDM from its description: everything since the start is kept, and each statistic is computed from all of it."""

from __future__ import annotations

from math import sqrt


class SlowDdm:
    """All errors since the start or the latest alarm."""

    def __init__(self) -> None:
        self.errors: list[int] = []
        self.alarmed = False

    def update(self, error: int) -> bool:
        """Add an error or a right answer; return whether the error rate has risen."""
        if self.alarmed:
            self.errors = []
        self.errors.append(error)
        best = None
        for n in range(29, len(self.errors) + 1):
            p = sum(self.errors[:n]) / n
            s = sqrt(p * (1 - p) / n)
            if best is None or p + s <= sum(best) + 1e-12:
                best = (p, s)
        n = len(self.errors)
        p = sum(self.errors) / n
        s = sqrt(p * (1 - p) / n)
        self.alarmed = best is not None and n >= 30 and p + s > best[0] + 3 * best[1] + 1e-12
        return self.alarmed
