"""``python -m loadtest detectors`` runs every case, holds them to their targets, and measures beside other tools."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from loadtest.__main__ import main
from loadtest.detectors_bench import beside, command
from loadtest.detectors_bench.case import Case
from loadtest.detectors_bench.sizes import TARGET_BYTES, sizes

if TYPE_CHECKING:
    from pathlib import Path


def test_every_file_of_cases_is_run_and_no_name_stands_twice() -> None:
    names = [case.name for case in command.cases()]
    assert len(names) == len(set(names))
    assert {name.partition(":")[0] for name in names} <= set(command.SUBJECTS)
    assert any("ADWIN" in name for name in names)


@pytest.mark.parametrize(("rates", "status"), [([9.0, 10.0, 30.0], 0), ([1.0, 9.0, 30.0], 1)])
def test_the_median_of_the_rounds_is_held_to_the_target(
    rates: list[float], status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = list(rates)
    monkeypatch.setattr(command, "cases", lambda: [Case("counting: sheep", "sheep", 10.0, lambda: left.pop(0))])
    file = tmp_path / "found.json"

    assert main(["detectors", "--only", "sheep", "--check", "--json", str(file)]) == status

    (found,) = json.loads(file.read_bytes())["cases"]
    assert found["per_cpu_second"] == {"min": min(rates), "median": sorted(rates)[1], "max": max(rates)}
    assert ("SHORT" in capsys.readouterr().out) == bool(status)


def test_a_feature_with_100_bins_takes_at_most_a_kibibyte_in_a_pane() -> None:
    found = {(s.what, s.rows): s.bytes for s in sizes() if s.target}
    assert len(found) == 4
    assert max(found.values()) <= TARGET_BYTES


def test_both_sides_do_the_same_work_and_what_was_not_run_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "BITS", 2_000)
    monkeypatch.setattr(beside, "REFERENCE_ROWS", 2_000)
    river = beside.adwin(1)
    versions, _, others = beside.windows(1, peers=False)
    assert [len(side.ratios) for side in river] == [1, 1]
    assert versions == {}
    assert {side.tool for side in others} == {"evidently", "nannyml", "whylogs"}
    assert all(side.ours_s[0] > 0 and not side.ratios and side.note for side in others)


@pytest.mark.parametrize("wrong", [["--rounds", "0"], ["--json", "/no/such/folder/x"]])
def test_a_question_that_makes_no_sense_has_exit_status_2(wrong: list[str]) -> None:
    assert main(["detectors", *wrong]) == 2
