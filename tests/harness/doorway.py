"""Clients that speak TLS to the proxy itself."""

import socket
import ssl

from harness.waiting import PATIENCE

SPIFFE = "spiffe://example.org/ns/agents/sa/bot"
OPENED = b"HTTP/1.1 200"


def connect(served, pki, port, *, issuer=None, identity=None, chain=None):
    """CONNECT over TLS, with a certificate or without; return the socket and the answer's first bytes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    pki[1].configure_trust(context)
    if identity:
        issuer.issue_cert(identity).configure_cert(context)
    if chain:
        context.load_cert_chain(chain)
    sock = context.wrap_socket(socket.create_connection(served.proxy, timeout=PATIENCE), server_hostname="127.0.0.1")
    sock.sendall(f"CONNECT origin.test:{port} HTTP/1.1\r\nHost: origin.test:{port}\r\n\r\n".encode())
    return sock, sock.recv(4096)
