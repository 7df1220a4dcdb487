"""Which records a training range names: the offsets of the windows that an evaluator has read, by topic and partition.

Only what the cursors have passed is kept here, so a request names the same records whenever it is published (P2, P3). Those of
predictions come with the windows of drift; those of labels stand in cells of their own, by label time: of the labels that name
the model, and of those that name none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.engine.store import EVERY, LABELS
from streams.engine.windows import closed_windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.engine.plan import Model
    from streams.engine.store import Store
    from streams.engine.windows import Window

Ranges = dict[str, list[tuple[int, int, dict[int, tuple[int, int]]]]]
"""By "predictions" and "labels": start and end of each window (ms, ascending), and its lowest and highest offset by partition."""

_COUNTED = 256
"""Windows before a request whose offsets its training range may name."""
_MOST = 4 * _COUNTED
"""Windows whose offsets are kept at most, where labels, and with them the policy, are far behind the predictions."""


def remember(ranges: Ranges, kind: str, window: Window, length: int, through: int) -> None:
    """Keep the offsets of a window (of a pane: of the window of ``length`` ms it lies in), and forget the oldest ones.

    Windows of a kind come in ascending order; ``through`` is how far the policy is, ms.
    """
    start = window.start // length * length
    of_kind = ranges.setdefault(kind, [])
    if of_kind and of_kind[-1][0] == start:
        merged = dict(of_kind[-1][2])
        for task, span in window.offsets.items():
            merged[task] = _wider(merged.get(task, span), span)
        of_kind[-1] = (start, start + length, merged)
    else:
        of_kind.append((start, start + length, dict(window.offsets)))
    oldest = through - _COUNTED * length
    passed = sum(end <= oldest for _, end, _ in of_kind)
    del of_kind[: max(passed, len(of_kind) - _MOST)]


def label_panes(store: Store, shards: Sequence[str], model: Model, since: int, until: int) -> list[Window]:
    """The panes with the offsets of a model's labels in [since, until), ascending."""
    found: list[Window] = []
    for name in (model.name, EVERY):
        first = since
        while panes := list(closed_windows(store, shards, LABELS, name, first, until, model.pane)):
            found += panes
            first = panes[-1].end
    return sorted(found, key=lambda pane: pane.start)


def offsets(ranges: Ranges, kind: str, since: int, until: int, length: int) -> dict[str, tuple[int, int]]:
    """The lowest and highest offset by partition of the remembered windows that touch [since, until).

    Windows further back than ``_COUNTED`` never count: how many of them are still kept depends on when it is asked.
    """
    since = max(since, until - _COUNTED * length)
    found: dict[int, tuple[int, int]] = {}
    for start, end, by_task in ranges.get(kind, []):
        if start < until and end > since:
            for task, span in by_task.items():
                found[task] = _wider(found.get(task, span), span)
    return {str(task): span for task, span in sorted(found.items())}


def _wider(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return min(one[0], other[0]), max(one[1], other[1])
