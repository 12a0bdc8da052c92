"""Reports: one HTML page of an interactive Pareto plot, its tables and where they come from."""

from simulator.studies.report.build import Report, report

__all__ = ["Report", "report"]
