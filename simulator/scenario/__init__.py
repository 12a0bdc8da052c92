"""What is asked: settings, layouts and loads, names resolved once."""
