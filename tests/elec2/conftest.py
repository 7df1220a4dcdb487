"""The events of the data set, made once for all tests of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.elec2 import watched

if TYPE_CHECKING:
    from pathlib import Path

    from tests.elec2.watched import Row


@pytest.fixture(scope="session")
def folder(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's first commands put events, references and monitor.yaml."""
    return watched.prepare(shared_data / "elec2.csv.gz", tmp_path_factory.mktemp("elec2"))


@pytest.fixture(scope="session")
def rows(folder: Path) -> list[Row]:
    """The half-hours, read naively."""
    return watched.rows(folder)
