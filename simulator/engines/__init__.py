"""Serving engines, one module each: settings, scheduler, memory and KV rules."""
