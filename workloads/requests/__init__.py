"""Requests that arrive: lengths, arrival processes, conversations, traces."""
