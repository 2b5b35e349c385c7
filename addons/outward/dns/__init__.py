"""DNS (RFC 1035): messages, exchanges with name servers, and the cache. Messages are sans-IO.

The law: only the server that was asked is heard, and no address is judged here.
"""
