"""When a new version is asked for: the policy of DESIGN section 4 and 6, over the whole history of one model at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from schemas.identifiers import event_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.oracle.monitor_alerts import Event
    from tests.oracle.monitor_families import Watched

DAY = 86_400_000


@dataclass(frozen=True)
class Request:
    """What is published about a request: ``verb`` is proposed, requested or cancelled."""

    id: str
    verb: str
    key: str
    time: int
    expires: int
    alerts: tuple[str, ...]
    since: int
    decided: int
    labels: int
    sequence: int
    incident: str


def requests(model: Watched, events: Sequence[Event], ticks: Sequence[tuple[int, int]], through: int) -> list[Request]:
    """Everything that is asked for up to ``through``.

    ``events`` are those of all families; ``ticks`` say how many labels each pane of arrivals had, by the pane's end.
    """
    rules = model.config.retrain
    if rules is None:
        return []
    steps: list[tuple[int, int, str, Event | int]] = [
        (e.decision.time, 0, e.alert_id, e)
        for e in events
        if e.decision.family in rules.on and e.transition != "escalated"
    ]
    steps += [(end, 1, "", labels) for end, labels in ticks]
    found: list[Request] = []
    active: list[Event] = []
    arrived: list[tuple[int, int]] = []
    decided: list[int] = []
    flight: Request | None = None
    for time, _, _, what in sorted((s for s in steps if s[0] <= through), key=lambda s: s[:3]):
        if isinstance(what, int):
            arrived.append((time, what))
        elif what.transition == "opened":
            active.append(what)
        else:
            active = [e for e in active if e.alert_id != what.alert_id]
        if flight is not None and time >= flight.expires:
            key = event_id("retrain-event", flight.key, "cancelled")
            found.append(replace(flight, id=key, verb="cancelled", time=flight.expires, sequence=2))
            flight = None
        if flight is not None or not active:
            continue
        today = [t for t in decided if t > time - DAY]
        if len(today) >= rules.max_per_day or (decided and time < decided[-1] + rules.cooldown):
            continue
        since = min(e.since for e in active)
        labels = sum(n for end, n in arrived if end > since)
        if labels < rules.min_labels:
            continue
        causes = sorted(active, key=lambda e: (e.decision.time, e.alert_id))
        alerts = tuple(e.alert_id for e in causes)
        key = event_id("retrain", model.name, model.epoch, time, *alerts)
        verb = "proposed" if rules.approval == "required" else "requested"
        flight = Request(
            event_id("retrain-event", key, verb),
            verb,
            key,
            time,
            time + rules.expires,
            alerts,
            since,
            time,
            labels,
            1,
            causes[0].incident,
        )
        found.append(flight)
        decided.append(time)
    return found
