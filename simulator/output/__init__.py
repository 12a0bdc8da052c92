"""Files, tables and figures that results are written to."""
