"""Kafka: the one room that imports its client."""
