"""Every problem of a configuration file is one sentence: file, line, path, what was found, what is allowed."""

from pathlib import Path

import pytest

from schemas.config import Config, load
from schemas.config_file import MAX_DEPTH, plain
from schemas.errors import ConfigError

GOOD = "models: {m: {task: regression, reference: r}}\n"


def _load(folder: Path, text: str, environment: dict[str, str] | None = None) -> Config:
    (folder / "monitor.yaml").write_text(text)
    return load(folder / "monitor.yaml", environment or {})


def _problems(folder: Path, text: str, environment: dict[str, str] | None = None) -> list[str]:
    """Return the sentences without the folder, and without the remedy that stands under them."""
    with pytest.raises(ConfigError) as caught:
        _load(folder, text, environment)
    assert caught.value.remedy
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return caught.value.what.replace(f"{folder}/", "").split("\n")


EVERYTHING_WRONG = """\
group: a b
kafka: {bootstrap.servers: "k:9092", group.id: x}
htp: {port: 1}
models:
  fraud:
    task: binry
    reference: r.json
  churn:
    task: binary
    windows:
      pane: 2m
      size: 7m
    monitors:
      - drift: features
      - sequential: loss
    retrain: {on: [drift, foo]}
"""


UNKNOWN = "group, kafka, redis, topics, http, future, commit_interval, dead_letters, route, models, feature_sets"
EXPECTED = (
    "1: group is 'a b'; allowed: text that matches ^[A-Za-z0-9._-]{1,100}$",
    (
        "2: kafka.group.id is 'x'; allowed: any setting of librdkafka but this one, which driftline sets itself: "
        "write `group:` at the top level instead"
    ),
    f"3: htp is a mapping; allowed: {UNKNOWN} (did you mean http?)",
    "6: models.fraud.task is 'binry'; allowed: 'binary', 'multiclass' or 'regression'",
    (
        "8: models.churn.positive_class is missing; allowed: the name of the class that counts as positive, "
        "since task is binary"
    ),
    "8: models.churn.reference is missing; allowed: needed. Made by `driftline reference build`",
    "12: models.churn.windows.size is '7m'; allowed: a multiple of pane (120000 ms), up to 10000 of them",
    "15: models.churn.monitors[1].sequential is 'loss'; allowed: 'error_rate'",
    "16: models.churn.retrain.on[1] is 'foo'; allowed: 'drift', 'performance' or 'sequential'",
)


def test_all_problems_are_told_at_once_each_with_its_line(tmp_path: Path) -> None:
    assert _problems(tmp_path, EVERYTHING_WRONG) == [f"monitor.yaml:{text}" for text in EXPECTED]


TOP = "; allowed: a mapping with keys like models, kafka and redis"
NAME = "; allowed: text that matches ^[A-Za-z0-9._-]{1,100}$"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1: the file is empty" + TOP),
        ("- a", "1: the file is a list" + TOP),
        (
            "group: g\n",
            (
                "1: the file is a mapping; allowed: at least one model under `models` or one feature set under "
                "`feature_sets`"
            ),
        ),
        ("models: 3\n", "1: models is 3; allowed: a mapping"),
        ("models: {a b: {task: regression, reference: r}}", "1: models.a b is a mapping" + NAME),
        (GOOD + "group: a\ngroup: b\n", "3: group is given twice; allowed: once (line 2 has it too)"),
        (GOOD + "group:\n", "2: group is empty; allowed: a valid string"),
        (
            GOOD + "http: {port: many}\n",
            "2: http.port is 'many'; allowed: a valid integer, unable to parse string as an integer",
        ),
        (
            GOOD + "group: ${NOPE}\n",
            "2: group is ${NOPE}, which is not set; allowed: a variable of the environment",
        ),
        (
            "models: {m: {task: regression, reference: r, labels: {memory: lots}}}",
            "1: models.m.labels.memory is 'lots'; allowed: a whole number of bytes, or a number with a unit, like 500MB or 2GiB",
        ),
        (
            "models: {m: {task: regression, reference: r, labels: {memory: 3 horses}}}",
            (
                "1: models.m.labels.memory is '3 horses'; allowed: a whole number of bytes, or a number with a unit, like 500MB or "
                "2GiB"
            ),
        ),
        (
            "models: {m: {task: regression, reference: r, segments: [country, [shop, '']]}}",
            (
                "1: models.m.segments[1] is a list; allowed: a name or a list of names, each of 1 to 100 characters without quotes, "
                "backslashes and control characters"
            ),
        ),
        (
            "models: {m: {task: regression, reference: r, segments: [3]}}",
            (
                "1: models.m.segments[0] is 3; allowed: a name or a list of names, each of 1 to 100 characters without quotes, "
                "backslashes and control characters"
            ),
        ),
        (GOOD + "? [a]\n: b\n", "2: the file is a key that is no text; allowed: text"),
        (GOOD + "http:\n  <<: {port: 1}\n", "3: http.<< is a merge key; allowed: an alias of a whole value"),
        (GOOD + "group: [\n", "3: this is not YAML: expected the node content, but found '<stream end>'"),
    ],
)
def test_a_problem_is_one_sentence(tmp_path: Path, text: str, expected: str) -> None:
    assert [f"monitor.yaml:{expected}"] == _problems(tmp_path, text)


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_bytes(b"group: \xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "m.yaml", {})


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, {})


def test_aliases_of_aliases_do_not_explode(tmp_path: Path) -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    text += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9))
    assert "too large" in _problems(tmp_path, text)[0]


def test_an_alias_of_what_it_stands_in_does_not_hang(tmp_path: Path) -> None:
    assert f"{MAX_DEPTH} levels" in _problems(tmp_path, "a: &a [*a]\n")[0]


def test_the_environment_fills_in_values_and_they_stay_text(tmp_path: Path) -> None:
    text = GOOD + 'kafka: {bootstrap.servers: "${HOST}:9092", sasl.password: "${PASSWORD}"}\nhttp: {port: "${PORT}"}\n'
    config = _load(tmp_path, text, {"HOST": "k", "PASSWORD": "0123", "PORT": "80"})
    assert (config.kafka, config.http.port) == ({"bootstrap.servers": "k:9092", "sasl.password": "0123"}, 80)


def test_what_the_environment_says_is_not_expanded_again(tmp_path: Path) -> None:
    text = GOOD + 'kafka: {bootstrap.servers: k, sasl.password: "${A}"}\n'
    assert _load(tmp_path, text, {"A": "${B}", "B": "x"}).kafka["sasl.password"] == "${B}"


@pytest.mark.parametrize(
    "text",
    [
        'redis: {url: "${SECRET}"}',
        'redis: {url: "http://user:hunter2@host"}',
        'group: "a ${SECRET}"',
        'http: {port: "${SECRET}"}',
        'future: "${SECRET}"',
        "models: {x: {task: binary, password: hunter2}}",
        "kafka: {sasl.password: hunter2}",
        "kafka: {group.id: {token: hunter2}}",
        "http: {host: 1, secret_token: hunter2}",
        'topics: {alerts: "password=hunter2"}',
        "kafka: {bootstrap.servers: k, sasl.password: hunter2.5, acks: '${SECRET}'}",
        'kafka: {bootstrap.servers: k, group.id: "sasl.jaas.config=hunter2"}',
        "alerts: {false_alarms: [hunter2]}",
    ],
)
def test_no_secret_is_told(tmp_path: Path, text: str) -> None:
    assert not any("hunter2" in problem for problem in _problems(tmp_path, text, {"SECRET": "hunter2"}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on", "on"), ("yes", "yes"), ("0123", "0123"), ("1:30", "1:30"), ("2024-05-01", "2024-05-01"),
        ("0x1f", "0x1f"), ("-", "-"), (".", "."), ("e5", "e5"), ("1e999", "1e999"), ("9" * 30, "9" * 30),
        ("nan", "nan"),        ("", None), ("~", None), ("null", None), ("true", True), ("False", False),
        ("7", 7), ("-7", -7), ("0", 0), ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("-1.5e-1", -0.15),
    ],
)  # fmt: skip
def test_an_unquoted_scalar_means_what_yaml_1_2_says(text: str, expected: object) -> None:
    result = plain(text)
    assert (type(expected), expected) == (type(result), result)


def test_quotes_keep_text_text(tmp_path: Path) -> None:
    text = "models: {m: {task: binary, positive_class: '1.0', reference: r}}"
    assert _load(tmp_path, text).models["m"].positive_class == "1.0"


def test_the_key_on_is_a_key(tmp_path: Path) -> None:
    retrain = (
        _load(tmp_path, "models: {m: {task: regression, reference: r, retrain: {on: [drift]}}}").models["m"].retrain
    )
    assert retrain is not None
    assert retrain.on == ("drift",)
