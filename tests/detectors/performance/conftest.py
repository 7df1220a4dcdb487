"""The compiled loops are loaded before hypothesis measures how long an example takes."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.performance import count_amounts, count_errors


@pytest.fixture(scope="session", autouse=True)
def _loaded() -> None:
    count_errors(np.ones(1), np.zeros(1))
    count_amounts(np.ones(1, np.int64), np.ones(1, np.int64), np.ones(1))
