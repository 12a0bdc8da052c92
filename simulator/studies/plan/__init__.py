"""How many GPUs a demand needs under service-level objectives."""
