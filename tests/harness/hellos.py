"""ClientHellos built by hand, well-formed or not."""


def extension(kind: int, body: bytes = b"") -> bytes:
    """Return an extension."""
    return kind.to_bytes(2) + len(body).to_bytes(2) + body


def server_name(name: bytes) -> bytes:
    """Return the body of a server_name extension with one host name."""
    return (len(name) + 3).to_bytes(2) + b"\x00" + len(name).to_bytes(2) + name


def hello(*extensions: bytes, block: bytes | None = None, version: bytes = b"\x03\x03") -> bytes:
    """Return a ClientHello message; `block` replaces the extensions and their length."""
    joined = b"".join(extensions)
    block = len(joined).to_bytes(2) + joined if block is None else block
    body = version + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00" + block
    return b"\x01" + len(body).to_bytes(3) + body


def record(payload: bytes, version: bytes = b"\x03\x01") -> bytes:
    """Return a handshake record."""
    return b"\x16" + version + len(payload).to_bytes(2) + payload


def fragmented(message: bytes, size: int) -> bytes:
    """Spread a message over records of `size` bytes."""
    return b"".join(record(message[at : at + size]) for at in range(0, len(message), size))
