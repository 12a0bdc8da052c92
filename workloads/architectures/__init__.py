"""Model architectures: their figures, names and files."""
