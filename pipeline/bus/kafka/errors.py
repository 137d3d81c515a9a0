"""Errors of Kafka's client as one sentence with a remedy and without a credential.

The client raises "unable to bootstrap" for most faults and writes the cause into its log only; so
its log is captured here, and shown nowhere.
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
# The first that is in a message counts.
_LOGGED = {
    "SaslAuthenticationFailed": _LOGIN,
    "UnsupportedSaslMechanism": (
        "broker does not know this SASL mechanism",
        "correct bus.sasl_mechanism",
    ),
    "IllegalSaslState": ("broker wants no login", "correct bus.security"),
    "certificate is not valid for": (
        "broker's certificate names another host",
        "use the host that it names in bus.url and in the broker's advertised.listeners",
    ),
    "certificate has expired": ("broker's certificate has expired", "renew it on the broker"),
    "CERTIFICATE_VERIFY_FAILED": (
        "broker's certificate is not trusted",
        "set bus.ca_file to the certificate of the authority that signed it",
    ),
    "Handshake failed": ("no TLS with this broker", "correct bus.security"),
    "IncompatibleBrokerVersion": (
        "not a port for clients, or Kafka is older than 0.11",
        "correct the port in bus.url",
    ),
    "DNS": ("no such host", "correct bus.url"),
    "ECONNREFUSED": ("broker cannot be reached", "start it, or correct bus.url"),
}
_DISCONNECTED = "socket disconnected"
_NO_ANSWER = ("broker does not answer in time", "check the brokers, or raise bus.timeout_s")
_REASONS: dict[type[Exception], tuple[str, str]] = {
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
    errors.NotEnoughReplicasError: ("too few copies are in sync", "check the other brokers"),
    errors.UnsupportedCodecError: (
        "records of a topic cannot be unpacked ({1})",
        "pip install 'undercam[kafka]'",
    ),
    errors.CorruptRecordError: ("broker's copy of a topic is damaged", "check its disk"),
    errors.KafkaStorageError: ("broker's disk fails or is full", "check its disk"),
}
REBALANCED = (
    errors.CommitFailedError,
    errors.IllegalGenerationError,
    errors.RebalanceInProgressError,
    errors.UnknownMemberIdError,
)
"""The partitions were given to others: who has them now reads from the last commit."""
TOO_LARGE = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)


class _LogBuffer(logging.Handler):
    """Keeps the last messages, each with the monotonic time of it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: deque[tuple[float, str]] = deque(maxlen=1000)

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append((time.monotonic(), record.getMessage()))


_log_buffer = _LogBuffer()


def capture_log() -> None:
    """Keep the client's log in memory from now on, instead of showing it."""
    log = logging.getLogger("kafka")
    log.setLevel(logging.WARNING)
    log.propagate = False
    log.addHandler(_log_buffer)


def last_fault(settings: BusSettings, since_s: float) -> tuple[str, str] | None:
    """The last fault of a connection that the client logged since then, and its remedy."""
    texts = [text for at_s, text in list(_log_buffer.messages) if at_s >= since_s][::-1]
    known = (_LOGGED[sign] for text in texts for sign in _LOGGED if sign in text)
    closed = (text for text in texts if "Connection lost" in text and _DISCONNECTED in text)
    return next(known, None) or next((_guess_reason(text, settings) for text in closed), None)


@contextmanager
def translate_errors(settings: BusSettings, where: str) -> Iterator[None]:
    """Raises an error of the client as a ServiceError that names the brokers."""
    begun_s = time.monotonic()
    try:
        yield
    except errors.KafkaConfigurationError as error:
        raise ConfigError("settings of the bus do not fit", where, str(error)) from error
    except errors.KafkaError as error:
        what, remedy = _reason(error, settings, begun_s)
        raise ServiceError(what, where, remedy) from error


def _reason(error: errors.KafkaError, settings: BusSettings, begun_s: float) -> tuple[str, str]:
    for kind, reason in _REASONS.items():
        if isinstance(error, kind):
            return reason[0].format(settings, error), reason[1].format(settings, error)
    if getattr(error, "retriable", False):
        return last_fault(settings, begun_s) or _NO_ANSWER
    return next(
        (reason for sign, reason in _LOGGED.items() if sign in type(error).__name__),
        ("Kafka refuses", type(error).__name__),
    )


def _guess_reason(text: str, settings: BusSettings) -> tuple[str, str]:
    """Of a closed connection: a broker closes it without a word where TLS or a login is missing."""
    if "broker_version=unknown" in text:
        return "broker closes the connection", "it may want TLS: correct bus.security"
    if settings.security.startswith("SASL"):
        return _LOGIN
    return "broker closes the connection", "it may want a login: correct bus.security"
