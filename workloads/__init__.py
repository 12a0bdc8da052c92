"""What is asked: a model's operations for a batch on a layout, and the requests that arrive."""
