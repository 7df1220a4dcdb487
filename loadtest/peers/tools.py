"""How the other tools are asked, each with its defaults. Runs in the environment of ``make peers``, never in driftline's.

Modules are imported by name when they are needed: driftline's own environment has none of them. Every function takes the
frames as pandas gives them and returns plain numpy or numbers.
"""

from __future__ import annotations

import os
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"  # nothing that measures may also talk to the network
os.environ["DO_NOT_TRACK"] = "1"

Alarms = Any
"""bool[windows, features]: which column was flagged in which window."""


def frame(columns: dict[str, NDArray[Any]], categorical: list[str]) -> Any:  # noqa: ANN401  # pandas has no types here
    """Return a DataFrame; codes of categories become their names, -1 becomes missing."""
    pandas: Any = import_module("pandas")
    made = {}
    for name, values in columns.items():
        if name in categorical:
            names = np.array([*(f"c{i:03d}" for i in range(int(values.max()) + 1)), None], object)
            made[name] = names[values]
        else:
            made[name] = values
    return pandas.DataFrame(made)


def _windows(current: Any, rows: int) -> list[Any]:  # noqa: ANN401  # as frame
    return [current.iloc[i : i + rows] for i in range(0, len(current) - rows + 1, rows)]


def evidently_alarms(reference: Any, current: Any, rows: int, categorical: list[str]) -> Alarms:  # noqa: ANN401  # as frame
    """Flag columns with the test and threshold that DataDriftPreset chooses by default.

    The tests are called without the report around them, which costs ten times as much and decides nothing
    (``evidently_report`` is what the speed is measured with, and both are compared in every run).
    """
    registry: Any = import_module("evidently.legacy.calculations.stattests.registry")
    kinds: Any = import_module("evidently.legacy.core").ColumnType
    import_module("evidently.legacy.calculations.stattests")
    windows = _windows(current, rows)
    chosen = []
    for name in reference.columns:
        kind = kinds.Categorical if name in categorical else kinds.Numerical
        before = reference[name].dropna()
        # It chooses by the reference's size and the number of distinct values: the same for all windows of a feature.
        chosen.append((name, kind, before, registry.get_stattest(before, windows[0][name].dropna(), kind, None)))
    return np.array(
        [[test(old, w[name].dropna(), kind, None).drifted for name, kind, old, test in chosen] for w in windows], bool
    )


def evidently_report(reference: Any, current: Any, rows: int, categorical: list[str]) -> Alarms:  # noqa: ANN401  # as frame
    """Flag columns with a DataDriftPreset report, as its users run it."""
    evidently: Any = import_module("evidently")
    preset: Any = import_module("evidently.presets").DataDriftPreset
    numbers = [c for c in reference.columns if c not in categorical]
    layout = evidently.DataDefinition(numerical_columns=numbers, categorical_columns=categorical)
    before = evidently.Dataset.from_pandas(reference, data_definition=layout)
    found = []
    for window in _windows(current, rows):
        after = evidently.Dataset.from_pandas(window, data_definition=layout)
        said = evidently.Report([preset()]).run(after, before).dict()["metrics"]
        flags = {}
        for metric in said:
            config = metric.get("config", {})
            if "column" in config and "threshold" in config:
                small_is_drift = "p_value" in metric["metric_name"].split("method=")[1]
                value = float(metric["value"])
                flags[config["column"]] = (
                    value < config["threshold"] if small_is_drift else value >= config["threshold"]
                )
        found.append([flags[name] for name in reference.columns])
    return np.array(found, bool)


def _fitted(continuous: str, nominal: str, reference: Any, rows: int, categorical: list[str]) -> Any:  # noqa: ANN401  # as frame
    calculator = import_module("nannyml").UnivariateDriftCalculator(
        column_names=list(reference.columns),
        treat_as_categorical=[n for n in reference.columns if n in categorical],
        chunk_size=rows,
        continuous_methods=[continuous],
        categorical_methods=[nominal],
    )
    calculator.fit(reference)
    return calculator


def _nannyml(continuous: str, nominal: str) -> Callable[[Any, Any, int, list[str]], Alarms]:
    def alarms(reference: Any, current: Any, rows: int, categorical: list[str]) -> Alarms:  # noqa: ANN401  # as frame
        calculator = _fitted(continuous, nominal, reference, rows, categorical)
        said = calculator.calculate(current).to_df(multilevel=True)
        said = said[said["chunk", "chunk", "period"] == "analysis"]
        methods = [(n, nominal if n in categorical else continuous) for n in reference.columns]
        return np.column_stack([said[n, m, "alert"].to_numpy(bool) for n, m in methods])

    return alarms


def whylogs_alarms(reference: Any, current: Any, rows: int, categorical: list[str]) -> Alarms:  # noqa: ANN401, ARG001  # as frame; it guesses types
    """Flag columns whose default test on the two profiles says DRIFT."""
    whylogs: Any = import_module("whylogs")
    drift: Any = import_module("whylogs.viz.drift.column_drift_algorithms")
    before = whylogs.log(reference).view()
    found = []
    for window in _windows(current, rows):
        said = drift.calculate_drift_scores(whylogs.log(window).view(), before, with_thresholds=True)
        found.append([said[n] is not None and said[n]["drift_category"] == "DRIFT" for n in reference.columns])
    return np.array(found, bool)


ALARMS: dict[str, Callable[[Any, Any, int, list[str]], Alarms]] = {
    "evidently": evidently_alarms,
    "evidently report": evidently_report,
    "nannyml js": _nannyml("jensen_shannon", "jensen_shannon"),
    "nannyml ks+chi2": _nannyml("kolmogorov_smirnov", "chi2"),
    "whylogs": whylogs_alarms,
}
"""Tools by name: (reference, windows one after another, rows of a window, categorical columns) -> alarms."""


def _spent(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def speeds(tool: str, reference: Any, current: Any, rows: int, categorical: list[str]) -> dict[str, float]:  # noqa: ANN401  # as frame
    """Return CPU-seconds of a tool's pieces of work, and its state's size where it has one."""
    if tool == "evidently":
        window = current.iloc[:rows]
        return {"evaluate a window": _spent(lambda: evidently_report(reference, window, rows, categorical))}
    if tool == "nannyml":
        calculator = _fitted("jensen_shannon", "jensen_shannon", reference, rows, categorical)
        chunks = len(current) // rows
        return {"evaluate a window": _spent(lambda: calculator.calculate(current)) / chunks}
    whylogs: Any = import_module("whylogs")
    drift: Any = import_module("whylogs.viz.drift.column_drift_algorithms")
    before = whylogs.log(reference).view()
    after = whylogs.log(current.iloc[:rows]).view()
    first = next(c for c in reference.columns if c not in categorical)
    return {
        "profile the reference": _spent(lambda: whylogs.log(reference)),
        "evaluate a window": _spent(lambda: drift.calculate_drift_scores(after, before, with_thresholds=True)),
        "state_bytes": float(len(after.get_column(first).to_protobuf().SerializeToString())),
    }
