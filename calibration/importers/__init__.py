"""Readers of measurements that others publish or that a user brings."""
