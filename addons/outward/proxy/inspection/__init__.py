"""The inspect lane: TLS terminated, every request read strictly, judged, and carried by mitmproxy's layers."""
