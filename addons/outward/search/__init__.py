"""Governance of hosted search: vendor adapters, narrowing, observation of streams."""
