"""Networks that others trained on faces, read from files inside pip packages."""
