"""TLS as bytes (RFC 8446): what a client says first, whether it is asked again, and the alerts that refuse it. Sans-IO.

The law: nothing is read beyond its bound, and what is not understood is refused.
"""
