"""Fits software levels to measured runs: effects, observations, solver, files written."""
