"""The Pareto curve of one SKU."""
