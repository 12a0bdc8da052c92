"""One step of a worker, taken apart."""
