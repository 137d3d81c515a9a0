"""LRDif: expressions through under-display cameras, by diffusion over a prior (2402.00250)."""
