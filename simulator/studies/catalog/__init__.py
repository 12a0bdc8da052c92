"""What there is: SKUs, models, engines, levels, recipes, runs."""
