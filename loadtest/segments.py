"""``python -m loadtest segments``: what segments cost per event, decoding and counting apart, in one process without a broker.

The workload: 18 numbers, a country of 40 and a channel of 3 values, 5,000 events a batch, all in one window of ten panes. The
figures are CPU time, the best of some passes over the same 40,000 events.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detectors.reference import Reference
from schemas.config import ModelConfig
from streams.engine.decode import PredictionDecoder
from streams.engine.plan import compile_plan
from streams.engine.task import Task

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_START_MS: Final = 1_767_225_600_000
_BATCH: Final = 5_000
_BATCHES: Final = 8
_PASSES: Final = 3
_COUNTRIES: Final = [f"c{i}" for i in range(40)]
_CHANNELS: Final = ["web", "app", "shop"]
_ENTRIES: Final[tuple[list[Any], ...]] = ([], ["country"], ["country", ["country", "channel"]])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")


def main(arguments: argparse.Namespace) -> int:
    """Measure each list of entries; prints one line for each."""
    rng = np.random.default_rng(1)
    n = 20_000
    numbers = {f"f{i}": rng.normal(size=n) for i in range(18)}
    table = {"country": rng.choice(_COUNTRIES, n).tolist(), "channel": rng.choice(_CHANNELS, n).tolist()}
    answers = {"prediction": rng.choice(["yes", "no"], n).tolist(), "score": rng.random(n)}
    reference = Reference.build({**numbers, **table, **answers}, task="binary", positive_class="yes")
    records = [_record(i, rng) for i in range(_BATCH * _BATCHES)]
    figures = [measured(entries, reference, records) for entries in _ENTRIES]
    for entries, found in zip(_ENTRIES, figures, strict=True):
        print(  # noqa: T201  # a command says what it measured
            f"segments {json.dumps(entries)}: {found['streams'] - 1} segments, decoding {found['decode_us']:.1f} us, "
            f"counting {found['count_us']:.1f} us an event"
        )
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:  # noqa: PTH123  # a path as the user gave it
            json.dump([{"segments": e} | f for e, f in zip(_ENTRIES, figures, strict=True)], file, indent=1)
    return 0


def _record(i: int, rng: np.random.Generator) -> bytes:
    features = {f"f{k}": float(x) for k, x in enumerate(rng.normal(size=18))}
    features |= {"country": _COUNTRIES[i % 40], "channel": _CHANNELS[i % 3]}  # type: ignore[dict-item]  # a JSON object
    said = {"prediction_id": f"p{i}", "model": "m", "model_version": "v1", "event_time": _START_MS + 15 * i}
    return json.dumps({**said, "prediction": "yes", "score": 0.5, "features": features}).encode()


def measured(entries: list[Any], reference: Reference, records: Sequence[bytes]) -> dict[str, float]:
    """CPU time of decoding and of counting, microseconds an event, and how many streams there were."""
    said = {"task": "binary", "positive_class": "yes", "reference": "unused", "segments": entries}
    best = {"decode_us": float("inf"), "count_us": float("inf"), "streams": 0.0}
    for _ in range(_PASSES):
        plan = compile_plan("predictions", {"m": ModelConfig.model_validate(said)}, {"m": [reference]}, 300_000)
        decoder, task = PredictionDecoder(plan, "predictions"), Task(plan, "{m}", "predictions", "labels")
        decode = count = 0.0
        for first in range(0, len(records), _BATCH):
            batch = records[first : first + _BATCH]
            begun = time.process_time()
            columns = decoder.decode(batch)
            decoded = time.process_time()
            offset = np.arange(first, first + len(batch))
            task.predictions(columns, 0, len(batch), offset, np.full(len(batch), _START_MS + 600_000))
            decode, count = decode + decoded - begun, count + time.process_time() - decoded
        best["decode_us"] = min(best["decode_us"], decode / len(records) * 1e6)
        best["count_us"] = min(best["count_us"], count / len(records) * 1e6)
        best["streams"] = len(task.streams.names[0])
    return best
