"""Any public table of runs against predictions: errors, shapes, frontiers, coverage."""
