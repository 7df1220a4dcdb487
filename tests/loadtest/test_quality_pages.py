"""The tables on the pages are what the commands print of the results that lie beside them."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest

from loadtest.detectors_bench import command as detectors
from loadtest.quality import report as quality

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "loadtest" / "results"


@pytest.mark.parametrize(
    ("page", "results", "least"), [("quality.md", "quality.json", 5), ("performance.md", "detectors.json", 3)]
)
def test_every_block_of_text_on_the_page_is_printed_by_the_command(page: str, results: str, least: int) -> None:
    found = orjson.loads((RESULTS / results).read_bytes())
    printed = quality.text(found) if page == "quality.md" else detectors.report(found)
    blocks = re.findall(r"```text\n(.*?)```", (REPOSITORY / "docs" / page).read_text(), re.DOTALL)
    assert len(blocks) >= least
    for block in blocks:
        assert block.strip() in printed


def test_the_results_that_are_shown_held() -> None:
    quality_found, detectors_found = (
        orjson.loads((RESULTS / f"{n}.json").read_bytes()) for n in ("quality", "detectors")
    )
    assert (quality_found["scale"], set(quality_found["versions"])) == (1.0, {"evidently", "nannyml", "whylogs"})
    assert [check["what"] for check in quality_found["checks"] if not check["holds"]] == []
    assert [row["name"] for row in detectors_found["cases"] if not row["holds"]] == []
