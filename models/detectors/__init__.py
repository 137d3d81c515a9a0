"""Face detectors: one protocol, one file a network."""
