"""The contract tests prove themselves: for every law there is a detector that breaks it, and the law says so.

Each of these detectors (`tests/contract/broken`) has one fault that somebody could really make.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from detectors.registry import SEQUENTIAL, Detector, Sequential, Summary, TwoSample
from tests.contract.broken.sketches import DISTINCT, SKETCHES
from tests.contract.broken.statistics import STATISTICS, UNORDERED
from tests.contract.broken.streams import STREAM
from tests.contract.laws import sequential, sketches, stories, two_sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def breaks(law: Callable[[Any], None], entry: Any) -> bool:  # noqa: ANN401  # an entry of any kind
    """Whether a law fails: an assertion, an error that was not raised, or an error that should not have been."""
    try:
        law(entry)
    except (Exception, pytest.fail.Exception):  # noqa: BLE001  # any way of failing is failing
        return True
    return False


@pytest.mark.parametrize("law", two_sample.LAWS, ids=lambda law: law.__name__)
def test_a_broken_statistic_fails(law: Callable[[TwoSample], None]) -> None:
    assert not breaks(law, UNORDERED)
    assert breaks(law, STATISTICS[law.__name__])


@pytest.mark.parametrize("law", sequential.LAWS, ids=lambda law: law.__name__)
def test_a_broken_detector_of_change_fails(law: Callable[[Sequential], None]) -> None:
    assert breaks(law, replace(SEQUENTIAL[0], make=STREAM[law.__name__]))


@pytest.mark.parametrize("law", sketches.LAWS, ids=lambda law: law.__name__)
def test_a_broken_sketch_fails(law: Callable[[Summary], None]) -> None:
    assert not breaks(law, DISTINCT)
    assert breaks(law, SKETCHES[law.__name__])


PAGE = "# X\n\nin `broken`\n\n" + "\n".join(
    f"## {heading}\n\nfour words and more" for heading in stories.HEADINGS
).replace("## Picture\n", "## Picture\n\n![what there is to see on this picture](../pictures/x.svg)\n")
STORY = "Idea.\n\nGuarantee: none. Cost: nothing. No merge. Reference: us.\n\n>>> 1 + 1\n2\n"
FAULTS: dict[str, tuple[str, str, str]] = {
    "the_docstring_of_its_module_tells_the_whole_story": ("", "Cost: nothing.", ""),
    "the_examples_of_its_module_run": ("", "\n2\n", "\n3\n"),
    "its_page_has_all_headings": ("docs/detectors/x.md", "## Cost", "## Costs"),
    "its_page_shows_its_picture_in_words_too": ("docs/detectors/x.md", "what there is to see on this ", ""),
    "its_page_names_its_module_and_the_index_names_its_page": ("docs/detectors/README.md", "x.md", "y.md"),
}


@pytest.mark.parametrize("law", stories.LAWS, ids=lambda law: law.__name__)
def test_a_story_with_a_hole_fails(
    law: Callable[[Detector], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (
        ("docs/detectors/x.md", PAGE),
        ("docs/detectors/README.md", "| [X](x.md) | what it answers |\n"),
        ("docs/pictures/x.svg", "<svg/>"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    module = ModuleType("broken", STORY)
    monkeypatch.setitem(sys.modules, "broken", module)
    monkeypatch.setattr(stories, "REPOSITORY", tmp_path)
    entry = Detector("x", "broken")
    assert not breaks(law, entry)
    file, part, instead = FAULTS[law.__name__]
    if file:
        (tmp_path / file).write_text((tmp_path / file).read_text().replace(part, instead))
    else:
        module.__doc__ = STORY.replace(part, instead)
    assert breaks(law, entry)
