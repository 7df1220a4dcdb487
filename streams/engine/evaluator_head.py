"""The small state of an evaluator, as it is written with every commit, and what other programs read of it."""

from __future__ import annotations

import msgspec

from schemas.alerts import Family  # noqa: TC001  # msgspec reads the annotations below
from streams.engine.families import Book
from streams.engine.kernels.clock import NEVER
from streams.engine.labels_family import Labels
from streams.engine.performance_family import Coverage, Final
from streams.engine.presence_family import Presence
from streams.engine.proxy_family import Proxies
from streams.engine.retrain import Policy
from streams.engine.sequential_family import Series  # noqa: TC001  # msgspec reads it from the annotation
from streams.engine.training_ranges import Ranges  # noqa: TC001  # as above

HEAD = b"eval"
"""The kind of an evaluator's snapshot."""
UNSET = -1


class Cursors(msgspec.Struct, array_like=True):
    """How far each family is: every window (or pane) that starts before it is decided. The policy's is a time."""

    drift: int = UNSET
    performance: int = UNSET
    sequential: int = UNSET
    retrain: int = NEVER
    final: int = UNSET
    """Of revision 2 of performance, a horizon behind."""

    def numbers(self) -> tuple[int, int, int, int, int]:
        """The cursors as the journal has them."""
        return self.drift, self.performance, self.sequential, self.retrain, self.final


class EvaluatorHead(msgspec.Struct):
    """The state of an evaluator."""

    cursors: Cursors = msgspec.field(default_factory=Cursors)
    drift: Book = msgspec.field(default_factory=Book)
    recent: dict[int, int] = msgspec.field(default_factory=dict)
    quality: Book = msgspec.field(default_factory=Book)
    performance: Book = msgspec.field(default_factory=Book)
    final: Final = msgspec.field(default_factory=Final)
    coverage: dict[str, Coverage] = msgspec.field(default_factory=dict)
    sequential: Book = msgspec.field(default_factory=Book)
    series: dict[str, Series] = msgspec.field(default_factory=dict)
    proxies: Proxies = msgspec.field(default_factory=Proxies)
    presence: Presence = msgspec.field(default_factory=Presence)
    labels: Labels = msgspec.field(default_factory=Labels)
    policy: Policy = msgspec.field(default_factory=Policy)
    ranges: Ranges = msgspec.field(default_factory=dict)
    labels_through: int = UNSET
    control: dict[int, int] = msgspec.field(default_factory=dict)
    next_event: int = 0
    kept_from: int = 0
    kept_performance_from: int = 0
    windows: int = 0
    alerts: dict[str, int] = msgspec.field(default_factory=dict)
    times: dict[str, int] = msgspec.field(default_factory=dict)

    def books(self) -> tuple[tuple[Family, Book], ...]:
        """Every book whose alerts are published, with its family: one for each ordered sequence of decisions (P2)."""
        return (
            ("drift", self.drift),
            ("quality", self.quality),
            ("performance", self.performance),
            ("performance", self.final.book),
            ("sequential", self.sequential),
            ("proxy", self.proxies.book),
            ("proxy", self.proxies.calibration),
            ("service", self.presence.book),
            ("labels", self.labels.presence.book),
            ("labels", self.labels.mature),
        )
