"""P2, P3: however the log is cut into batches, a replay publishes the same events with the same payloads."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
import yaml

from schemas import config as configuration
from schemas.outbox import payload
from streams import replay
from streams.digest import digest
from streams.logfile import Record
from streams.replay import Replay
from tests.integration import scenario

PARTITIONS = 2


def records(n: int) -> list[Record]:
    """The integration story as a log of two partitions."""
    offsets: dict[tuple[str, int], int] = {}
    found = []
    for half, at, key, value in scenario.story(n):
        place = (half, zlib.crc32(key.encode()) % PARTITIONS)
        offset = offsets[place] = offsets.get(place, -1) + 1
        found.append(Record(*place, offset, at, key.encode(), value))
    return found


@pytest.mark.parametrize("families", [["sequential"], ["drift"], ["drift", "performance", "sequential"]])
def test_the_size_of_batches_changes_no_event_no_window_and_no_state(
    families: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario.write_config(tmp_path, "nowhere:9092", "redis://nowhere", {})
    path = tmp_path / "monitor.yaml"
    raw = yaml.safe_load(path.read_text())
    raw["models"]["loans"]["retrain"]["on"] = families
    path.write_text(yaml.safe_dump(raw))
    config, log = configuration.load(path), records(18_000)
    seen = set()
    for size in (5_000, 977, 64):
        monkeypatch.setattr(replay, "BATCH", size)
        run = Replay(config, log)
        run.run(close=True)
        events = {e.event_id: payload(e.value) for e in run.events}
        assert len(events) == len(run.events)
        assert any(b"retrain.requested" in value for value in events.values())
        seen.add((tuple(sorted(events.items())), str(list(run.windows())), digest(run.store, run.host)))
    assert len(seen) == 1
