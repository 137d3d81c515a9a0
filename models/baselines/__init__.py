"""Discriminative baselines, which diffusion models are compared with."""
