"""What moved between two versions, or two folders of results, and by how much."""
