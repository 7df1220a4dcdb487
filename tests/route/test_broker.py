"""From librdkafka's settings to Faust's: translated, or refused in one sentence without a value in it."""

from __future__ import annotations

import ssl

import faust
import pytest

from schemas.errors import ConfigError
from streams.routes.broker import faust_settings

BASE = {"bootstrap.servers": "one:9092, two:9093"}
SASL = {**BASE, "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-512"}


def test_brokers_and_timeouts_are_translated() -> None:
    kafka: dict[str, str | int | bool] = {
        **BASE,
        "client.id": "c",
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": "500",
        "linger.ms": 5,
    }
    settings = faust_settings(kafka)
    assert settings.pop("broker") == ["kafka://one:9092", "kafka://two:9093"]
    assert settings == {"broker_client_id": "c", "broker_session_timeout": 6.0, "broker_heartbeat_interval": 0.5}


def test_an_address_may_name_a_protocol_no_port_and_ipv6() -> None:
    settings = faust_settings({"bootstrap.servers": "SSL://one,[::1]:9093"})
    assert settings["broker"] == ["kafka://one", "kafka://[::1]:9093"]


def test_user_and_password_are_translated() -> None:
    credentials = faust_settings({**SASL, "sasl.username": "u", "sasl.password": "p"})["broker_credentials"]
    assert isinstance(credentials, faust.SASLCredentials)
    assert (credentials.username, credentials.password) == ("u", "p")
    assert (credentials.mechanism.value, credentials.protocol.value) == ("SCRAM-SHA-512", "SASL_PLAINTEXT")


def test_tls_verifies_the_broker_unless_told_otherwise() -> None:
    strict = faust_settings({**BASE, "security.protocol": "ssl"})["broker_credentials"].context
    assert (strict.verify_mode, strict.check_hostname) == (ssl.CERT_REQUIRED, True)
    any_name = {**BASE, "security.protocol": "ssl", "ssl.endpoint.identification.algorithm": "none"}
    context = faust_settings(any_name)["broker_credentials"].context
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, False)


def test_sasl_over_tls_has_both() -> None:
    kafka = {**SASL, "security.protocol": "SASL_SSL", "sasl.username": "u", "sasl.password": "p"}
    credentials = faust_settings(kafka)["broker_credentials"]
    assert credentials.protocol.value == "SASL_SSL"
    assert credentials.ssl_context.verify_mode == ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("kafka", "named"),
    [
        ({**BASE, "sasl.oauthbearer.client.secret": "hunter2"}, "kafka.sasl.oauthbearer.client.secret"),
        ({**BASE, "ssl.ca.pem": "hunter2"}, "kafka.ssl.ca.pem"),
        ({**BASE, "ssl.keystore.location": "hunter2"}, "kafka.ssl.keystore.location"),
        ({**BASE, "broker.address.family": "hunter2"}, "kafka.broker.address.family"),
        ({**BASE, "security.protocol": "hunter2"}, "kafka.security.protocol"),
        ({**SASL, "sasl.mechanism": "GSSAPI"}, "kafka.sasl.mechanism"),
        ({**SASL, "sasl.password": "hunter2"}, "sasl.username"),
        ({**BASE, "security.protocol": "ssl", "ssl.ca.location": "/nowhere/hunter2"}, "kafka.ssl"),
        ({"bootstrap.servers": ","}, "kafka.bootstrap.servers"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name_and_without_its_value(
    kafka: dict[str, str | int | bool], named: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        faust_settings(kafka)
    assert named in str(refused.value)
    assert "hunter2" not in str(refused.value)
