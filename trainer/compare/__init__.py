"""Comparing models: evaluation, saved predictions, tables and charts."""
