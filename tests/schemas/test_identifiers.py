"""Deterministic ids and hash tags."""

import re
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.identifiers import StreamKey, alert_id, event_id, model_tag, task_tag, transition_id

PARTS = st.lists(st.text(max_size=4) | st.integers(-20, 20), max_size=4)


@given(PARTS, PARTS)
def test_two_ids_are_equal_only_for_the_same_parts(one: list[str | int], other: list[str | int]) -> None:
    assert (one == other) == (event_id(*one) == event_id(*other))


@given(st.lists(st.text(alphabet="a1:s", max_size=6), min_size=1, max_size=4))
def test_where_one_part_ends_and_the_next_begins_is_part_of_the_id(parts: list[str]) -> None:
    joined = "".join(parts)
    assert (parts == [joined]) == (event_id(*parts) == event_id(joined))


def test_a_number_is_not_its_digits() -> None:
    assert event_id(1) != event_id("1")


def test_an_id_is_128_bits_in_hexadecimal_and_never_changes() -> None:
    # Pinned because subscribers have acted on ids; from: printf s5:alerts5:fraudi1:7 | b2sum -l 128
    assert event_id("alert", "fraud", 7) == "1fa58c841c9c454f2e41e6e0f36346aa"
    assert re.fullmatch("[0-9a-f]{32}", event_id())


def test_an_id_exists_for_a_lone_surrogate() -> None:
    assert event_id("\ud800") != event_id("\ud801")


STREAM = StreamKey("m", "1", "champion")


@dataclass(frozen=True)
class _Alert:
    stream: StreamKey = STREAM
    kind: str = "drift"
    subject: str = "amount"
    window_end_ms: int = 600_000
    epoch: str = "e"
    revision: int = 1

    @property
    def id(self) -> str:
        return alert_id(
            self.stream,
            kind=self.kind,
            subject=self.subject,
            window_end_ms=self.window_end_ms,
            epoch=self.epoch,
            revision=self.revision,
        )


def test_everything_that_tells_two_alerts_apart_is_in_the_id() -> None:
    alert = _Alert()
    others = [
        replace(alert, stream=StreamKey("m", "2", "champion")),
        replace(alert, stream=StreamKey("m", "1", "shadow")),
        replace(alert, stream=StreamKey("n", "1", "champion")),
        replace(alert, kind="quality"),
        replace(alert, subject="age"),
        replace(alert, window_end_ms=1_200_000),
        replace(alert, epoch="f"),
        replace(alert, stream=StreamKey("m", "1", "champion", "country=de")),
        replace(alert, revision=2),
    ]
    assert len(others) + 1 == len({alert.id, *(other.id for other in others)})


def test_the_events_of_one_alert_have_ids_of_their_own() -> None:
    opened = transition_id("a", "opened", window_end_ms=1)
    others = {
        transition_id("a", "escalated", window_end_ms=1),
        transition_id("a", "opened", window_end_ms=2),
        transition_id("a", "opened", window_end_ms=1, revision=2),
        transition_id("b", "opened", window_end_ms=1),
    }
    assert len(others | {opened}) == 5


def test_a_tag_is_what_redis_cluster_hashes() -> None:
    assert (task_tag("driftline", 3), model_tag("driftline", "fraud")) == (
        "{task:driftline:3}",
        "{model:driftline:fraud}",
    )


@pytest.mark.parametrize("name", ["a}b", "{a"])
def test_a_brace_in_a_tag_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="braces"):
        model_tag("driftline", name)
