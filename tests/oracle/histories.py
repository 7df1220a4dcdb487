"""Made-up histories for property tests: small times and few names, so that everything that can meet does meet."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from hypothesis import strategies as st

from tests.oracle.join_oracle import Label, Prediction, Rules

BASE = 1_767_225_600_000
"""2026-01-01, ms."""
FUTURE = 25
RULES = {
    "m1": Rules(pane=10, window=30, lateness=5, idle=20, maturity=40, horizon=60),
    "m2": Rules(pane=20, window=20, lateness=0, idle=35, maturity=0, horizon=45),
}
POSITIVE = "yes"

_UNREADABLE = [None, b"", b"{", b"[]", b"null", b'{"prediction_id": 1}', b"\xff\xfe", b'{"prediction_id": "a"}']
_SAMPLES = 150


def _grid(seed: int) -> int:
    """Half of the histories keep to multiples of 5 ms, which all rules are: there every limit is met exactly."""
    return 5 if seed % 2 else 1


def _step(random: Random) -> int:
    """How far record time moves: mostly a little, sometimes back, sometimes past every idle time or horizon."""
    kind = random.randrange(20)
    return (
        random.randrange(-3, 15)
        if kind < 17
        else random.randrange(30, 160)
        if kind < 19
        else random.randrange(200, 400)
    )


def _id(random: Random, now: int) -> str:
    """Few names at a time, which come back."""
    return f"{random.choice('abcd')}{(now - BASE) // 150 % 3}"


def predictions_of(seed: int, n: int) -> list[Prediction]:
    """One partition's first ``n`` predictions, in offset order."""
    now, out, grid = BASE, [], _grid(seed)
    for offset in range(n):
        r = Random(f"prediction {seed} {offset}")
        now += _step(r) // grid * grid
        if r.randrange(20) == 0:
            out.append(Prediction(offset, now, readable=False, id=str(r.randrange(len(_UNREADABLE)))))
            continue
        features: dict[str, Any] = {}
        if r.randrange(5):
            features["a"] = r.choice([-1.0, 0.0, 1.0, 2.0, 2.5, 3.0, 4.0, 5.0, 1e300, None, "text", True])
        if r.randrange(5):
            features["c"] = r.choice(["de", "fr", "uk", "nowhere", 3, 3.0, True, None])
        if r.randrange(10) == 0:
            features[r.choice(["unknown", "stranger"])] = r.choice([1, "x", None])
        out.append(
            Prediction(
                offset,
                now,
                id=_id(r, now),
                model=r.choice(["m1", "m1", "m2", "m2", "m2", "nobody"]),
                version=r.choice(["v1", "v2"]),
                variant=r.choice(["champion", "champion", "shadow"]),
                event_time=now + r.choice([0, r.randrange(-12, 1), r.randrange(-40, 35)]) // grid * grid,
                features=features,
                prediction=r.choice(["yes", "no", "perhaps", None, 1]),
                score=r.choice([None, 0.0, 0.29, 0.5, 1.0, 0.999, r.random()]),
            )
        )
    return out


def labels_of(seed: int, n: int) -> list[Label]:
    """One partition's first ``n`` labels, in offset order."""
    grid = _grid(seed)
    now, out = BASE + Random(f"start {seed}").randrange(-60, 60) // grid * grid, []
    for offset in range(n):
        r = Random(f"label {seed} {offset}")
        now += _step(r) // grid * grid
        if r.randrange(20) == 0:
            out.append(Label(offset, now, readable=False, id=str(r.randrange(len(_UNREADABLE)))))
            continue
        own = r.choice([None, 0, r.randrange(-70, 35)])
        out.append(
            Label(
                offset,
                now,
                id=_id(r, now + r.randrange(-80, 40)),
                label=r.choice(["yes", "yes", "no", "no", 1, True, "1"]),
                event_time=None if own is None else now + own // grid * grid,
                model=r.choice([None, None, "m1", "m2", "m2", "nobody"]),
            )
        )
    return out


_SIZE = st.one_of(st.integers(0, 12), st.integers(0, _SAMPLES))
_SEED = st.integers(0, 1 << 32)
HISTORY = st.builds(lambda seed, n, m: (predictions_of(seed, n), labels_of(seed, m)), _SEED, _SIZE, _SIZE)
"""Every record is made of the seed and its place, so a failing history is shortened by cutting its end."""


def prediction_bytes(p: Prediction) -> bytes | None:
    """The record's value."""
    if not p.readable:
        return _UNREADABLE[int(p.id)]
    said: dict[str, Any] = {
        "prediction_id": p.id,
        "model": p.model,
        "model_version": p.version,
        "variant": p.variant,
        "event_time": p.event_time,
        "features": p.features,
        "prediction": p.prediction,
        "score": p.score,
    }
    return json.dumps(said).encode()


def label_bytes(label: Label) -> bytes | None:
    """The record's value."""
    if not label.readable:
        return _UNREADABLE[int(label.id)]
    said: dict[str, Any] = {"prediction_id": label.id, "label": label.label}
    if label.event_time is not None:
        said["event_time"] = label.event_time
    if label.model is not None:
        said["model"] = label.model
    return json.dumps(said).encode()
