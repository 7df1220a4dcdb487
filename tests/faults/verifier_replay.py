"""The same topics through ``driftline dump`` and ``driftline replay``: what was decided under faults is what is decided in peace (P2).

This is the engine against itself, so it sees what faults did and not what the engine does wrong; in return it covers every family.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from schemas.config import Config
from schemas.outbox import payload
from tests.faults import verifier_compare as compare
from tests.faults.verifier_log import CannotLookError
from tests.faults.verifier_stored import Stored

TIMEOUT_S = 600.0
"""Everything is held in memory, at some 20,000 events a second: runs beyond a few million do not belong here."""
KINDS = ("drift", "performance", "proxy")


@dataclass(frozen=True)
class Replayed:
    """What the topics come to in peace."""

    events: list[dict[str, Any]]
    windows: list[dict[str, Any]]


def replayed(path: Path) -> Replayed:
    """Dump and replay the topics of a monitor.yaml. Raises CannotLookError."""
    with tempfile.TemporaryDirectory() as folder:
        dump, out = Path(folder) / "dump.jsonl.gz", Path(folder) / "replayed"
        _driftline("dump", "--config", str(path), "--out", str(dump))
        _driftline("replay", str(dump), "--config", str(path), "--out", str(out))
        events = [orjson.loads(line)["value"] for line in (out / "events.jsonl").read_bytes().splitlines()]
        return Replayed(events, [orjson.loads(line) for line in (out / "windows.jsonl").read_bytes().splitlines()])


def differences(config: Config, calm: Replayed, stored: Stored, told: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What a replay of the topics says otherwise; ``told`` are the published events of both kinds. Raises CannotLookError."""
    wanted = {e["id"]: _plain(e) for e in calm.events}
    yield from compare.maps("replayed event", wanted, {i: _plain(e) for i, e in told.items()})
    windows = {(w["model"], w["kind"], w["window"][0], *_stream(w)): w for w in calm.windows}
    found = {}
    for name in (*config.models, *config.feature_sets):
        for kind in KINDS:
            for record in stored.records(kind, name):
                said = {"model": name, "kind": kind, **record}
                found[name, kind, said["window"][0], *_stream(said)] = said
    yield from compare.maps("replayed window", windows, found)


def _stream(record: Mapping[str, Any]) -> tuple[str, str, str]:
    return record["version"], record["variant"], record.get("segment", "")


def _plain(event: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(payload(orjson.dumps(event)))
    return found


def _driftline(*arguments: str) -> None:
    command = [sys.executable, "-m", "streams.cli.main", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise CannotLookError(f"driftline {arguments[0]}: not done after {TIMEOUT_S:.0f} s") from error
    if done.returncode:
        raise CannotLookError(f"driftline {arguments[0]}: {done.stderr.strip()}")
