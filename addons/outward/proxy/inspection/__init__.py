"""The inspect lane: TLS terminated, every request read strictly, judged, and carried."""
