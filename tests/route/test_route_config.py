"""The section `route` of monitor.yaml and the command: defaults, what is refused, and that no secret is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

from schemas.config import load
from schemas.errors import ConfigError, ConnectionProblem, TopicMissing
from streams.cli.route import route
from streams.edges.embedded import EmbeddedKafka, free_ports
from streams.router import check_topics, run_route

if TYPE_CHECKING:
    from pathlib import Path

MODELS = "models: {fraud: {task: regression, reference: r.json}}\n"


def _written(folder: Path, text: str) -> Path:
    path = folder / "monitor.yaml"
    path.write_text(MODELS + text)
    return path


def test_a_url_is_enough(tmp_path: Path) -> None:
    config = load(_written(tmp_path, 'route: {webhook: {url: "https://example.org/hook"}}'))
    assert config.route is not None
    webhook = config.route.webhook
    assert (webhook.timeout, webhook.first_wait, webhook.longest_wait) == (10_000, 500, 60_000)
    assert (webhook.give_up_after, webhook.headers) == (3_600_000, {})


@pytest.mark.parametrize(
    ("webhook", "where", "allowed"),
    [
        ("timeout: 1s", "route.webhook.url is missing", "needed"),
        ("url: ftp://u:hunter2@h/x", "route.webhook.url", "a URL like https://host/path"),
        ("url: 'https://:hunter2@/x'", "route.webhook.url", "a URL like https://host/path"),
        ("url: 'https://u:hunter2@h:99999/x'", "route.webhook.url", "a URL like https://host/path"),
        ("url: 'https://h/', headers: {A: \"hunter2\\nB: c\"}", "route.webhook.headers is a mapping", "one line"),
        ("url: 'https://h/', headers: {A: 5}", "route.webhook.headers is a mapping", "text"),
        ("url: 'https://h/', headers: {'A B': hunter2}", "route.webhook.headers is a mapping", "header names"),
        ("url: 'https://h/', headers: {ce-id: hunter2}", "route.webhook.headers is a mapping", "sets itself"),
        ("url: 'https://h/', headers: {Idempotency-Key: x}", "route.webhook.headers is a mapping", "sets itself"),
        ("url: 'https://h/', headers: hunter2", "route.webhook.headers", "a mapping"),
        ("url: 'https://h/', timeout: 0", "route.webhook.timeout", "more than nothing"),
        ("url: 'https://h/', give_up_after: 1s", "route.webhook is a mapping", "first_wait <= longest_wait"),
        ("url: 'https://u:hunter2@h/', headers: {authorization: x}", "route.webhook is a mapping", "not both"),
        ("url: 'https://h/', urls: x", "route.webhook.urls", "did you mean url?"),
    ],
)
def test_a_wrong_webhook_is_named_with_what_is_allowed_and_no_secret(
    tmp_path: Path, webhook: str, where: str, allowed: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load(_written(tmp_path, f"route: {{webhook: {{{webhook}}}}}"))
    text = str(refused.value)
    assert where in text
    assert allowed in text
    assert "monitor.yaml:2" in text
    if "headers: hunter2" not in webhook:  # there it is no value of a header, but a mistake to be shown
        assert "hunter2" not in text


def test_the_help_shows_an_example() -> None:
    application = typer.Typer()
    application.command()(route)
    shown = CliRunner().invoke(application, ["--help"])
    assert shown.exit_code == 0
    assert "driftline route --config monitor.yaml" in shown.output


def test_without_the_section_it_says_what_to_add(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no `route`\. Add `route:"):
        run_route(load(_written(tmp_path, "")))


def test_a_missing_topic_is_named(tmp_path: Path) -> None:
    with EmbeddedKafka(["driftline.alerts"]) as kafka:
        config = load(_written(tmp_path, f'kafka: {{bootstrap.servers: "{kafka.bootstrap}"}}'))
        with pytest.raises(TopicMissing, match=r"no topic driftline\.retrain, driftline\.dead-letters"):
            check_topics(config)


def test_a_broker_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.router.REQUEST_S", 0.5)
    (port,) = free_ports(1)
    config = load(_written(tmp_path, f'kafka: {{bootstrap.servers: "127.0.0.1:{port}"}}'))
    with pytest.raises(ConnectionProblem, match=f"Kafka at 127.0.0.1:{port} does not answer"):
        check_topics(config)
