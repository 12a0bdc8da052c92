"""What software updates have been worth."""
