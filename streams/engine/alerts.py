"""The life of an alert: pending, open, escalated, resolved. One alert per condition, never one per window.

A condition is one cell of one family: a stream and a subject. It opens when ``needed`` of its last ``among`` decided windows
rejected (confirmation on disjoint windows), escalates when its severity rises above any it had, resolves when none of the last
``among`` rejected, and does not open again within the cool-down. Windows with too few events decide nothing and change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from schemas.alerts import Severity  # noqa: TC001  # msgspec reads the annotation when it decodes the state
from schemas.identifiers import StreamKey, alert_id

if TYPE_CHECKING:
    from schemas.alerts import Evidence, Family
    from schemas.config import Confirmation
    from schemas.identifiers import Transition

_RANK = {"info": 0, "warning": 1, "critical": 2}
NOT_YET = -(1 << 62)


class Condition(msgspec.Struct):
    """What is remembered of one condition. Times are ends of windows, ms."""

    history: list[int] = msgspec.field(default_factory=list)
    windows: list[tuple[int, int]] = msgspec.field(default_factory=list)
    open: bool = False
    alert_id: str = ""
    incident: str = ""
    severity: Severity = "info"
    sequence: int = 0
    opened: int = NOT_YET
    resolved: int = NOT_YET


@dataclass(frozen=True, slots=True)
class Change:
    """One transition of one alert, decided at ``time`` (ms). ``since`` is where the change is thought to begin.

    ``condition`` as the transition left it.
    """

    transition: Transition
    stream: StreamKey
    family: Family
    subject: str
    condition: Condition
    window: tuple[int, int]
    time: int
    since: int
    evidence: Evidence
    summary: str
    reason: Literal["", "superseded"] = ""


def judge(
    condition: Condition,
    *,
    rejected: bool,
    severity: Severity,
    window: tuple[int, int],
    confirm: Confirmation,
    cooldown: int,
    may_open: bool = True,
) -> Transition | None:
    """Take one decided window into account; says what happens to the alert. Ids and sequences are the caller's.

    With ``may_open`` False the window counts, and opens nothing.
    """
    condition.history = [*condition.history, int(rejected)][-confirm.among :]
    condition.windows = [*condition.windows, window][-confirm.among :]
    if condition.open:
        if rejected and _RANK[severity] > _RANK[condition.severity]:
            condition.severity = severity
            return "escalated"
        if not any(condition.history) and len(condition.history) == confirm.among:
            close(condition, window[1])
            return "resolved"
        return None
    if (
        may_open
        and rejected
        and sum(condition.history) >= confirm.needed
        and window[1] >= condition.resolved + cooldown
    ):
        condition.open, condition.severity, condition.opened = True, severity, window[1]
        return "opened"
    return None


def close(condition: Condition, time: int) -> None:
    """Close the alert of a condition."""
    condition.open, condition.resolved, condition.history, condition.windows = False, time, [], []


def name(condition: Condition, stream: StreamKey, family: Family, subject: str, epoch: str, revision: int = 1) -> None:
    """Give an alert that just opened its id: the hash of what it is about and of the evaluation of the window that opened it."""
    condition.alert_id = alert_id(
        stream, kind=family, subject=subject, window_end_ms=condition.opened, epoch=epoch, revision=revision
    )
    condition.sequence = 0


def rejecting(condition: Condition) -> list[tuple[int, int]]:
    """The windows that confirmed it."""
    return [w for w, rejected in zip(condition.windows, condition.history, strict=True) if rejected]
