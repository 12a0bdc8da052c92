"""What records say: metrics, costs, objectives, frontiers, statistics."""
