"""What is written about a detector: the docstring of its module, whose example runs, and its page with a picture."""

from __future__ import annotations

import doctest
import importlib
import re
from typing import TYPE_CHECKING, Final

from tests.docs.tables import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable

    from detectors.registry import Detector

ASKED: Final = {
    "guarantee": r"\bGuarantee:",
    "cost": r"\bCost:",
    "merge law, or why there is none": r"(?i)\bmerge",
    "reference": r"\b(References?|Sources?):",
    "example": r"^>>> ",
}
"""What the docstring of a detector's module holds, as STYLE asks."""
HEADINGS: Final = ("Idea", "Formula", "Guarantee", "Cost", "Picture", "When not to use it", "Example", "References")
"""The headings of a detector's page, in this order."""


def the_docstring_of_its_module_tells_the_whole_story(entry: Detector) -> None:
    story = importlib.import_module(entry.module).__doc__ or ""
    assert [what for what, pattern in ASKED.items() if not re.search(pattern, story, re.MULTILINE)] == []


def the_examples_of_its_module_run(entry: Detector) -> None:
    module = importlib.import_module(entry.module)
    assert doctest.testmod(module).failed == 0


def its_page_has_all_headings(entry: Detector) -> None:
    text = (REPOSITORY / entry.page).read_text()
    assert tuple(re.findall(r"^## (.+)$", text, re.MULTILINE)) == HEADINGS
    sections = re.split(r"^## .+$", text, flags=re.MULTILINE)
    assert [s for s in sections if len(s.split()) < 4] == [], "a section is empty"  # words


def its_page_shows_its_picture_in_words_too(entry: Detector) -> None:
    shown = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", (REPOSITORY / entry.page).read_text())
    places = {(REPOSITORY / entry.page).parent.joinpath(path).resolve(): text for text, path in shown}
    assert (REPOSITORY / entry.picture).exists()
    assert len(places.get(REPOSITORY / entry.picture, "").split()) > 5, (
        "say in the brackets what there is to see"
    )  # words


def its_page_names_its_module_and_the_index_names_its_page(entry: Detector) -> None:
    assert f"`{entry.module}`" in (REPOSITORY / entry.page).read_text()
    index = (REPOSITORY / "docs" / "detectors" / "README.md").read_text()
    assert re.search(rf"^\| \[[^\]]+\]\({entry.name}\.md\) \|", index, re.MULTILINE), (
        "no row in docs/detectors/README.md"
    )


LAWS: Final[tuple[Callable[[Detector], None], ...]] = (
    the_docstring_of_its_module_tells_the_whole_story,
    the_examples_of_its_module_run,
    its_page_has_all_headings,
    its_page_shows_its_picture_in_words_too,
    its_page_names_its_module_and_the_index_names_its_page,
)
