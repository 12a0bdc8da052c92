"""A table of configurations, one prediction a row."""
