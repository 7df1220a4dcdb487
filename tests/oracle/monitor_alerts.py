"""The life of alerts, from what the windows of one model decided: written again from DESIGN sections 3, 6 and 7.

A condition is what one family says about one subject of one stream. It opens when enough of its last decided windows rejected,
escalates when it becomes worse than it ever was, and resolves when none of the last windows rejected.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from schemas.identifiers import StreamKey, alert_id, event_id, transition_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.identifiers import Transition

SEVERITIES = ("info", "warning", "critical")


@dataclass(frozen=True)
class Decision:
    """What a family found in one window of one subject: that it rejects, or that it does not."""

    stream: StreamKey
    family: str
    subject: str
    rejected: bool
    severity: str
    window: tuple[int, int]
    time: int
    needed: int
    among: int
    evidence: Mapping[str, Any]
    since: int | None = None
    revision: int = 1
    may_open: bool = True


@dataclass(frozen=True)
class Event:
    """One transition of one alert, as far as the oracle knows it."""

    id: str
    alert_id: str
    transition: str
    decision: Decision
    severity: str
    incident: str
    sequence: int
    confirmed_by: tuple[tuple[int, int], ...]
    since: int


@dataclass
class Condition:
    """What is known of one condition."""

    decided: list[tuple[tuple[int, int], bool]] = field(default_factory=list)
    open: bool = False
    alert_id: str = ""
    incident: str = ""
    severity: str = "info"
    sequence: int = 0
    resolved: int | None = None


@dataclass
class Life:
    """All conditions of one family of one model."""

    epoch: str
    cooldown: int
    conditions: dict[tuple[StreamKey, str], Condition] = field(default_factory=dict)
    incidents: dict[tuple[str, ...], str] = field(default_factory=dict)

    def known(self, stream: StreamKey, subject: str) -> bool:
        """Whether anything was ever decided about a subject."""
        return (stream, subject) in self.conditions

    def is_open(self, stream: StreamKey, subject: str) -> bool:
        """Whether an alert about a subject is open."""
        return self.known(stream, subject) and self.conditions[stream, subject].open

    def decide(self, d: Decision) -> Event | None:
        """Take a decision; returns what is to be told about it."""
        whole = tuple(d.stream[:3])  # what hits a segment hits all traffic, a little: one incident
        others_open = any(c.open for (stream, _), c in self.conditions.items() if stream[:3] == whole)
        condition = self.conditions.setdefault((d.stream, d.subject), Condition())
        condition.decided.append((d.window, d.rejected))
        last = condition.decided[-d.among :]
        rejecting = tuple(window for window, rejected in last if rejected)
        end = d.window[1]
        if not condition.open:
            quiet = condition.resolved is None or end >= condition.resolved + self.cooldown
            if not (d.may_open and d.rejected and len(rejecting) >= d.needed and quiet):
                return None
            condition.open, condition.severity, condition.sequence = True, d.severity, 1
            condition.alert_id = alert_id(
                d.stream,
                kind=d.family,
                subject=d.subject,
                window_end_ms=end,
                epoch=self.epoch,
                revision=d.revision,
            )
            if not others_open:
                self.incidents[whole] = event_id("incident", *whole, d.family, end, self.epoch)
            condition.incident = self.incidents[whole]
            return self._event("opened", condition, d, rejecting)
        if d.rejected and SEVERITIES.index(d.severity) > SEVERITIES.index(condition.severity):
            condition.severity = d.severity
            condition.sequence += 1
            return self._event("escalated", condition, d, rejecting)
        if len(last) == d.among and not rejecting:
            condition.open, condition.resolved, condition.decided = False, end, []
            condition.sequence += 1
            return self._event("resolved", condition, d, ())
        return None

    def _event(
        self, transition: Transition, condition: Condition, d: Decision, confirmed_by: tuple[tuple[int, int], ...]
    ) -> Event:
        since = d.since if d.since is not None else min((w[0] for w in confirmed_by), default=d.window[0])
        return Event(
            transition_id(condition.alert_id, transition, window_end_ms=d.time, revision=condition.sequence),
            condition.alert_id,
            transition,
            d,
            condition.severity,
            condition.incident,
            condition.sequence,
            confirmed_by,
            since,
        )
