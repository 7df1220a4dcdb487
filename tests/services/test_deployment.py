"""The files that put driftline on a machine agree with each other and with the configuration they name."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import yaml

from schemas import config
from tests.services.kafka import POM, REPOSITORY

PINNED = re.compile(r"[a-z0-9./-]+:v?\d+\.\d+\.\d+[a-z0-9.-]*")


def compose() -> dict[str, Any]:
    """Return the services of docker-compose.yml."""
    services: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    return services


def dockerfile_images() -> list[str]:
    """Return what the Dockerfile starts from."""
    return re.findall(r"^FROM (\S+)", (REPOSITORY / "Dockerfile").read_text(), flags=re.MULTILINE)


def test_every_image_is_pinned_to_a_release() -> None:
    images = [service["image"] for service in compose().values()] + dockerfile_images()
    assert [image for image in images if not PINNED.fullmatch(image)] == []


def test_the_broker_of_the_tests_is_the_broker_of_the_compose_file() -> None:
    found = re.search(r"<artifactId>kafka_2.13</artifactId>\s*<version>([^<]+)<", POM.read_text())
    assert found is not None
    assert compose()["kafka"]["image"] == f"apache/kafka:{found[1]}"


def test_our_image_carries_the_version_of_the_package() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert {compose()[name]["image"] for name in ("topics", "worker")} == {f"driftline:{project['version']}"}


def test_the_worker_finds_kafka_and_redis_and_prometheus_finds_the_worker() -> None:
    services = compose()
    monitor = config.load(REPOSITORY / "deploy" / "compose" / "monitor.yaml")
    scraped = yaml.safe_load((REPOSITORY / "deploy" / "prometheus" / "prometheus.yml").read_text())
    (target,) = scraped["scrape_configs"][0]["dns_sd_configs"]
    listeners = services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert f"INSIDE://{monitor.kafka['bootstrap.servers']}," in listeners
    assert monitor.redis.url == "redis://redis:6379/0"
    assert (monitor.http.host, monitor.http.port) == ("0.0.0.0", target["port"])  # noqa: S104 - inside a container
    assert target["names"] == ["worker"]


def test_redis_never_evicts_and_keeps_an_append_only_file() -> None:
    command = " ".join(compose()["redis"]["command"])
    assert "--maxmemory-policy noeviction" in command
    assert "--appendonly yes" in command
