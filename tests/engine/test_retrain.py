"""When a new version is asked for, and that nothing about it depends on how far the policy looks at a time."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.config import ModelConfig
from streams.engine import retrain
from streams.engine.plan import compile_plan
from streams.engine.retrain import Cause, Policy, Tick
from tests.engine.watched import reference

if TYPE_CHECKING:
    from streams.engine.plan import Model

HOUR, DAY = 3_600_000, 86_400_000
Published = tuple[str, int, str, str, int, int, int, list[str], int]


def model(**rules: Any) -> Model:  # noqa: ANN401  # the fields of Retrain
    """A model with this retrain policy."""
    said = {"min_labels": 10, "cooldown": "4h", "max_per_day": 2, "approval": "none", "expires": "6h"} | rules
    config = ModelConfig.model_validate(
        {"task": "binary", "positive_class": "yes", "reference": "unused.json", "retrain": said}
    )
    return compile_plan("predictions", {"m": config}, {"m": [reference()]}, 0).models[0]


def cause(hours: float, name: str = "a", *, opened: bool = True, since: float | None = None) -> Cause:
    """An alert that opened or resolved."""
    begun = int((hours if since is None else since) * HOUR)
    return Cause(
        int(hours * HOUR),
        opened,
        name,
        f"incident {name}",
        "v1",
        "champion",
        "hash",
        "drift",
        begun,
        100,
        "psi",
        1.0,
        name,
    )


def tick(hours: float, labels: int = 10) -> Tick:
    """Labels of a pane."""
    return Tick(int(hours * HOUR), labels)


def told(found: list[tuple[retrain.Verb, retrain.Request, int]]) -> list[Published]:
    """What would be published, as it is at this moment."""
    return [
        (verb, time, r.key, r.state, r.expires, r.labels, r.sequence, [c.alert_id for c in r.causes], r.since)
        for verb, r, time in found
    ]


def play(m: Model, steps: list[Cause | Tick], through: float) -> list[tuple[str, float]]:
    """Verbs and hours of what a policy publishes that sees everything at once."""
    policy = Policy()
    _feed(policy, steps)
    return [(verb, time / HOUR) for verb, _, time in retrain.advance(policy, m, int(through * HOUR))]


def _feed(policy: Policy, steps: list[Cause | Tick]) -> None:
    policy.queue += [s for s in steps if isinstance(s, Cause)]
    policy.ticks += [s for s in steps if isinstance(s, Tick)]


def test_a_request_comes_when_an_alert_is_open_and_enough_labels_have_come_since_it_began() -> None:
    steps: list[Cause | Tick] = [tick(0, 100), cause(1, since=0.5), tick(2, 4), tick(3, 5), tick(4, 1)]
    assert play(model(), steps, 10) == [("requested", 4)]


def test_no_request_comes_when_the_alert_resolved_before_there_were_labels() -> None:
    assert play(model(), [cause(1), cause(2, opened=False), tick(3, 100)], 10) == []


def test_nothing_is_decided_beyond_what_every_family_has_decided() -> None:
    assert play(model(), [cause(1), tick(2)], 1.5) == []


def test_a_proposal_waits_for_approval_and_is_cancelled_when_nobody_gives_it() -> None:
    m = model(approval="required", cooldown="1d")
    assert play(m, [cause(1), tick(2), tick(7.9), tick(8.1)], 10) == [("proposed", 2), ("cancelled", 8)]


def test_an_approved_proposal_becomes_a_request_once_and_only_by_its_own_key() -> None:
    policy, m = Policy(), model(approval="required")
    _feed(policy, [cause(1), tick(2)])
    [(_, proposed, _)] = retrain.advance(policy, m, 3 * HOUR)
    assert retrain.command(policy, m, "approve", "another") is None
    approved = retrain.command(policy, m, "approve", proposed.key)
    assert approved is not None
    assert (approved.state, approved.sequence) == ("requested", 2)
    assert retrain.command(policy, m, "approve", proposed.key) is None


def test_the_cool_down_counts_from_the_last_request() -> None:
    policy, m = Policy(), model(cooldown="4h")
    _feed(policy, [cause(1), tick(2)])
    [(_, request, _)] = retrain.advance(policy, m, 2 * HOUR)
    retrain.command(policy, m, "failed", request.key)
    _feed(policy, [tick(3), tick(5.9), tick(6), tick(7)])
    assert [(v, t / HOUR) for v, _, t in retrain.advance(policy, m, 8 * HOUR)] == [("requested", 6)]


def test_no_more_requests_a_day_than_allowed() -> None:
    policy, m = Policy(), model(cooldown=0, max_per_day=2, expires="1h")
    _feed(policy, [cause(0), *(tick(h) for h in range(1, 30))])
    requested = [t / HOUR for v, _, t in retrain.advance(policy, m, 30 * HOUR) if v == "requested"]
    assert requested == [1, 2, 25, 26]


def test_only_one_request_is_in_flight() -> None:
    policy, m = Policy(), model(cooldown=0, max_per_day=100)
    _feed(policy, [cause(1), tick(2), cause(3, "b"), *(tick(h) for h in range(4, 8))])
    assert [verb for verb, _, _ in retrain.advance(policy, m, 7 * HOUR)] == ["requested"]


def test_a_request_that_was_taken_up_has_the_time_of_its_expiry_once_more() -> None:
    for started, hours in ((False, 8), (True, 12)):
        policy, m = Policy(), model(cooldown="3d", expires="6h")
        _feed(policy, [cause(1), tick(2)])
        [(_, request, _)] = retrain.advance(policy, m, 6 * HOUR)
        if started:
            retrain.command(policy, m, "started", request.key)
        _feed(policy, [tick(h) for h in range(7, 40)])
        assert [(v, t / HOUR) for v, _, t in retrain.advance(policy, m, 40 * HOUR)] == [("cancelled", hours)]


def test_a_proposal_that_nobody_approved_can_be_neither_started_nor_ended() -> None:
    policy, m = Policy(), model(approval="required")
    _feed(policy, [cause(1), tick(2)])
    [(_, proposed, _)] = retrain.advance(policy, m, 3 * HOUR)
    assert [retrain.command(policy, m, verb, proposed.key) for verb in ("started", "failed", "succeeded")] == [None] * 3


def test_a_failed_training_leaves_its_causes_open_and_a_successful_one_does_not_even_when_it_took_too_long() -> None:
    for verb, late, expected in (
        ("failed", False, ["a"]),
        ("succeeded", False, []),
        ("failed", True, ["a"]),
        ("succeeded", True, []),
    ):
        policy, m = Policy(), model(cooldown="1d", expires="6h")
        _feed(policy, [cause(1), tick(2), tick(20)])
        (_, request, _), *cancelled = retrain.advance(policy, m, (30 if late else 3) * HOUR)
        assert len(cancelled) == late
        retrain.command(policy, m, verb, request.key)
        assert policy.flight is None
        assert [c.alert_id for c in policy.active] == expected


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 32), st.lists(st.integers(0, 60), max_size=12), st.sampled_from(["none", "required"]))
def test_the_same_causes_and_ticks_in_any_portions_give_the_same_requests(
    seed: int, cuts: list[int], approval: str
) -> None:
    random = Random(seed)
    m = model(approval=approval, cooldown=random.choice(["1h", "4h"]), expires=random.choice(["2h", "6h"]))
    steps: list[Cause | Tick] = [tick(h, random.randrange(8)) for h in range(61)]
    for name in "abcde":
        opened = random.randrange(50)
        steps.append(cause(opened, name, since=opened - random.randrange(4)))
        if random.random() < 0.7:
            steps.append(cause(opened + random.randrange(1, 10), name, opened=False))
    whole = Policy()
    _feed(whole, steps)
    expected = told(retrain.advance(whole, m, 60 * HOUR))

    portions, rest = Policy(), list(steps)
    random.shuffle(rest)  # families do not tell the policy in order
    found: list[Published] = []
    for cut in [*sorted(cuts), 60]:
        # What lies beyond the cut may or may not be known already: drift runs ahead of performance.
        known = [s for s in rest if s.time <= cut * HOUR or random.random() < 0.2]
        rest = [s for s in rest if s not in known]
        _feed(portions, known)
        found += told(retrain.advance(portions, m, cut * HOUR))
    assert expected == found


def test_a_request_says_what_it_was_when_it_was_decided_also_when_it_expires_in_the_same_pass() -> None:
    policy = Policy()
    _feed(policy, [cause(1), tick(2), tick(3), tick(20)])
    passed = told(retrain.advance(policy, model(cooldown="1d"), 30 * HOUR))
    assert [(verb, sequence) for verb, _, _, _, _, _, sequence, _, _ in passed] == [("requested", 1), ("cancelled", 2)]


@pytest.mark.parametrize("through", [3, 2])
def test_looking_no_further_than_before_changes_nothing(through: int) -> None:
    policy = Policy()
    _feed(policy, [cause(1), tick(2)])
    assert len(retrain.advance(policy, model(), 3 * HOUR)) == 1
    assert retrain.advance(policy, model(), through * HOUR) == []
