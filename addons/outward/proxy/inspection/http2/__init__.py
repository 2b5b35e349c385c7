"""HTTP/2 in the inspect lane, for clients that speak nothing else. Each stream is an exchange as one of HTTP/1.1 is.

A head is judged, carried and answered in the form of HTTP/1.1 (`http2.messages`), by the same `hooks` and `transfer`.
Imported when a client first needs it.
"""
