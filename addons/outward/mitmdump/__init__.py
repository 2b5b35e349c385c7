"""What the addon for mitmproxy has beside its hooks: messages as heads on the wire, connections, requests under way."""
