"""Enforcement: listener, lanes, engine, resolver, dial. The only package that knows mitmproxy."""
