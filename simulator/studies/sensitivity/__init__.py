"""What a change of each SKU figure is worth."""
