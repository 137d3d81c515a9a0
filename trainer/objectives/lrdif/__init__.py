"""LRDif in its designs, and Poster, its network without diffusion."""
