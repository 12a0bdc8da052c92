"""Measured runs: their schema, checks, selection and tables."""
