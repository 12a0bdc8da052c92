"""Deployments and server settings ranked by an objective, and how to launch them."""
