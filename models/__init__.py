"""Detectors, crops, networks, weights. No Ray, no Kafka, no SQL, no clock."""
