"""Enforcement: listener, lanes, resolver, dial."""
