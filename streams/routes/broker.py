"""From librdkafka's settings, which `monitor.yaml` speaks, to Faust's, whose client (aiokafka) has other names.

Everything that says which broker it is, whom to trust and who we are is either translated or refused: a router that
silently left out a certificate would talk to somebody else. Settings that only tune librdkafka's buffers and timing
have no counterpart and are left to the worker.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

import faust

from schemas.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_REMEDY: Final = "Leave it out of `kafka` in the configuration of `driftline route`, or use one of: "
_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_PROTOCOLS: Final = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
_TRANSLATED: Final = frozenset({
    "bootstrap.servers", "client.id", "enable.ssl.certificate.verification", "group.instance.id",
    "heartbeat.interval.ms", "sasl.mechanism", "sasl.mechanisms", "sasl.password", "sasl.username", "security.protocol",
    "session.timeout.ms", "ssl.ca.location", "ssl.certificate.location", "ssl.endpoint.identification.algorithm",
    "ssl.key.location", "ssl.key.password",
})  # fmt: skip
_TUNING: Final = (
    "allow.auto.create.topics", "batch.", "check.crcs", "compression.", "connections.", "debug", "delivery.timeout.ms",
    "fetch.", "group.protocol", "linger.ms", "log", "max.in.flight", "max.partition.fetch.bytes",
    "max.poll.interval.ms", "message.", "metadata.max.age.ms", "partitioner", "queue", "receive.message.max.bytes",
    "reconnect.", "request.timeout", "retries", "retry.", "socket.", "statistics.interval.ms", "topic.metadata.",
)  # fmt: skip


def faust_settings(kafka: Mapping[str, str | int | bool]) -> dict[str, Any]:
    """Return the keyword arguments of `faust.App` that say where the broker is and how to get in.

    Raises:
        ConfigError: a setting has no counterpart, or a certificate cannot be read; values are never in the text.
    """
    for name in sorted(kafka):
        if name not in _TRANSLATED and not name.startswith(_TUNING):
            what = f"kafka.{name} cannot be translated for `driftline route`, whose Kafka client is not librdkafka"
            raise ConfigError(what, _REMEDY + ", ".join(sorted(_TRANSLATED)))
    settings: dict[str, Any] = {"broker": _addresses(str(kafka["bootstrap.servers"]))}
    if "client.id" in kafka:
        settings["broker_client_id"] = str(kafka["client.id"])
    if "group.instance.id" in kafka:
        settings["consumer_group_instance_id"] = str(kafka["group.instance.id"])
    for name, ours in (
        ("session.timeout.ms", "broker_session_timeout"),
        ("heartbeat.interval.ms", "broker_heartbeat_interval"),
    ):
        if name in kafka:
            settings[ours] = int(kafka[name]) / 1000
    credentials = _credentials(kafka)
    return settings if credentials is None else {**settings, "broker_credentials": credentials}


def _addresses(servers: str) -> list[str]:
    addresses = []
    for server in servers.split(","):
        # librdkafka allows "SSL://host:port" too, and says itself that it ignores the protocol there.
        host = server.strip().rpartition("://")[2]
        if host:
            addresses.append(f"kafka://{host}")
    if not addresses:
        what = "kafka.bootstrap.servers names no broker"
        raise ConfigError(what, 'Write host:port, several with commas, like "localhost:9092"')
    return addresses


def _credentials(kafka: Mapping[str, str | int | bool]) -> faust.SSLCredentials | faust.SASLCredentials | None:
    protocol = str(kafka.get("security.protocol", "plaintext")).lower()
    if protocol not in _PROTOCOLS:
        what = "kafka.security.protocol is none that `driftline route` can speak"
        raise ConfigError(what, f"Use one of: {', '.join(_PROTOCOLS)}")
    context = _ssl_context(kafka) if protocol.endswith("ssl") else None
    if not protocol.startswith("sasl"):
        return None if context is None else faust.SSLCredentials(context=context)
    mechanism = str(kafka.get("sasl.mechanisms", kafka.get("sasl.mechanism", "GSSAPI")))
    if mechanism not in _MECHANISMS:
        what = "kafka.sasl.mechanism is none that `driftline route` can speak"
        raise ConfigError(what, f"Use one of: {', '.join(_MECHANISMS)}")
    if not kafka.get("sasl.username") or not kafka.get("sasl.password"):
        what = f"kafka.security.protocol is {protocol}, but kafka.sasl.username or kafka.sasl.password is missing"
        raise ConfigError(what, "Write both; ${ENV} is filled in from the environment")
    return faust.SASLCredentials(
        username=str(kafka["sasl.username"]),
        password=str(kafka["sasl.password"]),
        mechanism=mechanism,
        ssl_context=context,
    )


def _ssl_context(kafka: Mapping[str, str | int | bool]) -> ssl.SSLContext:
    try:
        location = kafka.get("ssl.ca.location")
        # "probe" is librdkafka's word for the system's own certificates.
        context = ssl.create_default_context(cafile=None if location in {None, "probe"} else str(location))
        if certificate := kafka.get("ssl.certificate.location"):
            key, password = kafka.get("ssl.key.location"), kafka.get("ssl.key.password")
            context.load_cert_chain(
                str(certificate), None if key is None else str(key), None if password is None else str(password)
            )
    except OSError as error:  # ssl.SSLError is one
        what = f"A certificate or key of kafka.ssl.* cannot be read ({error.strerror or type(error).__name__})"
        remedy = "Name PEM files in ssl.ca.location, ssl.certificate.location and ssl.key.location"
        raise ConfigError(what, remedy) from None
    if str(kafka.get("ssl.endpoint.identification.algorithm", "https")).lower() == "none":
        context.check_hostname = False
    if str(kafka.get("enable.ssl.certificate.verification", True)).lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
