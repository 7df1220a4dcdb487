"""What the families of decisions share: conditions by stream and subject, and the steps of a closed window.

Each family is a state machine over its own ordered sequence of closed windows (or panes), so that its decisions depend on
those alone, and not on how far the other families happen to be (P2).
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

import msgspec

from schemas.alerts import Span
from schemas.identifiers import StreamKey, event_id
from streams.engine.alerts import Change, Condition, close, judge, name, rejecting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.alerts import Evidence, Family, Severity
    from schemas.config import Confirmation
    from streams.engine.plan import Model


class Book(msgspec.Struct):
    """The conditions of one family, by stream (``stream_text``) and subject; the incident that open alerts share, by version."""

    conditions: dict[str, dict[str, Condition]] = msgspec.field(default_factory=dict)
    incidents: dict[str, str] = msgspec.field(default_factory=dict)
    superseded: list[str] = msgspec.field(default_factory=list)

    def condition(self, stream: StreamKey, subject: str) -> Condition:
        """The condition of a cell, made when it is new."""
        return self.conditions.setdefault(stream_text(stream), {}).setdefault(subject, Condition())

    def of_version(self, whole: StreamKey) -> Iterator[Condition]:
        """The conditions of all traffic of a version and variant, and of its segments."""
        key = stream_text(whole)
        for text, subjects in self.conditions.items():
            if text == key or text.startswith(f"{key}\x1f"):
                yield from subjects.values()


def stream_text(stream: StreamKey) -> str:
    """A stream of a known model as one text."""
    whole = f"{stream.version}\x1f{stream.variant}"
    return f"{whole}\x1f{stream.segment}" if stream.segment else whole


def stream_of(model: str, text: str) -> StreamKey:
    """The stream of a model that `stream_text` was made of."""
    version, variant, *segment = text.split("\x1f", 2)
    return StreamKey(model, version, variant, *segment)


def who(stream: StreamKey) -> str:
    """A stream as a summary names it."""
    name = f"{stream.model} {stream.version}".strip()
    return f"{name} ({stream.segment})" if stream.segment else name


def decide(  # noqa: PLR0913  # all that a cell's decision is made of, once
    book: Book,
    model: Model,
    stream: StreamKey,
    family: Family,
    subject: str,
    *,
    rejected: bool,
    severity: Severity,
    window: tuple[int, int],
    time: int,
    confirm: Confirmation,
    evidence: Evidence,
    summary: str,
    since: int | None = None,
    revision: int = 1,
    may_open: bool = True,
) -> Change | None:
    """One decided cell: the change of its alert, if any, with ids, incident and sequence filled in."""
    condition = book.condition(stream, subject)
    cooldown = model.config.alerts.cooldown
    transition = judge(
        condition,
        rejected=rejected,
        severity=severity,
        window=window,
        confirm=confirm,
        cooldown=cooldown,
        may_open=may_open,
    )
    if transition is None:
        return None
    if transition == "opened":
        name(condition, stream, family, subject, model.decision, revision)
        whole = stream._replace(segment="")  # what hits a segment hits all traffic, a little: one incident
        key = stream_text(whole)
        if not any(c.open for c in book.of_version(whole) if c is not condition):
            book.incidents[key] = event_id("incident", *whole[:3], family, window[1], model.decision)
        condition.incident = book.incidents[key]
    condition.sequence += 1
    confirming = rejecting(condition)  # only now: before, this window was not among them
    evidence = msgspec.structs.replace(evidence, windows=[Span.of(*w) for w in confirming])
    if since is None:
        since = min((w[0] for w in confirming), default=window[0])
    # As it is now: the same look may go on to change it again before this is told (P3).
    return Change(transition, stream, family, subject, copy(condition), window, time, since, evidence, summary)


def supersede(book: Book, model: str, family: Family, version: str, time: int, evidence: Evidence) -> list[Change]:
    """A new version took over: the open alerts of all others resolve, and they are not judged any more."""
    changes = []
    for key, subjects in sorted(book.conditions.items()):
        stream = stream_of(model, key)
        old = stream.version
        if old == version:
            continue
        for subject, condition in sorted(subjects.items()):
            if condition.open:
                window = (condition.opened, max(time, condition.opened))
                close(condition, window[1])
                condition.sequence += 1
                summary = f"{who(stream)}: {subject} resolved, because version {version} took over"
                changes.append(
                    Change(
                        "resolved",
                        stream,
                        family,
                        subject,
                        copy(condition),
                        window,
                        window[1],
                        window[0],
                        evidence,
                        summary,
                        "superseded",
                    )
                )
        if old not in book.superseded:
            book.superseded.append(old)
    if version in book.superseded:
        book.superseded.remove(version)
    return changes
