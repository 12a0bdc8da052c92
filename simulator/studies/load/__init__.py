"""One deployment under a stream of requests."""
