"""Building, storing and refusing references."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.performance import layout
from detectors.reference import Reference
from schemas.errors import ConfigError, ReferenceMismatch

ROWS = 400
RNG = np.random.default_rng(3)
TABLE: dict[str, Any] = {
    "prediction_id": [str(i) for i in range(ROWS)],
    "event_time": [1_700_000_000_000 + 1000 * i for i in range(ROWS)],
    "amount": RNG.lognormal(size=ROWS).tolist(),
    "age": RNG.integers(18, 90, ROWS).tolist(),
    "country": RNG.choice(["de", "fr", "it"], ROWS).tolist(),
    "member": [bool(i % 3) for i in range(ROWS)],
    "gaps": [None if i % 4 == 0 else float(i) for i in range(ROWS)],
    "prediction": ["fraud" if i % 10 == 0 else "ok" for i in range(ROWS)],
    "score": [0.9 if i % 10 == 0 else 0.25 for i in range(ROWS)],
    "label": ["fraud" if i % 8 == 0 else "ok" for i in range(ROWS)],
}
FEATURES = ["amount", "age", "country", "member", "gaps"]


def build(**options: Any) -> Reference:  # noqa: ANN401  # whatever build takes
    return Reference.build(TABLE, **{"task": "binary", "positive_class": "fraud"} | options)


def events() -> list[dict[str, Any]]:
    top = [name for name in TABLE if name not in FEATURES]
    return [
        {n: TABLE[n][i] for n in top} | {"features": {n: TABLE[n][i] for n in FEATURES if TABLE[n][i] is not None}}
        for i in range(ROWS)
    ]


def test_columns_become_features_of_the_type_that_their_values_suggest() -> None:
    reference = build()
    kinds = {s.name: s.kind for s in reference.subjects}
    assert kinds == {
        "amount": "numeric",
        "age": "integer",
        "country": "categorical",
        "member": "boolean",
        "gaps": "numeric",
        "prediction": "categorical",
        "score": "numeric",
    }
    assert [s.name for s in reference.features] == FEATURES
    assert reference.features[4].counts[-2:].tolist() == [100, 0]
    assert reference.rows == ROWS
    assert reference.span == (1_700_000_000_000, 1_700_000_000_000 + 1000 * (ROWS - 1))
    assert reference.label is not None


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_every_kind_of_table_gives_the_same_reference(tmp_path: Path) -> None:
    frame = pl.DataFrame(TABLE)
    frame.write_parquet(tmp_path / "a.parquet")
    lines = b"\n".join(orjson.dumps(e) for e in events())
    flat = frame.write_ndjson().encode()
    tables = [
        frame,
        frame.lazy(),
        frame.to_arrow(),
        {name: np.array(v, object) for name, v in TABLE.items()},
        tmp_path / "a.parquet",
        write(tmp_path / "a.csv", frame.write_csv().encode()),
        write(tmp_path / "a.csv.gz", frame.write_csv().encode()),
        write(tmp_path / "a.jsonl", lines),
        write(tmp_path / "a.jsonl.gz", lines + b"\n\n"),
        str(write(tmp_path / "flat.jsonl", flat)),
    ]
    for table in tables:
        assert Reference.build(table, task="binary", positive_class="fraud") == build()


def test_a_nested_feature_may_have_the_name_of_a_field() -> None:
    rows = [{"features": {"score": i, "model": "x"}, "score": 0.5} for i in range(5)]
    reference = Reference.build({"features": [r["features"] for r in rows], "score": [r["score"] for r in rows]})
    assert [(s.name, s.kind) for s in reference.subjects] == [
        ("score", "integer"),
        ("model", "categorical"),
        ("score", "numeric"),
    ]


def test_outcomes_are_counted_where_label_and_prediction_are_known() -> None:
    outcomes = build().outcomes
    assert outcomes is not None
    confusion = layout.confusion(outcomes, 2)
    assert confusion.tolist() == [
        [ROWS - 50 - 30, 30],
        [40, 10],
    ]  # every 8th is fraud, every 10th said so, every 40th both
    assert layout.score_histograms(outcomes)[1, [25, 90]].tolist() == [40, 10]
    assert build(prediction="prediction").outcomes is not None
    without = {name: v for name, v in TABLE.items() if name != "label"}
    assert Reference.build(without, task="binary", positive_class="fraud").outcomes is None


def test_classes_are_sorted_with_other_last_and_binary_has_the_positive_one_second() -> None:
    assert build().classes == ("", "fraud")
    table = {"x": [1.0, 2.0, 3.0], "prediction": ["b", "a", None], "label": ["c", "other", 1]}
    reference = Reference.build(table, task="multiclass")
    assert reference.classes == ("1", "a", "b", "c", "other")
    assert reference.outcomes is not None
    assert layout.confusion(reference.outcomes, 5)[[3, 4, 0], [2, 1, 4]].tolist() == [1, 1, 1]


def test_classes_are_compared_by_their_text_whatever_their_type() -> None:
    table = {"x": [1.0, 2.0], "prediction": [1, 0], "label": ["1", "0"]}
    reference = Reference.build(table, task="binary", positive_class=1)
    assert reference.prediction is not None
    assert reference.prediction.kind == "categorical"
    assert reference.outcomes is not None
    assert reference.outcomes[:2].tolist() == [2, 0]


def test_a_regression_counts_its_errors() -> None:
    table = {"x": [1.0, 2.0, 3.0], "prediction": [1.5, 2.0, 9.0], "label": [1.0, 2.5, None]}
    reference = Reference.build(table, task="regression")
    assert reference.outcomes is not None
    assert reference.outcomes[:2].tolist() == [2, 0]
    assert layout.total(reference.outcomes, layout.ABSOLUTE_SUM) == 1.0
    assert layout.total(reference.outcomes, layout.ERROR_SUM) == 0.0
    assert reference.classes == ()


def test_types_can_be_given() -> None:
    table = {"code": [1, 2, 3, 2], "text": ["1.5", "2", "n/a", None], "flag": [0, 1, 1, 7]}
    made = Reference.build(table, types={"code": "categorical", "text": "numeric", "flag": "boolean"}).features
    assert made[0].categories == ("2", "1", "3")
    assert made[1].counts[-2:].tolist() == [1, 1]
    assert made[1].n == 2
    assert made[2].counts.tolist() == [1, 2, 0, 0, 0, 1]


def test_identifiers_beyond_the_exact_floats_keep_their_digits_as_categories() -> None:
    table = {"id": [2**60, 2**60 + 1]}
    expected = (str(2**60), str(2**60 + 1))
    for source in (table, pl.DataFrame(table), {"id": np.array(table["id"])}):
        assert Reference.build(source, types={"id": "categorical"}).features[0].categories == expected


def test_features_can_be_chosen_and_ignored() -> None:
    assert [s.name for s in build(features=["gaps", "age"]).features] == ["gaps", "age"]
    assert [s.name for s in build(ignore=["gaps", "age", "event_time"]).features] == ["amount", "country", "member"]
    named = Reference.build({"x": [1, 2], "class": ["a", "b"]}, label="class")
    assert [s.name for s in named.subjects] == ["x"]
    assert named.label is not None


@pytest.mark.parametrize(
    "times", [["2024-01-01T00:00:00Z", "2024-01-02T00:00:00+00:00"], [1704067200000.0, 1704153600000]]
)
def test_times_may_be_milliseconds_or_rfc_3339(times: list[object]) -> None:
    assert Reference.build({"x": [1, 2], "event_time": times}).span == (1704067200000, 1704153600000)


def test_a_column_of_datetimes_is_a_time() -> None:
    frame = pl.DataFrame({"x": [1, 2], "event_time": ["2024-01-01", "2024-01-02"]})
    frame = frame.with_columns(pl.col("event_time").str.to_datetime())
    assert Reference.build(frame).span == (1704067200000, 1704153600000)


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), min_size=1, max_size=40).filter(
        lambda values: max(values) < 1.7e308
    )
)
def test_every_edge_reads_back_exactly(values: list[float]) -> None:
    reference = Reference.build({"x": values})
    again = Reference.from_json(reference.to_json())
    assert again.features[0].edges.tobytes() == reference.features[0].edges.tobytes()
    assert again == reference


def test_saving_and_loading_is_the_identity(tmp_path: Path) -> None:
    build().save(tmp_path / "r.json")
    loaded = Reference.load(tmp_path / "r.json")
    assert loaded == build()
    assert loaded.to_json() == build().to_json()
    assert json.loads(loaded.to_json())["format"] == "driftline-reference"


def test_counts_change_the_content_but_not_the_shape() -> None:
    table = {"x": [1.0, 2.0, 3.0]}
    one, two = Reference.build(table), Reference.build({"x": [1.0, 2.0, 3.0] * 2})
    assert one.shape_hash == two.shape_hash
    assert one.content_hash != two.content_hash
    assert one.shape_hash != Reference.build({"y": [1.0, 2.0, 3.0]}).shape_hash
    assert len(one.content_hash) == len(one.shape_hash) == 32


def test_a_reference_that_was_edited_or_is_too_new_is_refused(tmp_path: Path) -> None:
    content = json.loads(build().to_json())
    with pytest.raises(ReferenceMismatch, match="edited or damaged"):
        Reference.from_json(orjson.dumps(content | {"rows": 7}))
    with pytest.raises(ReferenceMismatch, match=r"holds 7 outcome counts.*build it again"):
        Reference.from_json(orjson.dumps(content | {"outcomes": [0] * 7}))
    path = tmp_path / "new.json"
    path.write_bytes(orjson.dumps(content | {"version": 99}))
    with pytest.raises(ReferenceMismatch, match=r"new\.json.*version 99.*upgrade"):
        Reference.load(path)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"format":"driftline-reference","version":1}', build().to_json()[:-5]]
)
def test_what_is_no_reference_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigError):
        Reference.from_json(data)


def test_a_file_that_is_not_there_is_one_sentence_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="reference build"):
        Reference.load(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="check the path"):
        Reference.build(tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="check the path"):
        build().save(tmp_path / "no" / "folder.json")


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.parquet", b"no"), ("a.csv", b'a,b\n1,2\n3,4,5,"'), ("a.jsonl", b"{"), ("a.jsonl", b"[1]"), ("a.csv.gz", b"x")],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=name):
        Reference.build(path)


@pytest.mark.parametrize("source", [7, None, ["x"], Path("a.xlsx")])
def test_what_holds_no_table_is_refused(source: object) -> None:
    with pytest.raises(ConfigError):
        Reference.build(source)


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ({}, {}, "no rows"),
        ({"x": []}, {}, "no rows"),
        ({"score": [1.0]}, {}, "no feature"),
        ({"x": [1], "y": [1, 2]}, {}, "differ in length"),
        ({"x": [1]}, {"features": ["z"]}, "no column 'z'"),
        ({"x": [1]}, {"ignore": ["z"]}, "no column 'z'"),
        ({"x": [1], "score": [0.5]}, {"features": ["score"]}, "no feature"),
        ({"x": [1]}, {"label": "truth"}, "no column 'truth'"),
        ({"x": [1]}, {"types": {"x": "colour"}}, "colour"),
        ({"x": [1]}, {"types": {"z": "numeric"}}, "no feature"),
        ({"x": [None, None]}, {}, "'x' is empty"),
        ({"x": [math.nan]}, {}, "'x' is empty"),
        ({"x": ["a"]}, {"types": {"x": "numeric"}}, "no value of type numeric"),
        ({"x": [[1], [2]]}, {}, "neither numbers"),
        ({"x": "text"}, {}, "sequence"),
        ({"x": [1]}, {"task": "ranking"}, "ranking"),
        ({"x": [1]}, {"max_bins": 0}, "0 bins"),
        ({"x": [1]}, {"task": "binary"}, "positive class"),
        ({"x": [1], "label": ["ok"]}, {"task": "binary", "positive_class": "frod"}, "'ok'"),
        ({"x": [1], "event_time": ["yesterday"]}, {}, "yesterday"),
        ({"x": list(range(201)), "label": list(range(201))}, {"task": "multiclass"}, "201 classes"),
        ({f"x{i}": [1] for i in range(5001)}, {}, "5001 feature columns"),
        ({"x": [1.7976931348623157e308]}, {}, "largest number"),
    ],
)
def test_a_table_that_cannot_be_a_reference_is_refused(
    table: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ReferenceMismatch, match=message) as found:
        Reference.build(table, **options)
    assert found.value.remedy


def test_the_arrays_of_a_reference_cannot_be_written_to() -> None:
    reference = build()
    assert reference.outcomes is not None
    for array in (reference.features[0].counts, reference.features[0].edges, reference.outcomes):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_a_line_that_is_no_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n\n{"a": NaN}\n')
    with pytest.raises(ConfigError, match=r"line 3 of .*a\.jsonl is no JSON"):
        Reference.build(path)


def test_a_whole_number_that_no_float_holds_is_a_value_of_a_wrong_type_beside_fractions_too() -> None:
    amount = Reference.build({"amount": [10**400, 1.5, -(10**400), 2.5]}).features[0]
    assert (amount.n, int(amount.counts[-1])) == (2, 2)
