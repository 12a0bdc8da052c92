"""Server settings ranked by an objective."""
