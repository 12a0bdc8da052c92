"""SKUs side by side at equal speed per user."""
