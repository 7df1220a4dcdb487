"""The Elec2 data set as a live model: what docs/elec2.md runs.

A river model answers "UP or DOWN?" for every half-hour of the New South Wales electricity market and learns each truth an
hour after the half-hour began (prequential: every row is answered before it is learned). From it come the events that its
services would publish: predictions, the features as their pipeline publishes them, and labels.

    python -m docs.scripts.elec2 make elec2.csv.gz --to elec2
    python -m docs.scripts.elec2 send elec2/events.jsonl.gz --bootstrap localhost:9092
    python -m docs.scripts.elec2 alerts alerts.jsonl

``make`` writes events.jsonl.gz (a dump as ``driftline replay`` reads it), market.csv and half_hours.csv (the first half-year:
tables for ``driftline reference build``) and monitor.yaml. ``send`` produces the events. ``alerts`` makes a Markdown table of
alert events, one JSON a line.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import zlib
from collections import deque
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import polars as pl
from confluent_kafka import Producer
from river import linear_model, preprocessing

from schemas.times import rfc3339
from streams import logfile
from streams.logfile import Record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

BEGIN_MS = 831_427_200_000
"""1996-05-07T00:00Z: the first half-hour (the data's own zone, New South Wales, is taken for UTC)."""
STEP_MS = 30 * 60 * 1000
LABEL_DELAY_MS = 2 * STEP_MS
"""The truth of a half-hour is known one hour after it began."""
REFERENCE_ROWS = 8_736
"""The first 26 weeks."""
CLOSING_MS = 60 * 24 * 3600 * 1000
"""How far behind the last half-hour the closing records stand: past every window's maturity and horizon."""
FEATURES = ("day", "period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer")
"""All columns but ``date``, which only says how far the file is, and ``class``, which is the truth."""
POSITIVE = "UP"
MODEL, VERSION, FEATURE_SET = "market", "online", "half_hours"


@dataclass(frozen=True, slots=True)
class Answer:
    """One half-hour: what the model saw at ``time_ms``, what it answered, how sure it was of UP, and the truth."""

    time_ms: int
    features: Mapping[str, int | float]
    prediction: str
    score: float
    label: str

    @property
    def name(self) -> str:
        """Names the half-hour, and the prediction about it."""
        return f"NSW-{rfc3339(self.time_ms)}"


KINDS = ("drift", "quality", "performance", "sequential", "service", "labels", "proxy")
"""The kinds of alerts that can be asked for."""


def answers(table: pl.DataFrame) -> Iterator[Answer]:
    """Every row, answered before its truth and everything that is not yet known is learned."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    waiting: deque[tuple[int, dict[str, int | float], bool]] = deque()
    for i, row in enumerate(table.iter_rows(named=True)):
        time_ms = BEGIN_MS + i * STEP_MS
        features = {name: row[name] for name in FEATURES}
        while waiting and waiting[0][0] <= time_ms:
            _, old, truth = waiting.popleft()
            model.learn_one(old, truth)
        score = float(model.predict_proba_one(features).get(True, 0.5))
        answer = POSITIVE if score > 0.5 else "DOWN"  # noqa: PLR2004  # more likely than not
        waiting.append((time_ms + LABEL_DELAY_MS, features, row["class"] == POSITIVE))
        yield Answer(time_ms, features, answer, score, row["class"])


def events(given: Iterable[Answer], partitions: int) -> Iterator[Record]:
    """The records of the three topics, in the order of their times; a closing record ends every partition.

    Partitions are chosen as librdkafka chooses them (crc32 of the key), so that a label lands where its prediction is. A
    closing record lies far ahead, so that every window ends by the log alone.
    """
    ends: dict[tuple[str, int], int] = {}

    def record(topic: str, time_ms: int, key: str, event: dict[str, Any], partition: int | None = None) -> Record:
        place = zlib.crc32(key.encode()) % partitions if partition is None else partition
        offset = ends.get((topic, place), 0)
        ends[topic, place] = offset + 1
        return Record(topic, place, offset, time_ms, key.encode(), orjson.dumps(event))

    def label(name: str, time_ms: int, truth: str, partition: int | None = None) -> Record:
        event = {"prediction_id": name, "label": truth, "event_time": time_ms}
        return record("labels", time_ms, name, event, partition)

    unlabelled: deque[Answer] = deque()
    time_ms = BEGIN_MS
    for answer in given:
        time_ms = answer.time_ms
        while unlabelled and unlabelled[0].time_ms + LABEL_DELAY_MS <= time_ms:
            known = unlabelled.popleft()
            yield label(known.name, known.time_ms + LABEL_DELAY_MS, known.label)
        yield record("features", time_ms, answer.name, _measured(answer.name, time_ms, answer.features))
        yield record("predictions", time_ms, answer.name, _answered(answer))
        unlabelled.append(answer)
    for known in unlabelled:
        yield label(known.name, known.time_ms + LABEL_DELAY_MS, known.label)
    end = time_ms + CLOSING_MS
    for partition in range(partitions):
        name = f"closing-{partition}"
        yield record("features", end, name, _measured(name, end, {}), partition)
        yield record("predictions", end, name, _identified(name, end), partition)
        yield label(f"nobody-{partition}", end, POSITIVE, partition)


def _identified(name: str, time_ms: int) -> dict[str, Any]:
    return {"prediction_id": name, "model": MODEL, "model_version": VERSION, "event_time": time_ms}


def _answered(answer: Answer) -> dict[str, Any]:
    more = {"features": answer.features, "prediction": answer.prediction, "score": answer.score}
    return _identified(answer.name, answer.time_ms) | more


def _measured(name: str, time_ms: int, features: Mapping[str, int | float]) -> dict[str, Any]:
    return {"feature_set": FEATURE_SET, "entity_id": name, "event_time": time_ms, "features": features}


def make(source: Path, folder: Path, partitions: int) -> int:
    """Write the events, the tables of the first half-year and monitor.yaml; returns the number of records."""
    folder.mkdir(parents=True, exist_ok=True)
    answered = list(answers(pl.read_csv(source)))
    first = list(islice(answered, REFERENCE_ROWS))
    seen = pl.DataFrame([a.features for a in first])
    seen.write_csv(folder / "half_hours.csv")
    seen.with_columns(
        event_time=pl.Series([a.time_ms for a in first]),
        prediction=pl.Series([a.prediction for a in first]),
        score=pl.Series([a.score for a in first]),
        label=pl.Series([a.label for a in first]),
    ).write_csv(folder / "market.csv")
    shutil.copyfile(Path(__file__).with_suffix(".yaml"), folder / "monitor.yaml")
    return logfile.write(folder / "events.jsonl.gz", events(answered, partitions))


def send(records: Iterable[Record], bootstrap: str, topics: Mapping[str, str] | None = None) -> int:
    """Produce records to the partitions that they name, now; returns how many. ``topics`` renames.

    Raises RuntimeError when the broker did not take all of them.
    """
    refused: list[str] = []
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "enable.idempotence": True})

    def taken(error: object, _: object) -> None:
        if error is not None:
            refused.append(str(error))

    count = 0
    for r in records:
        topic = (topics or {}).get(r.topic, r.topic)
        while True:
            try:
                producer.produce(topic, r.value, key=r.key, partition=r.partition, on_delivery=taken)
            except BufferError:
                producer.poll(0.1)
            else:
                break
        producer.poll(0)
        count += 1
    left = producer.flush(60)
    if left or refused:
        message = f"{left + len(refused)} of {count} records were not taken ({', '.join(sorted(set(refused)))})"
        raise RuntimeError(message)
    return count


def table(lines: Iterable[bytes], kinds: Collection[str] = ()) -> str:
    """A Markdown table of alert events, by time: one row for what one incident opened, raised or resolved at one time.

    ``kinds`` (``KINDS``) are the kinds to show, all if there are none.
    """
    rows: dict[tuple[str, str, str, str, str], list[str]] = {}
    alerts = [e for e in map(_event, lines) if str(e["type"]).startswith("dev.driftline.alert.")]
    for event in sorted(alerts, key=_place):
        data = event["data"]
        if kinds and data["kind"] not in kinds:
            continue
        verb = event["type"].split(".")[-2]
        key = (event["time"][:10], data["model"], data["kind"], verb, data["incident"][:8])
        rows.setdefault(key, []).append(_what(data))
    head = "| decided | watched | kind | transition | incident | what (size, severity) |\n|---|---|---|---|---|---|"
    return "\n".join([head, *(f"| {' | '.join(key)} | {'; '.join(what)} |" for key, what in rows.items())])


def _event(line: bytes) -> dict[str, Any]:
    """An event by itself, or in a line about its record: as JSON (``driftline replay --out``) or text (``driftline dump``)."""
    found: dict[str, Any] = orjson.loads(line)
    value = found.get("value", found)
    event: dict[str, Any] = orjson.loads(value) if isinstance(value, str) else value
    return event


def _place(event: dict[str, Any]) -> tuple[str, str, str, float, str]:
    """Where an event stands: by time, model and kind, the largest change first."""
    data = event["data"]
    size = data["evidence"].get("effect_size") or 0.0
    return event["time"], data["model"], data["kind"], -size, event["id"]


def _what(data: dict[str, Any]) -> str:
    subject, evidence = data["subject"], data["evidence"]
    name = " ".join(part for part in (subject.get("feature"), subject.get("metric")) if part)
    size = evidence.get("effect_size")
    return f"{name} ({size:.2f}, {data['severity']})" if size is not None else f"{name} ({data['severity']})"


def main(arguments: list[str] | None = None) -> None:
    """Run one of the three commands."""
    parser = argparse.ArgumentParser(prog="python -m docs.scripts.elec2", description="Elec2 as a live model.")
    commands = parser.add_subparsers(dest="command", required=True)
    maker = commands.add_parser("make", help="turn the data set into events, tables and a monitor.yaml")
    maker.add_argument("csv", type=Path)
    maker.add_argument("--to", type=Path, default=Path("elec2"))
    maker.add_argument("--partitions", type=int, default=4, help="of each topic (default: 4)")
    sender = commands.add_parser("send", help="produce the events")
    sender.add_argument("events", type=Path)
    sender.add_argument("--bootstrap", default="localhost:9092")
    teller = commands.add_parser("alerts", help="a Markdown table of alert events, one JSON a line")
    teller.add_argument("events", type=Path)
    teller.add_argument("--kind", action="append", default=[], choices=KINDS)
    given = parser.parse_args(arguments)
    if given.command == "make":
        out = f"{make(given.csv, given.to, given.partitions):,} records in {given.to / 'events.jsonl.gz'}"
    elif given.command == "send":
        out = f"{send(logfile.read(given.events), given.bootstrap):,} records sent"
    else:
        out = table(given.events.read_bytes().splitlines(), given.kind)
    sys.stdout.write(out + "\n")


if __name__ == "__main__":
    main()
