"""Whether the brokers answer and grant the rights that we need; nothing is created or written."""

from __future__ import annotations

from typing import Any

from kafka import KafkaAdminClient

from pipeline.bus.kafka.connection import KafkaConnection
from pipeline.bus.kafka.errors import translate_errors
from pipeline.errors import ServiceError
from pipeline.service_settings import BusSettings

MOST_S = 5.0
"""The longest wait for an answer here, whatever bus.timeout_s allows."""
_NONE, _UNKNOWN_TOPIC = 0, 3
_NEEDED = {"Read": 3, "Write": 4}
"""What we do with topics, and Kafka's number of it."""
_NOT_SENT = -(2**31)


def probe(settings: BusSettings) -> str:
    """Describe what was found, in a few words.

    Raises ConfigError and ServiceError as the bus itself would, or where topics are missing that we
    may not make, or a right is.
    """
    patience_s = min(settings.timeout_s, MOST_S)
    connection = KafkaConnection(settings.model_copy(update={"timeout_s": patience_s}))
    admin = connection.connect(KafkaAdminClient)
    try:
        with translate_errors(connection.settings, connection.where):
            topics = {topic["name"]: topic for topic in admin.describe_topics(connection.topics)}
    finally:
        admin.close()
    missing = sorted(n for n in connection.topics if _code(topics.get(n)) == _UNKNOWN_TOPIC)
    barred = sorted(
        n for n in connection.topics if _code(topics.get(n)) not in (_NONE, _UNKNOWN_TOPIC)
    )
    if barred:
        remedy = f"grant this user Describe, Read, Write and Create on {settings.topic_prefix}.*"
        raise ServiceError(f"not allowed to see {', '.join(barred)}", connection.where, remedy)
    if missing and not settings.create_topics:
        remedy = "create them, let this user see them, or set bus.create_topics"
        raise ServiceError(f"no topics {', '.join(missing)}", connection.where, remedy)
    for right, number in _NEEDED.items():
        lacking = sorted(n for n, topic in topics.items() if _lacks(topic, number))
        if lacking:
            what = f"no right to {right.lower()} {', '.join(lacking)}"
            raise ServiceError(what, connection.where, f"grant this user {right} on the topics")
    if missing:
        return f"{connection.where} answers; {len(missing)} topics will be made"
    return f"{connection.where} answers, topics {settings.topic_prefix}.*"


def _code(topic: Any) -> int:
    return int(topic["error_code"]) if topic else _UNKNOWN_TOPIC


def _lacks(topic: Any, number: int) -> bool:
    rights = topic.get("topic_authorized_operations", _NOT_SENT)
    is_sent = isinstance(rights, int) and rights != _NOT_SENT and _code(topic) == _NONE
    return is_sent and not rights >> number & 1
