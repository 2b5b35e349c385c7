"""Outward: a forward egress proxy for AI agents."""

__version__ = "0.1.0"
