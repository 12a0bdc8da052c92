"""Scores predictions of runs that a fit has not seen: folds, bands, targets."""
