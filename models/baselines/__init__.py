"""Discriminative baselines: what every diffusion model here has to beat."""
