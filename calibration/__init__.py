"""How real machines differ: measured runs, importers, fits, validation, uncertainty."""
