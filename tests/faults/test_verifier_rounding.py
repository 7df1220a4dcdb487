"""Where a logarithm that is good to an error may be rounded to either side, both are right; nothing else may differ."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.performance import layout
from detectors.performance.classification import probability
from detectors.performance.counting import count_outcomes
from tests.faults import verifier_compare as compare
from tests.faults.verifier_expected import _vector
from tests.faults.verifier_rounding import NONE, Slack, of_row, settled
from tests.oracle.monitor_counts import Outcomes, Performance

SCORE = 0.8749940703530058
"""Its squared loss, where the answer was 0, is 4642731661.50000027 units: the engine's is the half itself, or less."""
KEY = ("loans", 0, "v1", "champion")
WIDTH = layout.width("binary", 2)


def counted(actual: int, score: float) -> NDArray[np.int64]:
    """As the engine counts it."""
    vector, one = np.zeros(WIDTH, np.int64), np.array([1])
    values = np.array([actual]), np.array([score]), np.array([np.nan])
    count_outcomes(vector, np.zeros(1, np.int64), 2, True, one, *values)  # noqa: FBT003  # it takes positions only
    return vector


def with_units(vector: NDArray[np.int64], of: layout.Sum, units: int) -> NDArray[np.int64]:
    found = vector.copy()
    found[of.at + of.words - 1] += units
    return found


def test_of_a_row_at_a_half_one_unit_less_is_as_good_and_nothing_else_is() -> None:
    slack = of_row(0, SCORE)
    assert slack == Slack(loss=(0, 0), square=(-1, 0))
    wanted, engine = _vector(0, 1, SCORE)[0], counted(0, SCORE)
    assert (engine == with_units(wanted, layout.LOG_LOSS_SQUARE, -1)).all()
    assert (settled(wanted, engine, slack) == engine).all()
    assert (settled(wanted, engine, NONE) == wanted).all()
    for of, units in ((layout.LOG_LOSS_SQUARE, -2), (layout.LOG_LOSS_SQUARE, 1), (layout.LOG_LOSS, -1)):
        assert (settled(wanted, with_units(wanted, of, units), slack) == wanted).all()
    assert (settled(wanted, with_units(wanted, layout.BRIER, 1), slack) == wanted).all()


def test_other_rows_have_one_rounding_which_is_the_engines() -> None:
    rng = np.random.default_rng(7)
    for score in [*rng.random(1_500).tolist(), 0.0, 1.0, 0.5, -1.0, 2.0, 1e-7, 1 - 1e-7]:
        for actual in (0, 1):
            assert of_row(actual, score) == NONE
            assert (counted(actual, score) == _vector(actual, 1, score)[0]).all()
    assert of_row(0, float("nan")) == NONE


def differences(units: int, slack: Slack) -> tuple[list[str], list[str]]:
    """Of a pane of arrivals, and of a window of outcomes, with so many units more than is wanted."""
    vector = _vector(0, 1, SCORE)[0]
    delays = np.zeros(len(Outcomes().histogram), np.int64)
    block = np.concatenate([with_units(vector, layout.LOG_LOSS_SQUARE, units), delays])
    stored = {
        "features": {},
        "arrivals": {KEY: np.concatenate([np.zeros(3, np.int64), block])},
        "performance": {KEY: np.concatenate([[0, 0, 0, 1], block, np.zeros_like(block)])},
    }
    pane = Outcomes(parts=[vector])
    panes = SimpleNamespace(features={}, arrivals={KEY: pane}, performance={KEY: Performance(1, pane)})
    slim = SimpleNamespace(watermark={})
    part = SimpleNamespace(panes=panes, slim=slim, slack={("arrivals", KEY): slack, ("early", KEY): slack})
    model = SimpleNamespace(windows=SimpleNamespace(lateness=0, pane=1))
    expected: Any = SimpleNamespace(parts=[part])
    config: Any = SimpleNamespace(models={"loans": model})
    reader: Any = SimpleNamespace(panes=lambda _number, kind, _name: stored[kind])
    said = list(compare.panes(config, expected, reader))
    return [d for d in said if d.startswith("pane of arrivals")], [
        d for d in said if d.startswith("window of outcomes")
    ]


def test_panes_may_differ_by_what_their_rows_allow_and_by_no_unit_more() -> None:
    slack = of_row(0, SCORE)
    assert differences(0, slack) == differences(-1, slack) == ([], [])
    for units, allowed in ((-2, slack), (1, slack), (-1, NONE)):
        arrivals, windows = differences(units, allowed)
        assert len(arrivals) == len(windows) == 1


def test_a_window_may_have_the_log_loss_of_another_sum_that_is_as_good() -> None:
    vector, loose = _vector(0, 1, SCORE)[0], Slack(loss=(-1, 0))
    window = Performance(1, Outcomes(parts=[vector]))
    part = SimpleNamespace(panes=SimpleNamespace(performance={KEY: window}), slack={("early", KEY): loose})
    expected: Any = SimpleNamespace(parts=[part])
    values = [probability(with_units(vector, layout.LOG_LOSS, n))["log_loss"].value for n in (0, -1, -2)]
    taken = []
    for told in values:
        wanted = {KEY: {"metrics": {"log_loss": values[0], "brier": 1.0}}}
        found = {KEY: {"metrics": {"log_loss": told, "brier": 2.0}}}
        compare._lost_alike(expected, "loans", wanted, found, ("early",))  # noqa: SLF001  # one step of ``windows``
        assert wanted[KEY]["metrics"]["brier"] == 1.0
        taken.append(wanted[KEY]["metrics"]["log_loss"])
    assert taken == [values[0], values[1], values[0]]
