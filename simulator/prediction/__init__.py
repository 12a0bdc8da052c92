"""Binds SKU, software, model and memory to a deployment and runs it."""
