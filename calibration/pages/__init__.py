"""Pages and pictures about accuracy, written from results."""
