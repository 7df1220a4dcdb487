"""Did the story come out right? Every answer has a name, and says what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from schemas.identifiers import LABELS, PREDICTIONS
from streams.demo.traffic import NOBODYS
from streams.demo.world import RULE_MINUTE, SHIFT_MINUTE, SHIFTED

if TYPE_CHECKING:
    from streams.demo.told import Told

FAMILIES = ("drift", "quality", "performance", "sequential")
SHIFT_PATIENCE_MIN, RULE_PATIENCE_MIN = 20.0, 20.0
"""How late either change may be noticed. Two windows of five minutes must confirm the first; labels are up to eight minutes
late for the second."""
_RECOVERED = 0.02
"""How far below the first version's accuracy the new one may stay."""
_HARMED = 0.2
"""How much accuracy the changed rule must have cost, or there was nothing to recover from."""
_OLD, _NEW = "v1", "v2"
_ANSWERS = frozenset({"prediction", "score"})
"""They are compared with the reference too, and follow from the features."""


class Check(NamedTuple):
    """One thing that must be so, whether it is, and what was found."""

    name: str
    right: bool
    found: str


def checks(told: Told) -> list[Check]:
    """All of them, in the order of the story."""
    return [
        _quiet(told),
        _shift_noticed(told),
        _shift_named(told),
        _shift_harmless(told),
        _rule_noticed(told),
        _requested(told),
        _range_kept(told),
        _resolved(told),
        _new_version_quiet(told),
        _recovered(told),
        _accounted(told),
        _as_expected(told),
        _dead_letters(told),
        _metrics_agree(told),
        _one_payload(told),
    ]


def _names(events: list[str]) -> str:
    return ", ".join(events) or "nothing"


def _quiet(told: Told) -> Check:
    early = [e.name for e in told.events if e.minute <= SHIFT_MINUTE]
    return Check("nothing is reported while nothing has changed", not early, _names(early))


def _shift_noticed(told: Told) -> Check:
    opened = {e.name: e.minute - SHIFT_MINUTE for e in reversed(told.opened(_OLD, "drift")) if e.minute < RULE_MINUTE}
    late = [opened.get(name, float("inf")) for name in SHIFTED]
    found = _names([f"{name} after {opened[name]:.0f} min" for name in sorted(SHIFTED & opened.keys())])
    name = f"the shift is noticed within {SHIFT_PATIENCE_MIN:.0f} minutes"
    return Check(name, max(late) <= SHIFT_PATIENCE_MIN, found)


def _shift_named(told: Told) -> Check:
    named = {e.name for e in told.opened(_OLD, "drift")} - _ANSWERS
    return Check("exactly the shifted features are named", named == SHIFTED, _names(sorted(named)))


def _shift_harmless(told: Told) -> Check:
    early = [e.name for e in told.opened(_OLD, "performance", "sequential") if e.minute <= RULE_MINUTE]
    return Check("the shift alone raises no alarm about performance", not early, _names(early))


def _rule_noticed(told: Told) -> Check:
    late = [(e.minute - RULE_MINUTE, e.name) for e in told.opened(_OLD, "performance", "sequential")]
    right = bool(late) and 0 < min(late)[0] <= RULE_PATIENCE_MIN
    found = _names([f"{name} after {minutes:.0f} min" for minutes, name in late])
    return Check(
        f"the changed rule is noticed through late labels within {RULE_PATIENCE_MIN:.0f} minutes", right, found
    )


def _requested(told: Told) -> Check:
    requests = told.of_kind("retrain.requested")
    opened = {e.alert_id for e in told.opened(_OLD, "performance", "sequential")}
    right = len(requests) == 1 and bool(requests[0].data["alerts"]) and opened.issuperset(requests[0].data["alerts"])
    found = f"{len(requests)} request(s)" + (f", at minute {requests[0].minute:.0f}" if requests else "")
    return Check("one retraining is requested, because of these alerts", right, found)


def _range_kept(told: Told) -> Check:
    made = told.new_version
    enough = made is not None and made.rows >= made.request.data.labels_available // 2
    found = f"{made.rows:,} labelled rows; {told.removed} records gone" if made else "no training"
    return Check("the suggested training range is still in Kafka", enough and told.removed == 0, found)


def _resolved(told: Told) -> Check:
    opened = {e.alert_id for e in told.opened(_OLD, *FAMILIES)}
    closed = {e.alert_id for e in told.of_kind("alert.resolved")}
    found = f"{len(opened & closed)} of {len(opened)}"
    return Check("every alert of v1 is resolved once v2 has taken over", bool(opened) and opened <= closed, found)


def _new_version_quiet(told: Told) -> Check:
    names = [e.name for e in told.opened(_NEW, *FAMILIES)]
    return Check("v2 raises no alert", not names, _names(names))


def _recovered(told: Told) -> Check:
    before = told.reference_accuracy
    harmed = told.mean_accuracy(_OLD, RULE_MINUTE, float("inf"))
    after = told.mean_accuracy(_NEW, 0, float("inf"))
    known = harmed is not None and after is not None
    found = f"{before:.3f}, then {harmed:.3f}, then {after:.3f}" if known else "not measured"
    right = harmed is not None and after is not None and harmed < before - _HARMED and after > before - _RECOVERED
    return Check("accuracy falls with the changed rule and recovers with v2", right, found)


def _accounted(told: Told) -> Check:
    sent, received = {t: c.total() for t, c in told.sent.items()}, received_by_topic(told)
    found = "; ".join(f"{t}: {sent[t]:,} sent, {received.get(t, 0):,} accounted for" for t in sorted(sent))
    return Check("every record is accounted for (P1)", sent == received, found)


def _as_expected(told: Told) -> Check:
    wrong = []
    for topic, expected in sorted(told.sent.items()):
        counted = dict(told.counted.get(topic, {}))
        if topic == LABELS:
            counted[NOBODYS] = counted.pop("orphan", 0) + told.waiting
        wanted = {k: n for k, n in expected.items() if n}
        got = {k: n for k, n in counted.items() if n}
        wrong += [
            f"{topic} {k}: {got.get(k, 0)} instead of {wanted.get(k, 0)}"
            for k in sorted({*wanted, *got})
            if got.get(k, 0) != wanted.get(k, 0)
        ]
    return Check("each record has the outcome it should have", not wrong, "; ".join(wrong) or "all")


def _dead_letters(told: Told) -> Check:
    counted = sum(counts["dead_letter"] for counts in told.counted.values())
    found = f"{counted} counted, {told.dead_letters} kept"
    return Check("every record that cannot be read is in the dead letters", counted == told.dead_letters, found)


def _metrics_agree(told: Told) -> Check:
    received = received_by_topic(told)
    found = ", ".join(f"{n:,} {t}" for t, n in sorted(told.scraped.items())) or "no metrics"
    return Check("the metrics count the same", told.scraped == received, found)


def _one_payload(told: Told) -> Check:
    return Check("one event id, one payload (P3)", not told.contradicted, _names(told.contradicted))


def received_by_topic(told: Told) -> dict[str, int]:
    """Per topic: the sum of all outcomes, and of labels also those that wait."""
    received = {topic: counts.total() for topic, counts in told.counted.items()}
    if LABELS in received:
        received[LABELS] += told.waiting
    return {t: received.get(t, 0) for t in (PREDICTIONS, LABELS)}
