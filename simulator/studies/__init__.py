"""Questions that need more than one run, one folder each."""
