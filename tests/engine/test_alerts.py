"""The life of an alert: opened on confirmation, escalated, resolved, held back by the cool-down."""

from __future__ import annotations

import pytest

from schemas.config import Confirmation
from streams.engine.alerts import Condition, judge, rejecting

MINUTE = 60_000
TWO_OF_THREE = Confirmation(2, 3)


def life(windows: str, *, confirm: Confirmation = TWO_OF_THREE, cooldown_minutes: int = 0, severities: str = "") -> str:
    """One letter for each window of a minute: in, ``.`` accepts and ``x`` rejects; out, o(pened), e(scalated), r(esolved), -."""
    condition = Condition()
    told = ""
    for i, window in enumerate(windows):
        letter = severities[i] if severities else "i"
        transition = judge(
            condition,
            rejected=window == "x",
            severity={"i": "info", "w": "warning", "c": "critical"}[letter],  # type: ignore[arg-type]  # one of the three
            window=(i * MINUTE, (i + 1) * MINUTE),
            confirm=confirm,
            cooldown=cooldown_minutes * MINUTE,
        )
        told += transition[0] if transition else "-"
    return told


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        ("......", "------"),
        ("x.....", "------"),
        ("xx", "-o"),
        ("x.x", "--o"),
        ("x..x", "----"),
        ("x..xx", "----o"),
        ("xxxxxx", "-o----"),
        ("xx..", "-o--"),
        ("xx...", "-o--r"),
        ("xx..x...", "-o-----r"),
        ("xx...x", "-o--r-"),
        ("xx...xx", "-o--r-o"),
        ("xx...x.x", "-o--r--o"),
    ],
)
def test_two_of_three_rejecting_windows_open_and_three_accepting_ones_resolve(windows: str, expected: str) -> None:
    assert expected == life(windows)


def test_a_single_window_may_decide_when_the_owner_says_so() -> None:
    assert life(".x.x.", confirm=Confirmation(1, 1)) == "-oror"


@pytest.mark.parametrize(("minutes", "expected"), [(0, "-o--r-o"), (2, "-o--r-o"), (3, "-o--r-")])
def test_a_resolved_alert_opens_again_only_after_the_cool_down(minutes: int, expected: str) -> None:
    # It resolves at the end of minute 5; the next two rejections end at 6 and 7.
    assert expected == life("xx...xx", cooldown_minutes=minutes)[: len(expected)]
    if minutes == 3:
        assert life("xx...xxx", cooldown_minutes=3) == "-o--r--o"


def test_an_alert_escalates_when_its_severity_passes_all_it_had_and_never_comes_down() -> None:
    assert life("xxxxxxx", severities="iiwiwcw") == "-oe--e-"


def test_a_window_that_accepts_does_not_escalate() -> None:
    assert life("xx.", severities="iic") == "-o-"


def test_the_windows_that_confirmed_are_those_that_rejected() -> None:
    condition = Condition()
    for i, rejected in enumerate([False, True, False, True]):
        judge(condition, rejected=rejected, severity="info", window=(i, i + 1), confirm=TWO_OF_THREE, cooldown=0)
    assert rejecting(condition) == [(1, 2), (3, 4)]
    assert condition.opened == 4
