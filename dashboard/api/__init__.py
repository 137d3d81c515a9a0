"""The read-only HTTP interface for other programs, beside the pages on the same port."""
