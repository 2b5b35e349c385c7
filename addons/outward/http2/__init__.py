"""HTTP/2 (RFC 9113), sans-IO: bytes in, values out; bounded in all that a peer may ask for.

`frames` splits what comes and counts what carries nothing; `messages` reads and writes heads; `session` is one end of a
connection. Streams, windows and HPACK are the `h2` library's. Imported when a client first needs it.
"""
