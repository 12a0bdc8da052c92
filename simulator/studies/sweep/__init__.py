"""Deployments times concurrencies."""
