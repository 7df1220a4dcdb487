"""When to ask for a new version: a policy over what the families decided, in event time.

The policy sees one merged sequence, ordered by time: changes of alerts of the families in ``retrain.on``, and ticks (a closed
arrival pane with its number of labelled predictions). It looks only as far as every one of these has been decided, so the
request does not depend on which of them was worked out first (P2). One request per model is in flight.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Literal

import msgspec

from schemas.config import ModelConfig
from schemas.identifiers import event_id
from streams.engine.alerts import NOT_YET

if TYPE_CHECKING:
    from streams.engine.alerts import Change
    from streams.engine.plan import Model

_DAY = 86_400_000
_TICKS = 4096
"""Ticks that are remembered to count the labels since a change that is detected later than it began."""


class Cause(msgspec.Struct):
    """One alert that was opened, or resolved, as the policy sees it."""

    time: int
    opened: bool
    alert_id: str
    incident: str
    version: str
    variant: str
    reference_hash: str
    family: str
    since: int
    n: int
    statistic: str
    value: float | None
    summary: str


class Tick(msgspec.Struct):
    """Labels that arrived in one pane; ``time`` is its end."""

    time: int
    labels: int


class Request(msgspec.Struct):
    """A request in flight. ``offsets`` of its training range, by topic and partition, are those of when it was decided."""

    key: str
    state: Literal["proposed", "requested", "started"]
    expires: int
    causes: list[Cause]
    since: int
    decided: int
    labels: int
    sequence: int = 1
    offsets: dict[str, dict[str, tuple[int, int]]] = msgspec.field(default_factory=dict)


class Policy(msgspec.Struct):
    """The state of one model's retrain policy. Times in ms of event time."""

    queue: list[Cause] = msgspec.field(default_factory=list)
    ticks: list[Tick] = msgspec.field(default_factory=list)
    seen: list[Tick] = msgspec.field(default_factory=list)
    active: list[Cause] = msgspec.field(default_factory=list)
    flight: Request | None = None
    expired: Request | None = None
    decided: list[int] = msgspec.field(default_factory=list)
    through: int = NOT_YET


def take(policy: Policy, model: Model, changes: list[Change]) -> None:
    """Queue the changes of families that the configuration listens to."""
    config = model.config
    if not isinstance(config, ModelConfig) or config.retrain is None:
        return
    for c in changes:
        if c.family in config.retrain.on and c.transition != "escalated":
            policy.queue.append(
                Cause(
                    c.time,
                    c.transition == "opened",
                    c.condition.alert_id,
                    c.condition.incident,
                    c.stream.version,
                    c.stream.variant,
                    c.evidence.reference_hash,
                    c.family,
                    c.since,
                    c.evidence.n,
                    c.evidence.statistic,
                    c.evidence.value,
                    c.summary,
                )
            )


Verb = Literal["proposed", "requested", "cancelled"]


def advance(policy: Policy, model: Model, through: int) -> list[tuple[Verb, Request, int]]:
    """Work off everything up to ``through``; returns what to publish: (verb, request, time)."""
    config = model.config
    if not isinstance(config, ModelConfig) or config.retrain is None or through <= policy.through:
        return []
    policy.through = through
    steps: list[tuple[int, int, str, Cause | Tick]] = [
        (c.time, 0, c.alert_id, c) for c in policy.queue if c.time <= through
    ]
    steps += [(t.time, 1, "", t) for t in policy.ticks if t.time <= through]
    policy.queue = [c for c in policy.queue if c.time > through]
    policy.ticks = [t for t in policy.ticks if t.time > through]
    out: list[tuple[Verb, Request, int]] = []
    for time, _, _, what in sorted(steps, key=lambda s: s[:3]):
        if isinstance(what, Tick):
            policy.seen = [*policy.seen, what][-_TICKS:]
        elif what.opened:
            policy.active.append(what)
        else:
            policy.active = [c for c in policy.active if c.alert_id != what.alert_id]
        out += _expire(policy, time)
        request = _decide(policy, model, time)
        if request is not None:
            # As it is now: the same call may go on to expire it.
            out.append(("proposed" if request.state == "proposed" else "requested", copy(request), time))
    return out


def _expire(policy: Policy, time: int) -> list[tuple[Verb, Request, int]]:
    """A request is over at its expiry: nobody approved it, took it up, or said that it ended.

    It is remembered until the next one, because a training that took too long may still succeed.
    """
    flight = policy.flight
    if flight is None or time < flight.expires:
        return []
    policy.flight, policy.expired = None, flight
    flight.sequence += 1
    return [("cancelled", flight, flight.expires)]


def _decide(policy: Policy, model: Model, time: int) -> Request | None:
    config = model.config
    if not isinstance(config, ModelConfig) or config.retrain is None or not policy.active or policy.flight is not None:
        return None
    rules = config.retrain
    recent = [t for t in policy.decided if t > time - _DAY]
    if len(recent) >= rules.max_per_day or (policy.decided and time < policy.decided[-1] + rules.cooldown):
        return None
    since = min(c.since for c in policy.active)
    labels = sum(t.labels for t in policy.seen if t.time > since)
    if labels < rules.min_labels:
        return None
    causes = sorted(policy.active, key=lambda c: (c.time, c.alert_id))
    key = event_id("retrain", model.name, model.decision, time, *(c.alert_id for c in causes))
    state: Literal["proposed", "requested"] = "proposed" if rules.approval == "required" else "requested"
    policy.flight = Request(key, state, time + rules.expires, causes, since, time, labels)
    policy.decided = [*policy.decided, time][-max(1, rules.max_per_day) :]
    return policy.flight


def command(policy: Policy, model: Model, verb: str, key: str) -> Request | None:
    """Apply a command about a request; returns the request when the command fits, None when it changes nothing.

    ``approve`` turns a proposal into a request; ``started`` takes a request up, and gives it the time of ``retrain.expires``
    once more; ``succeeded`` and ``failed`` end it. A proposal that nobody approved can only be approved. A request that
    expired meanwhile can still succeed.
    """
    flight = policy.flight
    if flight is None or flight.key != key:
        late = policy.expired
        if verb != "succeeded" or late is None or late.key != key or late.state == "proposed":
            return None
        policy.expired, policy.active = None, []
        return late
    if (verb == "approve") != (flight.state == "proposed"):
        return None
    if verb == "approve":
        flight.state = "requested"
        flight.sequence += 1
    elif verb == "started":
        config = model.config
        if flight.state == "requested" and isinstance(config, ModelConfig) and config.retrain is not None:
            flight.expires = max(flight.expires, policy.through + config.retrain.expires)
        flight.state = "started"
    else:
        policy.flight = None
        if verb == "succeeded":
            policy.active = []
    return flight
