"""Plans for decoder tests: every kind of column, and models of every task."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from detectors.reference import Reference
from schemas.config import FeatureSetConfig, ModelConfig
from streams.engine.plan import Plan, compile_plan

if TYPE_CHECKING:
    from collections.abc import Mapping

TIME = 1_767_225_600_000
"""2026-01-01, ms."""


@cache
def reference(task: str | None = "binary") -> Reference:
    """A reference with a number, a category, a category that is a number, and a boolean."""
    table: dict[str, Any] = {
        "amount": [1.0, 2.0, 3.0, 4.0] * 50,
        "country": ["de", "fr"] * 100,
        "branch": ["1", "2"] * 100,
        "known": [True, False] * 100,
    }
    if task == "regression":
        table |= {"prediction": [1.0, 2.0] * 100, "label": [1.5, 2.0] * 100}
        return Reference.build(table, task="regression")
    if task == "multiclass":
        table |= {"prediction": ["a", "b"] * 100, "label": ["a", "b"] * 100}
        return Reference.build(table, task="multiclass")
    if task is None:
        return Reference.build(table)
    table |= {"prediction": ["yes", "no"] * 100, "score": [0.9, 0.1] * 100, "label": ["yes", "no"] * 100}
    return Reference.build(table, task="binary", positive_class="yes")


def plan(tasks: Mapping[str, str], **more: Any) -> Plan:  # noqa: ANN401  # fields of the configuration
    """A plan of models: name -> task."""
    configs = {
        name: ModelConfig.model_validate(
            {"task": task, "reference": "unused.json"} | ({"positive_class": "yes"} if task == "binary" else {}) | more
        )
        for name, task in tasks.items()
    }
    return compile_plan("predictions", configs, {name: [reference(task)] for name, task in tasks.items()}, 300_000)


def feature_plan() -> Plan:
    """A plan of one feature set."""
    configs = {"customers": FeatureSetConfig.model_validate({"reference": "unused.json"})}
    return compile_plan("features", configs, {"customers": [reference(None)]}, 300_000)


def prediction(**changes: Any) -> bytes:  # noqa: ANN401  # JSON
    """A sound prediction with changes; ``...`` takes a field out."""
    said: dict[str, Any] = {
        "prediction_id": "p1",
        "model": "loans",
        "model_version": "v1",
        "event_time": TIME,
        "features": {"amount": 2.5, "country": "de", "branch": "1", "known": True},
        "prediction": "yes",
        "score": 0.75,
    }
    said |= changes
    return json.dumps({k: v for k, v in said.items() if v is not ...}).encode()


def label(**changes: Any) -> bytes:  # noqa: ANN401  # JSON
    """A sound label with changes; ``...`` takes a field out."""
    said = {"prediction_id": "p1", "label": "yes", "model": "loans", "event_time": TIME} | changes
    return json.dumps({k: v for k, v in said.items() if v is not ...}).encode()
