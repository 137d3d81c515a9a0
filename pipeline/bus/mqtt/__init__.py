"""The latest state of every camera over MQTT, for Home Assistant and others. No history: that is
what outbox, bus and store are for."""
