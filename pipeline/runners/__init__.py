"""What drives the stages: in this process (`inline`), later under Ray."""
