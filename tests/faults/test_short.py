"""The cells of the short tier, each on real processes; ``python -m tests.faults`` plays all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.__main__ import cells
from tests.faults.cell import Cell, Stage
from tests.services.kafka import KafkaService

SHORT = [cell for cell in cells() if cell.short]

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def stage(kafka: KafkaService) -> Iterator[Stage]:
    with Stage(kafka, verify="none") as found:
        yield found


@pytest.mark.parametrize("cell", SHORT, ids=[cell.name for cell in SHORT])
def test_the_cell_passes(stage: Stage, cell: Cell) -> None:
    outcome = stage.play(cell)
    said = "\n".join([*outcome.evidence, outcome.why])
    assert outcome.verdict == "pass", f"{outcome.verdict}: {said}"
