"""What a configuration means: defaults, units, what contradicts itself, and the hash of what decides."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.config import Config, FeatureSetConfig, ModelConfig, Retrain, decision_hash, load
from schemas.durations import LONGEST_MS, UNITS_MS, duration_ms
from schemas.errors import ConfigError
from schemas.monitors import DEFAULT_METRICS, METRICS

MODEL = {"task": "binary", "positive_class": "fraud", "reference": "r.json"}


def _model(**changes: object) -> ModelConfig:
    return ModelConfig.model_validate({**MODEL, **changes})


def test_a_model_needs_a_task_a_positive_class_and_a_reference() -> None:
    config = Config.model_validate({"models": {"fraud": MODEL}})
    model = config.models["fraud"]
    assert (config.group, config.future, config.commit_interval, config.http.port) == ("driftline", 300_000, 1000, 9108)
    assert (config.topics.alerts, config.topics.dead_letters) == ("driftline.alerts", "driftline.dead-letters")
    windows = model.windows
    assert (windows.size, windows.pane, windows.lateness, windows.idle) == (600_000, 60_000, 30_000, 60_000)
    assert (model.labels.maturity, model.labels.horizon) == (86_400_000, 604_800_000)
    assert (model.alerts.false_alarms, model.alerts.confirmation) == ("1 per 30d", (2, 3))
    assert (model.tier, model.retrain) == ("normal", None)


def test_a_binary_model_watches_everything_by_default() -> None:
    model = _model()
    assert model.drift == {"features", "prediction", "score"}
    assert model.performance == ("accuracy", "precision", "recall", "f1", "roc_auc")
    assert (model.quality, model.sequential) == (True, True)


def test_a_regression_watches_errors_in_its_unit_and_no_error_rate() -> None:
    model = ModelConfig.model_validate({"task": "regression", "reference": "r.json"})
    assert (model.performance, model.sequential) == (("mae", "rmse"), False)


def test_metrics_beyond_the_default_ones_are_watched_by_name() -> None:
    assert all(set(DEFAULT_METRICS[task]) <= set(METRICS[task]) for task in METRICS)
    named = _model(monitors=[{"performance": ["log_loss", "pr_auc", "ece"]}])
    assert named.performance == ("log_loss", "pr_auc", "ece")
    with pytest.raises(ValidationError, match="performance metrics accuracy, precision"):
        _model(monitors=[{"performance": ["absolute_p95"]}])


def test_monitors_replace_the_default_ones_and_a_single_name_is_a_list_of_one() -> None:
    model = _model(monitors=[{"drift": "features"}, {"performance": ["f1", "accuracy"]}, {"performance": "f1"}])
    assert model.drift == {"features"}
    assert (model.performance, model.quality, model.sequential) == (("f1", "accuracy"), False, False)


def test_a_retrain_section_has_the_defaults_of_the_design() -> None:
    retrain = Retrain()
    assert (retrain.min_labels, retrain.cooldown, retrain.max_per_day) == (5000, 86_400_000, 2)
    assert (retrain.approval, retrain.expires) == ("required", 21_600_000)


@pytest.mark.parametrize(("written", "expected"), [(True, "true"), (1, "1"), (1.0, "1"), ("yes", "yes")])
def test_the_positive_class_is_the_text_that_events_are_compared_with(written: object, expected: str) -> None:
    assert expected == _model(positive_class=written).positive_class


def test_a_version_without_a_reference_of_its_own_uses_the_models() -> None:
    model = _model(references={"2": "two.json"})
    assert (Path("two.json"), Path("r.json")) == (model.reference_for("2"), model.reference_for("3"))


@pytest.mark.parametrize(
    "changes",
    [
        {"positive_class": None},
        {"positive_class": ""},
        {"task": "multiclass"},  # a positive class makes no sense there
        {"windows": {"size": "7m", "pane": "2m"}},
        {"windows": {"size": "1m", "pane": "2m"}},
        {"windows": {"size": 0}},
        {"windows": {"pane": 0}},
        {"windows": {"pane": "1ms", "size": "1h"}},
        {"labels": {"maturity": "2d", "horizon": "1d"}},
        {"labels": {"maturity": "8d"}},  # behind the default horizon
        {"alerts": {"false_alarms": "often"}},
        {"alerts": {"false_alarms": "0 per 30d"}},
        {"alerts": {"false_alarms": "1 per 0d"}},
        {"alerts": {"confirm": "3 of 2"}},
        {"alerts": {"confirm": "0 of 2"}},
        {"alerts": {"confirm": "2 of 11"}},
        {"monitors": []},
        {"monitors": [{}]},
        {"monitors": [{"drift": []}]},
        {"monitors": [{"drift": "features", "sequential": "error_rate"}]},
        {"monitors": [{"performance": "mae"}]},
        {"monitors": [{"quality": "score"}]},
        {"monitors": [{"proxy": "accuracy"}]},
        {"monitors": [{"service": "throughput"}]},
        {"monitors": [{"labels": "coverage"}]},
        {"monitors": [{"labels": "rate", "service": "no_data"}]},
        {"task": "regression", "positive_class": None, "monitors": [{"labels": "class_balance"}]},
        {"monitors": [{"proxy": "calibration", "drift": "score"}]},
        {"retrain": {"on": []}},
        {"retrain": {"on": ["quality"]}},
        {"retrain": {"max_per_day": 0}},
        {"segments": [[]]},
        {"segments": [["country", "country"]]},
        {"segments": ["country", ["country"]]},
        {"segments": [["country", "channel"], ["channel", "country"]]},
        {"segments": [["a", "b", "c", "d", "e", "f"]]},
        {"segments": [f"s{i}" for i in range(17)]},
        {"segments": ['quo"te']},
        {"segments": ["country"], "segment_values": 0},
        {"segments": ["country"], "follow": {"shop": ["a"]}},
        {"segments": ["country"], "follow": {"country": []}},
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        _model(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"models": {}},
        {"models": {"a b": MODEL}},
        {"models": {"x" * 101: MODEL}},
        {"feature_sets": {"fraud": {"reference": "r.json"}}},  # one name, two evaluators
        {"group": "a/b"},
        {"kafka": {}},
        {"kafka": {"bootstrap.servers": "k:9092", "enable.auto.commit": False}},
        {"kafka": {"bootstrap.servers": "k:9092", "socket.timeout.ms": 1.5}},
        {"redis": {"url": "localhost:6379"}},
        {"topics": {"alerts": "driftline.retrain"}},
        {"http": {"port": 70_000}},
        {"dead_letters": {"payload": "some"}},
        {"future": "soon"},
        {"commit_interval": 0},
    ],
)
def test_a_deployment_that_cannot_work_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate({"models": {"fraud": MODEL}, **changes})


def test_the_consumer_protocol_leaves_time_outs_to_the_broker_and_the_assignor_to_us() -> None:
    kafka: dict[str, object] = {"bootstrap.servers": "k:9092", "group.protocol": "consumer"}
    assert Config.model_validate({"models": {"m": MODEL}, "kafka": kafka}).kafka["group.protocol"] == "consumer"
    refused = {"session.timeout.ms": 6000, "group.remote.assignor": "uniform", "group.protocol": "share"}
    for name, value in refused.items():
        with pytest.raises(ValidationError, match=name.replace(".", r"\.")):
            Config.model_validate({"models": {"m": MODEL}, "kafka": kafka | {name: value}})


def test_settings_of_librdkafka_pass_through_with_their_types() -> None:
    settings = {"bootstrap.servers": "k:9092", "fetch.min.bytes": 1, "socket.keepalive.enable": True}
    assert settings == Config.model_validate({"models": {"m": MODEL}, "kafka": settings}).kafka


def test_addresses_with_passwords_stay_out_of_the_representation() -> None:
    config = Config.model_validate(
        {
            "models": {"m": MODEL},
            "kafka": {"bootstrap.servers": "k:9092", "sasl.password": "hunter2"},
            "redis": {"url": "redis://u:hunter2@r/0"},
        },
    )
    assert "hunter2" not in repr(config)


@given(st.integers(0, 5000), st.sampled_from(sorted(UNITS_MS)))
def test_a_duration_is_its_number_times_its_unit(number: int, unit: str) -> None:
    expected = number * {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}[unit]
    if expected > LONGEST_MS:
        with pytest.raises(ValueError, match="duration"):
            duration_ms(f"{number}{unit}")
    else:
        assert expected == duration_ms(f"{number}{unit}") == duration_ms(expected)


@pytest.mark.parametrize(
    "value", ["10", "1.5h", "-1s", "1 h", "h", "", "9" * 5000 + "d", "\N{ARABIC-INDIC DIGIT ONE}s", 1.5, True, None, -1]
)
def test_what_is_no_duration_is_a_value_error(value: object) -> None:
    with pytest.raises(ValueError, match="a duration like"):
        duration_ms(value)


def test_paths_are_those_of_the_files_folder(tmp_path: Path) -> None:
    file = tmp_path / "monitor.yaml"
    file.write_text("models: {m: {task: regression, reference: r/a.json, references: {1.10: /b.json}}}")
    model = load(file, {}).models["m"]
    assert (tmp_path / "r/a.json", {"1.10": Path("/b.json")}) == (model.reference, model.references)


def test_a_reference_need_not_exist_to_load_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("feature_sets: {f: {reference: absent.json}}")
    assert load(tmp_path / "m.yaml", {}).feature_sets["f"].reference == tmp_path / "absent.json"


def test_the_decision_hash_does_not_see_what_does_not_decide() -> None:
    defaults = decision_hash(_model())
    assert defaults == decision_hash(_model(windows={"size": "10m"}, tier="normal"))
    assert defaults == decision_hash(_model(reference="elsewhere.json", references={"2": "two.json"}))
    assert defaults == decision_hash(_model(windows={"pane": "30s"}))
    everything = [{"performance": DEFAULT_METRICS["binary"]}, {"quality": "features"}, {"sequential": "error_rate"}]
    everything.append({"proxy": ["calibration", "low_confidence", "estimated_error_rate"]})
    everything += [{"service": "no_data"}, {"labels": ["class_balance", "delay", "rate"]}]
    assert defaults == decision_hash(_model(monitors=[*everything, {"drift": ["score", "prediction", "features"]}]))


@pytest.mark.parametrize(
    "changes",
    [
        {"tier": "high"},
        {"positive_class": "ok"},
        {"windows": {"size": "20m"}},
        {"labels": {"horizon": "8d"}},
        {"alerts": {"false_alarms": "2 per 30d"}},
        {"alerts": {"confirm": "1 of 1"}},
        {"monitors": [{"drift": "features"}]},
        {"retrain": {}},
    ],
)
def test_the_decision_hash_sees_what_decides(changes: dict[str, object]) -> None:
    assert decision_hash(_model()) != decision_hash(_model(**changes))


def test_a_feature_set_has_a_decision_hash_too() -> None:
    one = FeatureSetConfig.model_validate({"reference": "a", "alerts": {"cooldown": "1h"}})
    other = FeatureSetConfig.model_validate({"reference": "b", "alerts": {"cooldown": "2h"}})
    assert decision_hash(one) != decision_hash(other)


def test_a_loaded_configuration_does_not_change(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("models: {m: {task: regression, reference: r}}")
    config = load(tmp_path / "m.yaml", {})
    with pytest.raises(ValidationError, match="frozen"):
        config.group = "other"  # type: ignore[misc]  # the point of the test


def test_a_configuration_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the configuration file does not exist"):
        load(tmp_path / "absent.yaml", {})
