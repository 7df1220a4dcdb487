"""`driftline check` says which segments have nothing to be compared with."""

from pathlib import Path

import numpy as np

from detectors.reference import Reference
from schemas.config import load
from streams.checks import reference_findings

MONITOR = "models: {m: {task: regression, reference: r.json, segments: SEGMENTS}}"


def _detail(folder: Path, segments: str) -> str:
    country = np.array(["de", "fr"] * 200)
    table = {"x": np.arange(400.0), "prediction": np.arange(400.0), "country": country, "channel": country[::-1]}
    made = Reference.build(table, task="regression", segments=["country", ["country", "channel"]])
    made.save(folder / "r.json")
    (folder / "monitor.yaml").write_text(MONITOR.replace("SEGMENTS", segments))
    (found,) = reference_findings(load(folder / "monitor.yaml"))
    return found.detail


def test_segments_that_the_reference_does_not_hold_are_named_with_the_option_that_builds_them(tmp_path: Path) -> None:
    detail = _detail(tmp_path, "[country, shop, [shop, channel]]")

    assert detail.endswith("counted and not tested: build it with --segment shop --segment shop,channel")


def test_segments_that_the_reference_holds_are_not_mentioned_in_whatever_order_they_combine(tmp_path: Path) -> None:
    assert "--segment" not in _detail(tmp_path, "[country, [channel, country]]")
