"""The join's memory: bounds, samples, growth, forgetting, and a log that brings back what was there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from schemas.config import Labels, ModelConfig
from schemas.errors import StateCorrupt
from streams.engine import join_log
from streams.engine.decode import LabelDecoder, PredictionDecoder
from streams.engine.join import Join, Pairs
from streams.engine.kernels import join as kernel
from streams.engine.plan import Plan, compile_plan
from streams.engine.remembered import BYTES_IN_MEMORY
from streams.engine.task import Task
from tests.engine import watched
from tests.property.driver import reference

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

HOUR = 3_600_000
T0 = 1_767_225_600_000
YES, NO = (np.float64(x).view(np.uint64) for x in (1.0, 0.0))


def plan(**labels: Any) -> Plan:  # noqa: ANN401  # keys of the configuration
    said = {"maturity": HOUR, "horizon": 8 * HOUR} | labels
    config = ModelConfig(task="binary", positive_class="yes", reference="unused.json", labels=Labels(**said))
    return compile_plan("predictions", {"m": config}, {"m": [reference()]}, 1000)


def predict(
    join: Join, key: ArrayLike, time: ArrayLike, stream: int = 0, score: float = 0.25, klass: int = 1
) -> tuple[Pairs, NDArray[np.bool_], NDArray[np.int8]]:
    """Predictions of one stream; also which were remembered, and their status."""
    n = np.size(key)
    zero, status = np.zeros(n, np.int32), np.zeros(n, np.int8)
    time = np.broadcast_to(np.asarray(time, np.int64), n).copy()
    pairs, fresh = join.add_predictions(
        np.asarray(key, np.uint64),
        time,
        zero,
        zero + stream,
        zero,
        np.full(n, klass),
        np.full(n, score),
        status,
    )
    return pairs, fresh, status


def label(
    join: Join, key: ArrayLike, time: ArrayLike, truth: ArrayLike = YES, model: int = -2, offset: int = 0
) -> tuple[Pairs, NDArray[np.int8]]:
    """Labels; also their status."""
    n = np.size(key)
    status = np.zeros(n, np.int8)
    pairs = join.add_labels(
        np.asarray(key, np.uint64),
        np.broadcast_to(np.asarray(time, np.int64), n).copy(),
        np.full(n, model, np.int32),
        np.broadcast_to(np.asarray(truth, np.uint64), n).copy(),
        np.ones(n, np.uint8),
        np.arange(offset, offset + n),
        status,
    )
    return pairs, status


def keys(n: int, seed: int = 1) -> NDArray[np.uint64]:
    return np.random.default_rng(seed).integers(1, (1 << 64) - 1, n, dtype=np.uint64)


def age(join: Join, now: int) -> None:
    join.age(np.array([now]), np.array([now]), np.array([0]))


def stored(join: Join, into: dict[str, bytes]) -> dict[str, bytes]:
    """What the store holds after a commit."""
    for segment, blocks in join.appended.items():
        into[segment] = into.get(segment, b"") + b"".join(blocks)
    for segment in join.cut:
        into.pop(segment, None)
    join.logged()
    return into


def restored(compiled: Plan, join: Join, segments: dict[str, bytes]) -> Join:
    other = Join(compiled)
    other.know(join.coded())
    other.load(segments, "test")
    return other


def assert_same(one: Join, other: Join) -> None:
    for a, b in zip(one.contents(), other.contents(), strict=True):
        assert a.tolist() == b.tolist()
    assert one.waiting == other.waiting


@pytest.fixture
def loaded() -> tuple[Plan, Join, dict[str, bytes]]:
    """Twenty thousand predictions over seven hours, three in four labelled, in two commits."""
    compiled = plan()
    join, segments, key = Join(compiled), dict[str, bytes](), keys(20_000)
    time = T0 + np.linspace(0, 7 * HOUR, len(key)).astype(np.int64)
    predict(join, key, time)
    stored(join, segments)
    label(join, key[:15_000], time[:15_000] + 60_000, np.where(key[:15_000] & np.uint64(1), YES, NO))
    stored(join, segments)
    return compiled, join, segments


def test_a_prediction_takes_16_bytes_in_the_log_and_its_label_8_and_at_most_32_in_memory(
    loaded: tuple[Plan, Join, dict[str, bytes]],
) -> None:
    _, join, segments = loaded
    n, blocks = 20_000, 64  # headers: 8 slots in one commit
    of = {side: sum(len(v) for k, v in segments.items() if k[0] == side) for side in "pjl"}
    assert of["p"] <= n * join_log.BYTES_IN_STORE + blocks * 20
    assert of["j"] <= 15_000 * join_log.BYTES_OF_LABEL + blocks * 8
    assert of["l"] == 0
    assert join.predictions.size_bytes <= 1.01 * n * BYTES_IN_MEMORY + 100_000  # what does not grow with n


def test_the_log_brings_back_every_prediction_and_label(loaded: tuple[Plan, Join, dict[str, bytes]]) -> None:
    compiled, join, segments = loaded
    other = restored(compiled, join, segments)
    assert_same(join, other)
    for one in (join, other):
        _, status = label(one, keys(20_000)[14_000:16_000], T0 + 8 * HOUR, NO, offset=20_000)
        assert np.bincount(status, minlength=7)[[kernel.DUPLICATE, kernel.CONFLICT]].sum() == 1_000
        assert np.count_nonzero(status == kernel.APPLIED) == 1_000


def test_a_slot_is_forgotten_as_a_whole_and_its_segments_with_it(
    loaded: tuple[Plan, Join, dict[str, bytes]],
) -> None:
    compiled, join, segments = loaded
    age(join, T0 + 8 * HOUR + 3 * HOUR + 1)  # three slots of an hour each are a horizon behind
    stored(join, segments)
    found, _ = join.contents()
    assert found[:, 1].min() >= T0 + 3 * HOUR
    assert {int(s.rsplit(":", 1)[1]) for s in segments if s[0] == "p"} == {T0 // HOUR + h for h in range(3, 8)}
    counts = join.counts(0)
    assert {k: counts[k] for k in ("remembered", "labelled", "expired")} == {
        "remembered": 20_000,
        "labelled": 15_000,
        "expired": 0,
    }
    assert_same(join, restored(compiled, join, segments))
    age(join, T0 + 17 * HOUR)
    assert join.counts(0)["expired"] == 5_000
    assert stored(join, segments) == {}
    assert join.predictions.count == 0


def test_a_label_outlives_the_row_that_kept_it_until_its_own_horizon() -> None:
    compiled = plan()
    join, segments = Join(compiled), dict[str, bytes]()
    predict(join, [7], T0)
    label(join, [7], T0 + 8 * HOUR)  # the last moment
    stored(join, segments)
    age(join, T0 + 9 * HOUR + 1)  # the prediction is gone
    stored(join, segments)
    assert not any(s[0] in "pj" for s in segments)
    for one in (join, restored(compiled, join, segments)):
        _, status = label(one, [7], T0 + 15 * HOUR, NO, offset=9)
        assert status.tolist() == [kernel.CONFLICT]
        assert one.waiting == 0


def test_a_regressions_labels_and_a_64th_class_have_no_code_and_are_remembered_all_the_same() -> None:
    compiled = plan()
    join, segments, n = Join(compiled), dict[str, bytes](), kernel.NO_CODE + 5
    truth = np.array([np.float64(i).view(np.uint64) for i in range(n)])
    predict(join, range(1, n + 1), T0)
    pairs, status = label(join, range(1, n + 1), T0 + 1, truth)
    assert set(status.tolist()) == {kernel.APPLIED}
    assert pairs.truth.tolist() == truth.tolist()
    assert join.labels.count == 5  # lines of the table: those without a code
    stored(join, segments)
    for one in (join, restored(compiled, join, segments)):
        _, again = label(one, range(1, n + 1), T0 + 2, truth, offset=n)
        assert set(again.tolist()) == {kernel.DUPLICATE}


def test_the_sample_is_a_share_of_the_ids_the_same_for_predictions_and_labels() -> None:
    compiled, key = plan(sample=0.25), keys(20_000)
    for first in (True, False):
        join = Join(compiled)
        if first:
            _, fresh, _ = predict(join, key, T0)
        _, status = label(join, key, T0 + 1)
        if not first:
            _, fresh, _ = predict(join, key, T0)
        assert abs(fresh.mean() - 0.25) < 0.015
        assert ((status == kernel.SAMPLED_OUT) == ~fresh).all()
        counts = join.counts(0)
        assert counts["remembered"] == counts["labelled"] == fresh.sum()
        assert counts["sampled_out"] == len(key) - fresh.sum()


def test_at_the_bound_new_predictions_are_counted_and_not_remembered_whatever_the_batches() -> None:
    compiled, key = plan(memory=1_000_000), keys(50_000)
    time = T0 + np.linspace(0, 3 * HOUR - 1, len(key)).astype(np.int64)
    bound = 1_000_000 // BYTES_IN_MEMORY // 10  # eight slots, and one in part at each end
    seen = []
    for size in (50_000, 977):
        join = Join(compiled)
        fresh = np.concatenate(
            [predict(join, key[i : i + size], time[i : i + size])[1] for i in range(0, len(key), size)]
        )
        assert join.counts(0)["refused"] == len(key) - 3 * bound
        assert np.bincount((time[fresh] - T0) // HOUR).tolist() == [bound] * 3
        seen.append(fresh.tolist())
    assert seen[0] == seen[1]


@pytest.mark.parametrize(("beside", "most"), [("multiclass", 32), ("regression", 36)])
def test_a_large_memory_takes_no_more_than_what_labels_memory_is_divided_by(beside: str, most: int) -> None:
    labels = Labels(maturity=HOUR, horizon=8 * HOUR, memory=10**9)
    join, taken = Join(watched.plan({"m": "binary", "n": beside}, labels=labels)), []
    for i in range(100):
        predict(join, keys(10_000, seed=i), T0 + i * 60_000)
        taken.append(join.predictions.size_bytes / join.predictions.count)
    assert max(taken[30:]) <= 1.005 * most  # before, what does not grow with them counts
    assert join.predictions.limits.bound[0] == 10**9 // most // 10


def test_the_bound_is_shared_by_the_partitions() -> None:
    join = Join(plan(memory=1_000_000), 4)
    predict(join, keys(5_000), T0)
    assert join.counts(0)["remembered"] == 1_000_000 // 4 // BYTES_IN_MEMORY // 10


def test_one_label_joins_every_prediction_of_its_id_however_many() -> None:
    join, versions = Join(plan()), 200
    for stream in range(versions):
        predict(join, [5], T0 + stream, stream)
    pairs, status = label(join, [5, 6], T0 + HOUR)
    assert status.tolist() == [kernel.APPLIED, kernel.WAITING]
    assert sorted(pairs.stream.tolist()) == list(range(versions))
    assert join.applied == 1
    pairs, _, _ = predict(join, [5], T0, versions)  # and one that comes after it
    assert (pairs.stream.tolist(), pairs.label_time.tolist()) == ([versions], [T0 + HOUR])


@pytest.mark.parametrize("score", [0.0, 1.0, 0.1, 1e-30, 1e-46, 5.0, -0.0, -1e-9, -3.0, 1e300, np.nan])
@pytest.mark.parametrize("klass", [0, 1])
def test_class_and_score_of_a_binary_answer_come_back_as_float32(score: float, klass: int) -> None:
    join = Join(plan())
    predict(join, [5], T0, score=score, klass=klass)
    pairs, _ = label(join, [5], T0)
    with np.errstate(over="ignore"):
        expected = -1.0 if score < -1e-6 else np.float64(np.float32(score)) if score > 0 else 0.0 * score + 0.0
    assert pairs.klass.tolist() == [klass]
    np.testing.assert_equal(pairs.answer[0], expected)


@pytest.mark.parametrize("side", ["p", "j", "l"])
def test_a_segment_with_a_wrong_byte_anywhere_is_corrupt(side: str) -> None:
    compiled = plan()
    join = Join(compiled)
    predict(join, keys(50), T0)
    label(join, [*keys(50)[:20].tolist(), 1, 2, 3], T0 + 1)
    segments = stored(join, {})
    name = next(s for s in segments if s[0] == side)
    for at in range(0, len(segments[name]), 7):
        data = bytearray(segments[name])
        data[at] ^= 0x40
        with pytest.raises(StateCorrupt):
            restored(compiled, join, segments | {name: bytes(data)})
    for cut in (1, 7, len(segments[name]) // 2, len(segments[name]) - 1):
        with pytest.raises(StateCorrupt):
            restored(compiled, join, segments | {name: segments[name][:cut]})


def test_marks_without_their_predictions_are_corrupt(loaded: tuple[Plan, Join, dict[str, bytes]]) -> None:
    compiled, join, segments = loaded
    name = next(s for s in segments if s[0] == "p")
    with pytest.raises(StateCorrupt, match="not in the log"):
        restored(compiled, join, {s: d for s, d in segments.items() if s != name})


def test_a_label_without_a_model_survives_that_the_model_with_the_longest_horizon_is_taken_out() -> None:
    configs = {
        name: ModelConfig(
            task="binary",
            positive_class="yes",
            reference="unused.json",
            labels=Labels(maturity=0, horizon=hours * HOUR),
        )
        for name, hours in (("long", 80), ("m", 8))
    }
    both = compile_plan("predictions", configs, {name: [reference()] for name in configs}, 1000)
    join = Join(both)
    label(join, [5, 6], T0)
    segments = stored(join, {})

    alone = plan()
    left = restored(alone, join, segments)
    age(left, T0 + HOUR)
    predict(left, [5], T0 + HOUR)
    segments = stored(left, segments)
    assert left.waiting == 1
    again = restored(alone, left, segments)
    assert_same(left, again)
    age(again, T0 + 100 * HOUR)
    assert again.orphans == 1
    assert not [s for s in stored(again, segments) if s[0] == "l"]


def test_a_new_slot_costs_the_same_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    fill, written = kernel.fill_directory, []

    def counted(names: NDArray[np.int64], slots: NDArray[np.int64], directory: NDArray[np.int64]) -> None:
        written.append(len(names))
        fill(names, slots, directory)

    monkeypatch.setattr(kernel, "fill_directory", counted)
    join = Join(plan())
    remembered = join.predictions
    for number in range(3_000):
        assert remembered.open_slot(0, number % 250, T0 // HOUR + number) == number
    assert sum(written) <= 3 * 3_000  # once each, and again where the directory doubled
    predict(join, keys(1), T0 + 250 * HOUR)
    assert len(remembered.named) == 3_000


def test_slots_of_many_models_and_streams_at_one_time_do_not_meet_in_the_directory() -> None:
    size, number = 1 << 16, T0 // HOUR
    homes = np.zeros(size, np.int64)
    for model in range(1_000):
        for stream in range(20):
            homes[kernel.slot_home(kernel.pack_slot(model, stream, number), size)] += 1
    assert homes.max() < 12  # 0.3 a place: by chance, 7 somewhere


def test_horizons_of_more_than_a_year_have_slots_of_32_bits() -> None:
    compiled = plan(horizon=800 * 24 * HOUR, maturity=0)
    join = Join(compiled)
    predict(join, [5, 6], [T0, T0 + 60 * 24 * HOUR])
    pairs, status = label(join, [5, 6], T0 + 700 * 24 * HOUR)
    assert status.tolist() == [kernel.APPLIED] * 2
    assert pairs.event_time.tolist() == [T0, T0 + 60 * 24 * HOUR]
    other = restored(compiled, join, stored(join, {}))
    assert_same(join, other)
    assert label(other, [5], T0 + 700 * 24 * HOUR, NO)[1].tolist() == [kernel.CONFLICT]


def test_labels_that_name_no_model_are_not_kept_for_a_model_that_never_comes() -> None:
    config = ModelConfig(
        task="binary", positive_class="yes", reference="unused.json", labels=Labels(horizon="8h", maturity="1h")
    )
    compiled = compile_plan(
        "predictions", {"m": config, "never": config}, {n: [reference()] for n in ("m", "never")}, 1000
    )
    task, decoder, reader = (
        Task(compiled, "{task:t:0}", "p", "l"),
        PredictionDecoder(compiled, "predictions"),
        LabelDecoder(compiled),
    )
    for hour in range(100):
        now = np.array([T0 + hour * HOUR])
        record = {
            "prediction_id": f"p{hour}",
            "model": "m",
            "model_version": "1",
            "event_time": int(now[0]),
            "features": {},
        }
        task.predictions(decoder.decode([json.dumps(record).encode()]), 0, 1, np.array([hour]), now)
        unknown = json.dumps({"prediction_id": f"nobody{hour}", "label": "yes"}).encode()
        task.labels(reader.decode([unknown], now), 0, 1, np.array([hour]), now)
        task.age()
    assert task.join.waiting == task.join.labels.count <= 2 * 8 + 2
    assert task.join.orphans == 100 - task.join.waiting
    old = {
        "prediction_id": "nobody99",
        "model": "never",
        "model_version": "1",
        "event_time": T0 + 99 * HOUR,
        "features": {},
    }
    now = np.array([T0 + 99 * HOUR])
    task.predictions(decoder.decode([json.dumps(old).encode()]), 0, 1, np.array([100]), now)
    assert task.join.applied == 1  # what still waits is there for a model that begins


@pytest.mark.parametrize("committed", [True, False])
def test_a_label_that_names_no_model_ages_out_the_same_whether_or_not_a_commit_fell_before_a_late_model(
    *, committed: bool
) -> None:
    labels = Labels(maturity=HOUR, horizon=8 * HOUR)
    compiled = watched.plan({"m": "binary", "late": "binary"}, labels=labels)
    task, now = Task(compiled, "{task:t:0}", "p", "l"), T0 + 100 * HOUR

    def predicted(offset: int, model: str, time: int) -> None:
        decoder = PredictionDecoder(compiled, "predictions")
        columns = decoder.decode([watched.prediction(prediction_id="old", model=model, event_time=time)])
        task.predictions(columns, 0, 1, np.array([offset]), np.array([now]))

    said = [watched.label(prediction_id=i, model=..., event_time=t) for i, t in (("old", T0), ("new", now))]
    at = np.array([now, now])
    task.labels(LabelDecoder(compiled).decode(said, at), 0, 2, np.arange(2), at)
    predicted(0, "m", now)
    if committed:
        task.age()
    predicted(1, "late", T0)  # it joins no label as old as that: none may be left here by now
    task.age()
    assert (task.join.applied, task.join.orphans, task.join.waiting) == (0, 1, 1)
