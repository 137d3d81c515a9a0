"""EmoDC and its classifier of noisy faces."""
