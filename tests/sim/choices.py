"""Where a simulation's chances come from: a seed, or a script that is walked through branch by branch."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


T = TypeVar("T")


class Choices(Protocol):
    """Every decision that a simulation leaves to chance is taken here, and nowhere else."""

    def pick(self, weights: Sequence[float]) -> int:
        """The place of one of several things that can happen; their weights are those of a dice."""
        ...


class Dice:
    """Chances from a seed: the same seed gives the same run."""

    def __init__(self, seed: object) -> None:
        """Begin at the seed."""
        self.random = Random(str(seed))

    def pick(self, weights: Sequence[float]) -> int:
        """By weight."""
        at = self.random.random() * sum(weights)
        for i, weight in enumerate(weights):
            at -= weight
            if at < 0:
                return i
        return len(weights) - 1

    def some(self, *values: T) -> T:
        """One of these."""
        return self.random.choice(values)


class Branch:
    """One path through the tree of all choices: a prefix that is given, then always the first."""

    def __init__(self, prefix: Sequence[int]) -> None:
        """Take these branches first."""
        self.taken = list(prefix)
        self.width: list[int] = []

    def pick(self, weights: Sequence[float]) -> int:
        """The next of the prefix; weights say nothing here."""
        depth = len(self.width)
        self.width.append(len(weights))
        if depth == len(self.taken):
            self.taken.append(0)
        return self.taken[depth]


def branches() -> Iterator[Branch]:
    """Every path through the tree, depth first. Each must be walked to its end before the next is asked for."""
    prefix: list[int] = []
    while True:
        branch = Branch(prefix)
        yield branch
        prefix = branch.taken
        while prefix and prefix[-1] + 1 == branch.width[len(prefix) - 1]:
            prefix.pop()
        if not prefix:
            return
        prefix[-1] += 1
