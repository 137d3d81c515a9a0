"""The connection to the brokers, and the topics that must exist."""

from __future__ import annotations

import ssl
from typing import Any

from kafka import KafkaAdminClient
from kafka.errors import TopicAlreadyExistsError

from pipeline.bus.kafka.errors import capture_log, translate_errors
from pipeline.config import resolve
from pipeline.errors import ConfigError, ServiceError, UndercamError
from pipeline.service_settings import BusSettings

TOPICS: dict[str, str] = {
    "face_observed": "observations",
    "track_updated": "tracks",
    "camera_status": "cameras",
    "events_lost": "cameras",
}
"""The topic of each kind of record, without its prefix; all versions of a kind share it."""
DEAD = "dead"
"""The topic of what cannot be stored: the payload as it came, headers `origin` and `reason`."""


class KafkaConnection:
    """The settings of the bus with secrets resolved; raises ConfigError for unusable ones."""

    def __init__(self, settings: BusSettings) -> None:
        self.settings = settings
        self._hosts = _hosts(resolve(settings.url))
        self.where = f"kafka://{','.join(self._hosts)}"
        self.timeout_ms = round(max(settings.timeout_s, 1.0) * 1000)
        self._client_options()
        self.topics = [self.topic(name) for name in (*dict.fromkeys(TOPICS.values()), DEAD)]
        capture_log()

    def topic(self, name: str) -> str:
        """A topic's full name."""
        return f"{self.settings.topic_prefix}.{name}"

    def connect(self, kind: Any, **options: Any) -> Any:
        """Make a client of the vendor's, connected, with secrets as they are now.

        Raises ServiceError; ConfigError where a secret or file cannot be used any more.
        """
        options |= self._client_options()
        parts: list[Any] = []

        def part(**config: Any) -> Any:
            parts.append(kind.DEFAULT_CONFIG["kafka_client"](**config))
            return parts[-1]

        try:
            with translate_errors(self.settings, self.where):
                return kind(**options, kafka_client=part)
        except UndercamError:
            # A client that could not be made leaves its thread and sockets behind.
            for left in parts:
                left.close()
            raise

    def _client_options(self) -> dict[str, Any]:
        security = self.settings.security
        options: dict[str, Any] = {
            "bootstrap_servers": self._hosts,
            "bootstrap_timeout_ms": self.timeout_ms,
            "request_timeout_ms": self.timeout_ms,
            "reconnect_backoff_max_ms": 2000,
            "security_protocol": security,
        }
        if security.startswith("SASL"):
            options["sasl_mechanism"] = self.settings.sasl_mechanism
            options["sasl_plain_username"] = resolve(self.settings.user)
            options["sasl_plain_password"] = resolve(self.settings.password)
        if security.endswith("SSL"):
            options["ssl_context"] = _tls(self.settings.ca_file)
        return options

    def prepare(self) -> None:
        """Create missing topics; raises ServiceError where bus.create_topics forbids it."""
        admin = self.connect(KafkaAdminClient)
        try:
            with translate_errors(self.settings, self.where):
                missing = sorted(set(self.topics) - set(admin.list_topics()))
                if missing and not self.settings.create_topics:
                    remedy = "create them, let this user see them, or set bus.create_topics"
                    raise ServiceError(f"no topics {', '.join(missing)}", self.where, remedy)
                for topic in missing:
                    self._create(admin, topic)
        finally:
            admin.close()

    def _create(self, admin: Any, topic: str) -> None:
        limits = {
            "retention.ms": self.settings.retention_ms,
            "segment.ms": self.settings.segment_ms,
        }
        wanted = {
            "num_partitions": self.settings.partitions,
            "replication_factor": self.settings.replication,
            "configs": {name: str(limit) for name, limit in limits.items()},
        }
        try:
            admin.create_topics({topic: wanted}, self.timeout_ms, wait_for_metadata=True)
        except TopicAlreadyExistsError:  # another client was quicker
            return


def _tls(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:  # SSLError is one
        remedy = f"give a PEM file with the authority's certificate ({error.strerror or error})"
        raise ConfigError(
            "authority's file cannot be used", f"bus.ca_file {ca_file}", remedy
        ) from error


def _hosts(url: str) -> list[str]:
    scheme, _, rest = url.partition("://")
    hosts = [host.strip() for host in rest.rstrip("/").split(",")]
    if scheme != "kafka" or not all(hosts) or "@" in rest or "/" in rest.rstrip("/"):
        # Its text may hold a password.
        remedy = "give kafka://HOST:PORT[,HOST:PORT...]; a login belongs in bus.user, bus.password"
        raise ConfigError("not the address of a Kafka cluster", "bus.url", remedy)
    return hosts
