"""From a camera's worker to the store: outboxes on disk, the relay that drains them, and Kafka."""
