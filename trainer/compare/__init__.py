"""How well models do: evaluation, kept predictions, tables and charts of the comparison."""
