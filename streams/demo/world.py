"""The world of the demo: people apply for loans, clerks decide some minutes later, and twice something changes.

The applications are river's `synth.Agrawal` (Agrawal, Imielinski & Swami 1993). Two things can be changed apart from each other:

- the *population*: applicants are drawn and some do not apply. What a clerk decides about those who do stays as it was,
  because who stays away depends on the features alone;
- the *rule* that the clerks follow: another classification function of the generator.

Everything comes from seeds; time is event time, in ms.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from river.datasets import synth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Features = dict[str, float | int | str]

MINUTE: Final = 60_000
"""In milliseconds."""
PER_MINUTE: Final = 200
"""Applications a minute: 1,000 in a window of five, and the whole story stays within what the embedded Kafka keeps."""
SHIFT_MINUTE: Final = 40
"""When other people begin to apply: after eight windows without anything to report."""
RULE_MINUTE: Final = 80
"""When the clerks begin to follow another rule: long after the shift must have been noticed."""
END_MINUTE: Final = 165
"""When the story ends: the new version has then been at work long enough for windows with mature labels."""
SHIFTED: Final = frozenset({"loan", "hyears"})
"""The features that the shift changes; all others are independent of them."""
APPROVE, DECLINE = "approve", "decline"
"""What a clerk decides; the generator's group A (which river calls 1), and B."""
LABEL_DELAY_MS: Final = (3 * MINUTE, 8 * MINUTE)
"""A clerk needs between three and eight minutes."""

_OLD_RULE, _NEW_RULE = 0, 2
"""Functions of the generator: by age; by age and education. Neither looks at what the shift changes."""
_NOISE = 0.05
"""The generator blurs its numbers by this share of their range: nobody can decide everything right."""
_STAYS_AWAY = 0.6
"""The share of small loans, and of people who have owned their house for long, that the shift keeps away."""
_SMALL_LOAN, _LONG_YEARS = 150_000, 20
_CODES = ("elevel", "car", "zipcode")
"""Features that are codes, whatever the generator writes them as."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the story: from ``begin_minute`` on, who applies and which rule decides."""

    title: str
    begin_minute: int
    shifted: bool
    rule: int


PHASES: Final = (
    Phase("business as usual", 0, shifted=False, rule=_OLD_RULE),
    Phase("other people apply", SHIFT_MINUTE, shifted=True, rule=_OLD_RULE),
    Phase("the rule itself changes", RULE_MINUTE, shifted=True, rule=_NEW_RULE),
)
"""The story."""


@dataclass(frozen=True, slots=True)
class Application:
    """One application: when it came, what was known, what the clerk decided, and when that became known."""

    number: int
    at_ms: int
    features: Features
    decision: str
    decided_ms: int


class World:
    """The applications of the story, in order. ``begin_ms`` is minute 0."""

    def __init__(self, begin_ms: int, seed: int = 7) -> None:
        """Equal seeds give equal worlds."""
        self.begin_ms = begin_ms
        self._sources = [applicants(p, seed + 10 * i) for i, p in enumerate(PHASES)]
        self._delays = random.Random(seed)  # noqa: S311  # made-up data needs no cryptography
        self._number = 0

    def minutes(self, first: int, last: int) -> Iterator[Application]:
        """The applications from minute ``first`` (in) to ``last`` (out); to be asked for in order."""
        for minute in range(first, last):
            source = self._sources[phase_number(minute)]
            for i in range(PER_MINUTE):
                at = self.begin_ms + minute * MINUTE + i * MINUTE // PER_MINUTE
                features, decision = next(source)
                yield Application(self._number, at, features, decision, at + self._delays.randint(*LABEL_DELAY_MS))
                self._number += 1


def phase_number(minute: int) -> int:
    """The index in ``PHASES`` of the phase that a minute lies in."""
    return max(i for i, p in enumerate(PHASES) if p.begin_minute <= minute)


def history(rows: int, seed: int = 3) -> list[tuple[Features, str]]:
    """Decided applications from before the story: what the first version was trained and judged on."""
    source = applicants(PHASES[0], seed)
    return [next(source) for _ in range(rows)]


def applicants(phase: Phase, seed: int) -> Iterator[tuple[Features, str]]:
    """Endlessly: the features of an applicant of a phase, and what a clerk decides."""
    generator = synth.Agrawal(classification_function=phase.rule, seed=seed, perturbation=_NOISE)
    chance = random.Random(seed + 1)  # noqa: S311  # made-up data needs no cryptography
    applies: Callable[[Features], bool] = (lambda f: _applies(f, chance)) if phase.shifted else (lambda _: True)
    for raw, group in generator:
        if applies(raw):
            codes = {name: f"{name}-{raw[name]}" for name in _CODES}
            yield {**raw, **codes}, APPROVE if group == 1 else DECLINE


def _applies(features: Features, chance: random.Random) -> bool:
    """Whether somebody applies after the shift: a campaign for large loans, in quarters with new houses."""
    reasons = (float(features["loan"]) < _SMALL_LOAN) + (float(features["hyears"]) > _LONG_YEARS)
    return chance.random() < (1 - _STAYS_AWAY) ** reasons
