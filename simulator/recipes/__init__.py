"""Server settings in force, dated, with the range they were recorded in."""
