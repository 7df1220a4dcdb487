"""A stream is compared with the reference of its own version, whoever decoded its events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import orjson
import pytest

from detectors.reference import Reference
from schemas.config import Config, FeatureSetConfig, ModelConfig
from schemas.errors import PUBLISH_AGAIN, ReferenceMismatch, StateCorrupt, StateMismatch, StateNewer
from schemas.identifiers import StreamKey
from streams.edges.memory_store import MemoryStore
from streams.engine.plan import Model, compile_plan
from streams.references import ReferenceBook

V1, V2 = StreamKey("customers", "v1", "champion"), StreamKey("customers", "v2", "champion")


def countries(german: int) -> Reference:
    return Reference.build({"country": ["de"] * german + ["fr"] * (200 - german)})


@dataclass
class Published:
    """The references that versions have of their own."""

    of: dict[str, Reference]

    def reference_for(self, model: str, version: str) -> Reference | None:
        """As `streams.engine.plan.References`."""
        assert model == "customers"
        return self.of.get(version)


def watched(reference: Reference) -> Model:
    config = FeatureSetConfig.model_validate({"reference": "unused.json"})
    return compile_plan("features", {"customers": config}, {"customers": [reference]}, 300_000).models[0]


def test_versions_with_references_of_one_shape_and_other_shares_are_kept_apart() -> None:
    first, second = countries(150), countries(120)
    assert first.shape_hash == second.shape_hash
    model, published = watched(first), Published({"v2": second})
    assert model.reference_of(V1, first.shape_hash, published) == first
    assert model.reference_of(V2, second.shape_hash, published) == second


def test_a_version_that_only_another_worker_met_is_looked_up() -> None:
    own = Reference.build({"country": ["it", "es"] * 100})
    model = watched(countries(150))
    assert model.reference_of(V2, own.shape_hash, Published({"v2": own})) == own
    assert own.shape_hash in model.shapes


def test_a_version_counted_before_its_reference_was_published_keeps_the_models() -> None:
    default, late = countries(150), Reference.build({"country": ["it", "es"] * 100})
    model = watched(default)
    assert model.reference_of(V2, default.shape_hash, Published({"v2": late})) == default


def test_a_shape_that_nobody_knows_any_more_is_an_error_with_a_remedy() -> None:
    with pytest.raises(StateMismatch, match=r"'v2' of 'customers' was counted with reference shape abc.*publish it"):
        watched(countries(150)).reference_of(V2, "abc", None)


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"task": "binary", "positive_class": "no"}, "positive_class 'yes', its reference was built for 'no'"),
        ({"task": "multiclass"}, "configured as binary, its reference was built for multiclass"),
    ],
)
def test_a_versions_reference_for_another_task_or_class_is_refused(own: dict[str, str], said: str) -> None:
    table = {"amount": [1.0, 2.0] * 50, "prediction": ["yes", "no"] * 50, "label": ["yes", "no"] * 50}
    default = Reference.build(table, task="binary", positive_class="yes")
    config = ModelConfig.model_validate({"task": "binary", "positive_class": "yes", "reference": "unused.json"})
    with pytest.raises(ReferenceMismatch, match=said):
        compile_plan("predictions", {"loans": config}, {"loans": [default, Reference.build(table, **own)]}, 300_000)  # type: ignore[arg-type]  # as given above


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[: len(data) // 2], "this is not a driftline reference"),
        (lambda _: b"", "this is not a driftline reference"),
        (lambda data: data.replace(b'"rows"', b'"r\xc3\xb6ws"'), "the reference is damaged"),
        (lambda data: data.replace(b'"rows":', b'"rows":1'), "the reference's content is"),
    ],
    ids=["cut off", "empty", "without its rows", "a digit changed"],
)
def test_a_published_reference_that_is_damaged_is_corrupt_state_and_the_message_names_its_version_and_model(
    damage: Callable[[bytes], bytes], said: str
) -> None:
    whole = countries(150)
    model = {"task": "multiclass", "reference": "unused.json"}
    store = MemoryStore()
    book = ReferenceBook(Config.model_validate({"models": {"customers": model}}), store)
    store.publish_reference(whole.content_hash, whole.to_json(), "customers", "v1")
    store.publish_reference("another", damage(whole.to_json()), "customers", "v2")
    assert book.reference_for("customers", "v1") == whole
    # Not a ConfigError: that would send somebody to monitor.yaml, or to a file that nobody has.
    with pytest.raises(StateCorrupt, match=f"published for version 'v2' of model 'customers': {said}") as found:
        book.reference_for("customers", "v2")
    assert found.value.remedy == PUBLISH_AGAIN


def test_a_published_reference_that_is_another_one_or_of_a_newer_driftline_is_refused() -> None:
    whole = countries(150)
    store = MemoryStore()
    model = {"task": "multiclass", "reference": "unused.json"}
    book = ReferenceBook(Config.model_validate({"models": {"customers": model}}), store)
    store.publish_reference("another", whole.to_json(), "customers", "v1")
    with pytest.raises(StateCorrupt, match=f"is another, and what is kept there is {whole.content_hash}") as found:
        book.reference_for("customers", "v1")
    assert found.value.remedy == PUBLISH_AGAIN
    newer = whole.to_json().replace(f'"version":{orjson.loads(whole.to_json())["version"]}'.encode(), b'"version":99')
    store.publish_reference("newer", newer, "customers", "v2")
    with pytest.raises(StateNewer, match="version 99") as later:
        book.reference_for("customers", "v2")
    assert later.value.remedy == "upgrade driftline"
