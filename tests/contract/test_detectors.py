"""Every detector of the registry keeps the laws of its kind, tells its story, and has a page.

A new detector gets all of this for its line in `detectors/registry.py`. That each law can fail is shown in
`test_broken_detectors.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from detectors import drift
from detectors import sequential as streams
from detectors import sketches as summaries
from detectors.registry import DETECTORS, SEQUENTIAL, SKETCHES, TWO_SAMPLE
from tests.contract.laws import sequential, sketches, stories, two_sample
from tests.docs.tables import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable

    from detectors.registry import Detector, Sequential, Summary, TwoSample


def each(entries: tuple[Any, ...], laws: tuple[Any, ...]) -> Callable[[Any], Any]:
    """Every entry with every law."""

    def marked(test: Any) -> Any:  # noqa: ANN401  # pytest's own decorators
        with_law = pytest.mark.parametrize("law", laws, ids=lambda law: law.__name__)(test)
        return pytest.mark.parametrize("entry", entries, ids=lambda e: e.name)(with_law)

    return marked


@each(TWO_SAMPLE, two_sample.LAWS)
def test_a_statistic_of_two_samples(entry: TwoSample, law: Callable[[TwoSample], None]) -> None:
    law(entry)


@each(SEQUENTIAL, sequential.LAWS)
def test_a_detector_of_change_in_a_stream(entry: Sequential, law: Callable[[Sequential], None]) -> None:
    law(entry)


@each(SKETCHES, sketches.LAWS)
def test_a_sketch(entry: Summary, law: Callable[[Summary], None]) -> None:
    law(entry)


@each(DETECTORS, stories.LAWS)
def test_what_is_written_about_a_detector(entry: Detector, law: Callable[[Detector], None]) -> None:
    law(entry)


def test_names_are_unique_and_every_picture_belongs_to_a_page() -> None:
    names = [entry.name for entry in DETECTORS]
    assert sorted(set(names)) == sorted(names)
    drawn = {path.stem for path in (REPOSITORY / "docs" / "pictures").glob("*.svg")}
    pages = "".join(path.read_text() for path in (REPOSITORY / "docs").rglob("*.md"))
    assert not [name for name in drawn if f"pictures/{name}.svg" not in pages]


def test_everything_that_the_packages_export_as_a_detector_is_registered() -> None:
    functions = [getattr(drift, name) for name in drift.__all__]
    statistics = [f for f in functions if getattr(f, "__annotations__", {}).get("return") == "DriftResult"]
    assert {f.__name__ for f in statistics} == {entry.name for entry in TWO_SAMPLE}
    classes = [getattr(streams, name) for name in streams.__all__ if hasattr(getattr(streams, name), "update_each")]
    ours = {c for c in classes if not is_protocol(c)}
    assert ours == {type(entry.make()) for entry in SEQUENTIAL}
    kept = {getattr(summaries, name) for name in summaries.__all__ if hasattr(getattr(summaries, name), "from_bytes")}
    assert kept == {type(entry.make()) for entry in SKETCHES}


def is_protocol(found: type) -> bool:
    """Whether a class only says what others have."""
    return bool(getattr(found, "_is_protocol", False))
