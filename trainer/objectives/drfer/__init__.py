"""DR-FER: its stages, and the parts of a round."""
