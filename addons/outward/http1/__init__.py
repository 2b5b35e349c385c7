"""HTTP/1.0 and HTTP/1.1, read strictly (RFC 9110, RFC 9112): heads, fields, bodies, and heads as they go on. Sans-IO.

One law: a message that two programs could read in different ways is refused, never repaired. Every reader of the proxy
is here, so that the gate, the inspect lane and the addon read alike. Nothing here knows policy, sockets or TLS.
"""
