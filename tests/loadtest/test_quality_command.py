"""``python -m loadtest quality`` measures, prints, and fails with --check when a rule does not keep its promise."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from detectors.decisions import compile_rule
from loadtest.__main__ import main
from loadtest.peers import client
from loadtest.quality import alarms, budget, command, levels, sequential
from loadtest.quality.checks import DETECTOR, checks
from loadtest.quality.worlds import BY_NAME, HOUR_MS, SHIFTS, Stream

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from detectors.decisions import Budget, Rule
    from detectors.reference import Reference

FEW = [BY_NAME["normal_1"], BY_NAME["counts_2"]]
GOOD = sequential.Row(DETECTOR, 0.4, 0.2, 0.6, 10.0, 0.1, 280.0, 0.0, 1_000.0, 0.0, 10_000_000)


def few_months(_scale: float) -> dict[str, list[Any]]:
    """The budget's tables on two features and few months: seconds."""
    worlds = ("independent", "daily", "weekly")
    episodes = [row for w in worlds for row in budget.measure(w, references=2, months=2, features=FEW, rows=500)]
    episodes += [replace(row, world="ar") for row in episodes if row.world == "daily"]  # made row by row: too slow here
    return {"episodes": episodes, "delays": budget.delays(SHIFTS[1], trials=4, references=2, features=FEW)}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "results", few_months)
    monkeypatch.setattr(alarms, "driftline", lambda _seed, _scale: iter(()))
    monkeypatch.setattr(sequential, "measure", lambda _seed, _scale: [GOOD])
    size = levels.Size("continuous", 50, 0.01, simulated=True, anderson=None, chi2=0.9, cell=0.9)
    monkeypatch.setattr(levels, "measure", lambda _seed, _scale: [size])


@pytest.mark.usefixtures("small")
def test_it_prints_every_table_and_writes_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "found.json"

    assert main(["quality", "--scale", "0.02", "--without-peers", "--check", "--json", str(file)]) == 0

    said = capsys.readouterr().out
    for title in (
        "Windows without drift",
        "Episodes per 28 days",
        "Windows of 1,000 rows until",
        "Sequential detectors",
    ):
        assert title in said
    assert "SHORT" not in said
    found = json.loads(file.read_bytes())
    assert found["seed"] == command.SEED
    assert all(check["holds"] for check in found["checks"])
    assert {row["tool"] for row in found["alarms"]} == {"river ADWIN", "river PageHinkley"}
    assert {row["rule"] for row in found["episodes"]} == {"scales: auto", "2 of 3"}
    assert [row["share"] for row in found["power"] if row["shift"] == "5 % nulls"] == [1.0]


@pytest.mark.usefixtures("small")
def test_a_rule_that_spends_fifty_times_its_budget_is_found_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def generous(reference: Reference, watched: Sequence[int], allowed: Budget, window_ms: int, **more: Any) -> Rule:  # noqa: ANN401  # as compile_rule
        return compile_rule(
            reference, watched, replace(allowed, false_alarms=50 * allowed.false_alarms), window_ms, **more
        )

    monkeypatch.setattr(budget, "compile_rule", generous)

    assert main(["quality", "--scale", "0.02", "--without-peers", "--check"]) == 1
    assert "SHORT: episodes per 28 days, independent" in capsys.readouterr().out


def figures(**changed: float) -> list[bool]:
    months = [
        budget.Months(w, 28, "scales: auto", 30, changed.get(w, 1.1), changed.get("low", 0.9), 1.3, 2.0, 1.0)
        for w in ("independent", "ar", "daily", "weekly")
    ]
    delay = budget.Delay("mean + 0.1 sd", "scales: auto", 50, changed.get("windows", 5.0), 4.5, 5.5, 0, 1.0)
    bits = replace(GOOD, delay_03=changed.get("labels", 290.0), false_alarms=changed.get("false_alarms", 1.0))
    return [check.holds for check in checks(months, [delay], [bits])]


def test_figures_at_the_limit_hold() -> None:
    assert figures() == [True] * 7


@pytest.mark.parametrize(
    ("what", "figure"),
    [
        ("independent", 1.11),
        ("ar", 1.11),
        ("daily", 1.11),
        ("low", 1.01),
        ("windows", 5.01),
        ("labels", 290.1),
        ("false_alarms", 1.01),
        ("windows", float("nan")),
    ],
)
def test_each_figure_beyond_its_limit_fails_alone(what: str, figure: float) -> None:
    assert figures(**{what: figure}).count(False) == 1


def test_what_was_not_measured_does_not_hold() -> None:
    assert not any(check.holds for check in checks([], [], []))


@pytest.mark.parametrize("wrong", [["--scale", "0"], ["--scale", "-1"], ["--json", "/no/such/folder/x"]])
def test_a_question_that_makes_no_sense_has_exit_status_2(wrong: list[str]) -> None:
    assert main(["quality", *wrong]) == 2


@pytest.mark.usefixtures("small")
def test_without_their_environment_the_other_tools_are_said_not_to_have_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(client, "PYTHON", tmp_path / "peers" / "bin" / "python")
    assert main(["quality", "--scale", "0.02"]) == 0
    assert "not run: needs `make peers`" in capsys.readouterr().out


@pytest.mark.skipif(not client.available(), reason="not run: needs `make peers`")
def test_the_other_tools_flag_a_large_shift_and_agree_with_their_own_report() -> None:
    rng = np.random.default_rng(1)
    chosen = [BY_NAME["normal_1"], BY_NAME["exponential_1"], BY_NAME["category_5"]]
    stream = Stream("independent", rng, chosen)
    before = stream.take(5_000, HOUR_MS)[1]
    after = stream.take(3_000, HOUR_MS, replace(SHIFTS[4], mean=1.0))[1]
    tools = ("evidently", "evidently report", "nannyml js", "nannyml ks+chi2", "whylogs")
    asked = [client.Question(tool, "alarms", "before", "after", 1_000) for tool in tools]

    _, answers = client.ask(asked, {"before": before, "after": after}, ["category_5"])

    assert [a.error for a in answers] == [""] * 5
    assert all(len(a.alarms) == 3 and all(0 in flagged for flagged in a.alarms) for a in answers)
    assert answers[0].alarms == answers[1].alarms


def test_the_power_of_a_single_window_is_that_of_its_test() -> None:
    delay = budget.Delay("mean + 0.1 sd", "2 of 3", 50, 5.0, 4.5, 5.5, 0, 0.25)
    other = replace(delay, rule="scales: auto")
    (found,) = alarms.own_power([delay, other])
    assert (found.share, found.windows) == (0.25, 50 * alarms.OWN_WINDOWS)
    assert found.low < 0.25 < found.high
