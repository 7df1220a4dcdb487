"""Made-up histories for property tests: small times and few names, so that everything that can meet does meet."""

from __future__ import annotations

import json
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
_ID = st.sampled_from("abcd")
_STEP = st.one_of(st.integers(-3, 15), st.just(0), st.integers(30, 160))
_MODEL = st.sampled_from(["m1", "m1", "m2", "m2", "m2", "nobody"])
_A = st.sampled_from([-1.0, 0.0, 1.0, 2.0, 2.5, 3.0, 4.0, 5.0, 1e300, None, "text", True])
_C = st.sampled_from(["de", "fr", "uk", "nowhere", 3, 3.0, True, None])
_FEATURES = st.fixed_dictionaries({}, optional={"a": _A, "c": _C, "unknown": st.sampled_from([1, "x", None])})
_ANSWER = st.sampled_from(["yes", "no", "perhaps", None, 1])
_SCORE = st.one_of(st.none(), st.sampled_from([0.0, 0.29, 0.5, 1.0, 0.999]), st.floats(0, 1))
_TRUTH = st.sampled_from(["yes", "yes", "no", "no", 1, True, "1"])
_SAMPLES = 60


@st.composite
def predictions(draw: st.DrawFn) -> list[Prediction]:
    """One partition's predictions, in offset order."""
    steps = draw(st.lists(_STEP, max_size=_SAMPLES))
    now, out = BASE, []
    for offset, step in enumerate(steps):
        now += step
        if draw(st.integers(0, 19)) == 0:
            out.append(Prediction(offset, now, readable=False, id=str(draw(st.integers(0, len(_UNREADABLE) - 1)))))
            continue
        out.append(
            Prediction(
                offset,
                now,
                id=draw(_ID),
                model=draw(_MODEL),
                version=draw(st.sampled_from(["v1", "v2"])),
                variant=draw(st.sampled_from(["champion", "champion", "shadow"])),
                event_time=now + draw(st.integers(-40, 35)),
                features=draw(_FEATURES),
                prediction=draw(_ANSWER),
                score=draw(_SCORE),
            )
        )
    return out


@st.composite
def labels(draw: st.DrawFn) -> list[Label]:
    """One partition's labels, in offset order."""
    steps = draw(st.lists(_STEP, max_size=_SAMPLES))
    now, out = BASE + draw(st.integers(-60, 60)), []
    for offset, step in enumerate(steps):
        now += step
        if draw(st.integers(0, 19)) == 0:
            out.append(Label(offset, now, readable=False, id=str(draw(st.integers(0, len(_UNREADABLE) - 1)))))
            continue
        own = draw(st.one_of(st.none(), st.integers(-70, 35)))
        out.append(
            Label(
                offset,
                now,
                id=draw(_ID),
                label=draw(_TRUTH),
                event_time=None if own is None else now + own,
                model=draw(st.one_of(st.none(), _MODEL)),
            )
        )
    return out


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
