"""Fits kernel times to public operation tables and reports how well they transfer."""
