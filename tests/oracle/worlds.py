"""Worlds for generated histories: models with their times, budgets and references, from milliseconds to days."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from detectors.reference import Reference
from schemas.config import Alerts, Config, Labels, ModelConfig, Retrain, Windows
from schemas.monitors import Monitor
from tests.oracle.join_oracle import Rules
from tests.oracle.monitor_families import Watched
from tests.oracle.monitor_oracle import POSITIVE

if TYPE_CHECKING:
    from collections.abc import Mapping

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
SCORES = 64
"""Scores are whole 64ths: they are the same number in 32 bits."""
ERRORS = 0.1
"""The share of wrong answers in the references."""


@dataclass(frozen=True)
class World:
    """What is watched, and the times of all of it."""

    name: str
    models: Mapping[str, Watched]
    future: int
    config: Config


def answer(random: Random, shift: float = 0.0, errors: float = ERRORS) -> dict[str, Any]:
    """One answered question: features, answer, score and truth."""
    a = round((random.gauss(0, 1) + shift) * 8) / 8
    truth = a > shift
    said = truth != (random.random() < errors)
    score = (random.randrange(40, 64) if said else random.randrange(24)) / SCORES
    return {
        "a": a,
        "c": random.choice(["de", "de", "fr", "uk"]),
        "prediction": POSITIVE if said else "no",
        "score": score,
        "label": POSITIVE if truth else "no",
    }


@cache
def reference(*, labelled: bool = True, hours: int = 0) -> Reference:
    """A reference; with ``hours`` its rows have event times, and the answers a daily season."""
    random = Random("reference")
    rows = 60 * hours or 3000
    table: dict[str, Any] = {}
    for i in range(rows):
        shift = 0.0 if not hours else 0.5 * float(np.sin(i // 60 % 24 / 24 * 2 * np.pi))
        row = answer(random, shift)
        for name, value in row.items():
            table.setdefault(name, []).append(value)
    if not labelled:
        del table["label"]
    if hours:
        table["event_time"] = [i // 60 * HOUR + i % 60 * MINUTE for i in range(rows)]
        return Reference.build(table, task="binary", positive_class=POSITIVE, window_ms=HOUR)
    return Reference.build(table, task="binary", positive_class=POSITIVE)


_MONITORS = (
    Monitor(drift=("features", "prediction", "score")),
    Monitor(quality="features"),
    Monitor(performance=("accuracy", "f1", "roc_auc")),
    Monitor(sequential="error_rate"),
)
"""Said in full: what else can be watched has oracles of its own."""


def _model(name: str, rules: Rules, alerts: Alerts, retrain: Retrain | None, of: Reference, **more: Any) -> Watched:  # noqa: ANN401  # any settings
    config = ModelConfig(
        task="binary",
        positive_class=POSITIVE,
        reference="unused.json",
        windows=Windows(pane=rules.pane, size=rules.window, lateness=rules.lateness, idle=rules.idle),
        labels=Labels(maturity=rules.maturity, horizon=rules.horizon),
        monitors=_MONITORS,
        alerts=alerts,
        retrain=retrain,
        **more,
    )
    return Watched(name, config, rules, of)


@cache
def worlds() -> dict[str, World]:
    """All of them, by name. Each model has other times and another policy than the one beside it."""
    tiny = {
        "m1": _model(
            "m1",
            Rules(pane=10, window=30, lateness=5, idle=20, maturity=40, horizon=60),
            Alerts(false_alarms="60 per 1s", cooldown=0, confirm="1 of 2"),
            Retrain(min_labels=5, approval="none", cooldown=60, expires=90, max_per_day=9),
            reference(),
        ),
        "m2": _model(
            "m2",
            Rules(pane=20, window=20, lateness=0, idle=35, maturity=0, horizon=45),
            Alerts(false_alarms="60 per 1s", cooldown=40, confirm="1 of 1"),
            None,
            reference(labelled=False),
            tier="high",
        ),
    }
    seconds = {
        "m1": _model(
            "m1",
            Rules(
                pane=SECOND, window=4 * SECOND, lateness=500, idle=2 * SECOND, maturity=4 * SECOND, horizon=10 * SECOND
            ),
            Alerts(false_alarms="20 per 60s", cooldown=8 * SECOND, confirm="2 of 3"),
            Retrain(
                min_labels=40,
                approval="none",
                cooldown=8 * SECOND,
                expires=9 * SECOND,
                max_per_day=3,
                on=("drift", "sequential"),
            ),
            reference(),
        ),
        "m2": _model(
            "m2",
            Rules(
                pane=2 * SECOND, window=2 * SECOND, lateness=0, idle=3 * SECOND, maturity=SECOND, horizon=20 * SECOND
            ),
            Alerts(false_alarms="60 per 60s", cooldown=0, confirm="1 of 2"),
            Retrain(
                min_labels=20, approval="required", cooldown=0, expires=6 * SECOND, max_per_day=2, on=("performance",)
            ),
            reference(),
            tier="low",
        ),
    }
    minutes = {
        "m1": _model(
            "m1",
            Rules(MINUTE, 10 * MINUTE, 30 * SECOND, MINUTE, DAY, 7 * DAY),
            Alerts(false_alarms="9 per 1h", cooldown=HOUR, confirm="2 of 3"),
            Retrain(min_labels=50, approval="none", cooldown=HOUR, max_per_day=2),
            reference(),
        ),
        "m2": _model(
            "m2",
            Rules(5 * MINUTE, 10 * MINUTE, MINUTE, 2 * MINUTE, 12 * HOUR, 2 * DAY),
            Alerts(false_alarms="9 per 1h", cooldown=0, confirm="1 of 1"),
            None,
            reference(),
        ),
    }
    hours = {
        "m1": _model(
            "m1",
            Rules(15 * MINUTE, HOUR, 5 * MINUTE, 30 * MINUTE, 6 * HOUR, 2 * DAY),
            Alerts(false_alarms="3 per 1d", cooldown=HOUR, confirm="2 of 3"),
            Retrain(min_labels=30, approval="none", cooldown=3 * HOUR, max_per_day=2),
            reference(hours=28 * 24),
        ),
        "m2": _model(
            "m2",
            Rules(6 * HOUR, DAY, HOUR, 2 * HOUR, DAY, 3 * DAY),
            Alerts(false_alarms="9 per 10d", cooldown=0, confirm="1 of 2"),
            Retrain(min_labels=20, approval="required", cooldown=DAY, max_per_day=1),
            reference(),
        ),
    }
    futures = {"tiny": 25, "seconds": SECOND, "minutes": 5 * MINUTE, "hours": 5 * MINUTE}
    all_models = {"tiny": tiny, "seconds": seconds, "minutes": minutes, "hours": hours}
    return {
        name: World(
            name,
            models,
            futures[name],
            Config(commit_interval=1, models={n: m.config for n, m in models.items()}, future=futures[name]),
        )
        for name, models in all_models.items()
    }
