"""The pages of docs/detectors, and README: their examples print what the page says, their pictures are what the scripts draw."""

from __future__ import annotations

import io
import re
import shlex
import timeit
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Final

import pytest

from docs.scripts.pictures.album import PICTURES
from docs.scripts.pictures.frame import svg
from tests.docs.blocks import README, block
from tests.docs.tables import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAGES: Final = sorted(p for p in (REPOSITORY / "docs" / "detectors").glob("*.md") if p.stem != "README")
LARGEST_BYTES: Final = 60_000
"""A page with a picture should open at once."""
_NUMBER: Final = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")
_HUNDREDTH_POINT: Final = 0.011


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda p: p.stem)
def test_the_example_prints_what_the_page_says(page: Path) -> None:
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(block(page, "example"), str(page), "exec"), {})  # noqa: S102  # our own page, as a reader would run it
    assert printed.getvalue() == block(page, "output")


def differences(one: str, other: str) -> list[tuple[str, str]]:
    """What differs between two drawings by more than a hundredth of a point: rounding of another machine does not."""
    if _NUMBER.sub("", one) != _NUMBER.sub("", other):
        return [("shapes or texts", "")]
    pairs = zip(_NUMBER.findall(one), _NUMBER.findall(other), strict=True)
    return [(a, b) for a, b in pairs if abs(float(a) - float(b)) > _HUNDREDTH_POINT]


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_the_picture_is_the_one_that_the_script_draws(name: str) -> None:
    committed = (REPOSITORY / "docs" / "pictures" / f"{name}.svg").read_text()
    assert len(committed) < LARGEST_BYTES
    assert differences(committed, svg(PICTURES[name])) == [], "run: python -m docs.scripts.pictures"


def test_a_picture_that_changed_is_noticed() -> None:
    committed = (REPOSITORY / "docs" / "pictures" / "ks.svg").read_text()
    assert differences(committed, committed) == []
    assert differences(committed, committed.replace("window G", "window H")) != []
    assert differences(committed, re.sub(r"L (\d+)\.", lambda m: f"L {int(m[1]) + 1}.", committed, count=1)) != []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_the_command_that_measures_the_cost_runs(page: Path) -> None:
    for line in re.findall(r"^python -m timeit (.+)$", page.read_text(), re.MULTILINE):
        assert measured(["-n", "1", "-r", "1", *shlex.split(line)]) is None


def test_a_command_that_fails_is_noticed() -> None:
    assert measured(["-n", "1", "-r", "1", "no_such_name"]) == 1


def measured(arguments: list[str]) -> object:
    """What `python -m timeit` ends with: None, or 1 when the statement raised."""
    run: Callable[[list[str]], object] = timeit.main
    return run(arguments)
