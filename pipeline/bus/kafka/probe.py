"""Whether the brokers answer and let us do what we need; nothing is created or written."""

from __future__ import annotations

from typing import Any

from kafka import KafkaAdminClient

from pipeline.bus.kafka.connection import KafkaConnection
from pipeline.bus.kafka.faults import explained
from pipeline.errors import ServiceError
from pipeline.service_settings import BusSettings

MOST_S = 5.0
"""To wait for an answer here, whatever bus.timeout_s allows."""
_NONE, _UNKNOWN_TOPIC = 0, 3
_NEEDED = {"Read": 3, "Write": 4}
"""What we do with topics, and Kafka's number of it."""
_NOT_TOLD = -(2**31)


def probe(settings: BusSettings) -> str:
    """What was found, in a few words.

    Raises ConfigError and ServiceError as the bus itself would, or where topics are missing that we
    may not make, or a right is.
    """
    patience_s = min(settings.timeout_s, MOST_S)
    link = KafkaConnection(settings.model_copy(update={"timeout_s": patience_s}))
    admin = link.connect(KafkaAdminClient)
    try:
        with explained(link.settings, link.where):
            topics = {topic["name"]: topic for topic in admin.describe_topics(link.topics)}
    finally:
        admin.close()
    missing = sorted(n for n in link.topics if _code(topics.get(n)) == _UNKNOWN_TOPIC)
    barred = sorted(n for n in link.topics if _code(topics.get(n)) not in (_NONE, _UNKNOWN_TOPIC))
    if barred:
        remedy = f"grant this user Describe, Read, Write and Create on {settings.topic_prefix}.*"
        raise ServiceError(f"not allowed to see {', '.join(barred)}", link.where, remedy)
    if missing and not settings.create_topics:
        remedy = "create them, let this user see them, or set bus.create_topics"
        raise ServiceError(f"no topics {', '.join(missing)}", link.where, remedy)
    for right, number in _NEEDED.items():
        lacking = sorted(n for n, topic in topics.items() if _lacks(topic, number))
        if lacking:
            what = f"no right to {right.lower()} {', '.join(lacking)}"
            raise ServiceError(what, link.where, f"grant this user {right} on the topics")
    if missing:
        return f"{link.where} answers; {len(missing)} topics will be made"
    return f"{link.where} answers, topics {settings.topic_prefix}.*"


def _code(topic: Any) -> int:
    return int(topic["error_code"]) if topic else _UNKNOWN_TOPIC


def _lacks(topic: Any, number: int) -> bool:
    rights = topic.get("topic_authorized_operations", _NOT_TOLD)
    is_told = isinstance(rights, int) and rights != _NOT_TOLD and _code(topic) == _NONE
    return is_told and not rights >> number & 1
