"""What Kafka's client says, as one sentence with a remedy and without a credential.

The client raises "unable to bootstrap" for most faults and writes the cause into its log; so the
log is listened to, and goes nowhere else.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from kafka import errors

from pipeline.errors import ConfigError, ServiceError
from pipeline.service_settings import BusSettings

_LOGIN = (
    "broker refuses the login",
    "correct bus.user and bus.password, or bus.sasl_mechanism",
)
_HEARD = {
    "SaslAuthenticationFailed": _LOGIN,
    "UnsupportedSaslMechanism": (
        "broker does not know this SASL mechanism",
        "correct bus.sasl_mechanism",
    ),
    "IllegalSaslState": ("broker wants no login", "correct bus.security"),
    "CERTIFICATE_VERIFY_FAILED": (
        "broker's certificate is not trusted, or is another host's",
        "set bus.ca_file, or use the certificate's host in bus.url",
    ),
    "Handshake failed": ("no TLS with this broker", "correct bus.security"),
    "IncompatibleBrokerVersion": (
        "not a port for clients, or Kafka is older than 0.11",
        "correct the port in bus.url",
    ),
    "DNS": ("no such host", "correct bus.url"),
    "ECONNREFUSED": ("broker cannot be reached", "start it, or correct bus.url"),
}
_HANG_UP = "socket disconnected"
_SILENT = ("broker does not answer in time", "see to it, or raise bus.timeout_s")
_RAISED: dict[type[Exception], tuple[str, str]] = {
    errors.TopicAuthorizationFailedError: (
        "not allowed to use the topics",
        "grant this user Describe, Read, Write and Create on {0.topic_prefix}.*",
    ),
    errors.GroupAuthorizationFailedError: (
        "not allowed to use the consumer group",
        "grant this user Read on the group {0.group}",
    ),
    errors.ClusterAuthorizationFailedError: (
        "not allowed to write or to create topics",
        "grant this user IdempotentWrite and Create on the cluster",
    ),
    errors.InvalidReplicationFactorError: (
        "too few brokers for bus.replication",
        "start more, or lower it",
    ),
    errors.InvalidTopicError: ("not a topic's name", "correct bus.topic_prefix"),
    errors.PolicyViolationError: ("broker's policy forbids the topics", "create them by hand"),
    errors.NotEnoughReplicasError: ("too few copies are in sync", "see to the other brokers"),
    errors.UnsupportedCodecError: (
        "records of a topic cannot be unpacked ({1})",
        "pip install 'undercam[kafka]'",
    ),
    errors.CorruptRecordError: ("broker's copy of a topic is damaged", "see to its disk"),
    errors.KafkaStorageError: ("broker's disk fails or is full", "see to it"),
}
REBALANCED = (
    errors.CommitFailedError,
    errors.IllegalGenerationError,
    errors.RebalanceInProgressError,
    errors.UnknownMemberIdError,
)
"""The group has moved on: whoever has the partitions now reads from the last commit."""
TOO_LARGE = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)


class _Ear(logging.Handler):
    """Keeps what the client says last."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: deque[tuple[float, str]] = deque(maxlen=1000)

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append((time.monotonic(), record.getMessage()))


_ear = _Ear()


def listen() -> None:
    """From now on the client's log is kept here, and shown nowhere."""
    log = logging.getLogger("kafka")
    log.setLevel(logging.WARNING)
    log.propagate = False
    log.addHandler(_ear)


def trouble(settings: BusSettings, since_s: float) -> tuple[str, str] | None:
    """The last fault of a connection that the client met since then, and its remedy."""
    said = [text for at_s, text in list(_ear.heard) if at_s >= since_s]
    heard = (_HEARD[sign] for text in reversed(said) for sign in _HEARD if sign in text)
    hung_up = (text for text in reversed(said) if "Connection lost" in text and _HANG_UP in text)
    return next(heard, None) or next((_guess(text, settings) for text in hung_up), None)


@contextmanager
def explained(settings: BusSettings, where: str) -> Iterator[None]:
    """Turns an error of the client into a ServiceError that names the place."""
    begun_s = time.monotonic()
    try:
        yield
    except errors.KafkaConfigurationError as error:
        raise ConfigError("settings of the bus do not fit", where, str(error)) from error
    except errors.KafkaError as error:
        what, remedy = _reason(error, settings, begun_s)
        raise ServiceError(what, where, remedy) from error


def _reason(error: errors.KafkaError, settings: BusSettings, begun_s: float) -> tuple[str, str]:
    for kind, reason in _RAISED.items():
        if isinstance(error, kind):
            return reason[0].format(settings, error), reason[1].format(settings, error)
    if getattr(error, "retriable", False):
        return trouble(settings, begun_s) or _SILENT
    return next(
        (reason for sign, reason in _HEARD.items() if sign in type(error).__name__),
        ("Kafka refuses", type(error).__name__),
    )


def _guess(text: str, settings: BusSettings) -> tuple[str, str]:
    """The broker hung up: all that it says to who comes without TLS, or with a wrong login."""
    if "broker_version=unknown" in text:
        return "broker hung up", "it may want TLS: correct bus.security"
    if settings.security.startswith("SASL"):
        return _LOGIN
    return "broker hung up", "it may want a login: correct bus.security"
