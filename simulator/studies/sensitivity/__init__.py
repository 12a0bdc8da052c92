"""What a change of a SKU figure, of software or of the load is worth."""
