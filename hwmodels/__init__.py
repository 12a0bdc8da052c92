"""How long one operation or collective takes on a chip, what a chip costs and draws."""
