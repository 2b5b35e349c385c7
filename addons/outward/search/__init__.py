"""Governance of hosted search: what a vendor's own servers may search, and what they found. Pure: bytes and values."""
