"""Web servers of the network tests: `web_canary.py CERTIFICATE ADDRESS…` says where it was reached and what for.

A program of its own, so that it can run in a network namespace. HTTPS on 8443 with the certificate and its key, from one
PEM file; HTTP on 8000.
"""

import http.server
import socket
import socketserver
import ssl
import sys
import threading

SECURE, CLEAR = 8443, 8000


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every GET."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"reached {self.connection.getsockname()[0]} for {self.headers['Host']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(socketserver.ThreadingTCPServer):
    """A server of either family; `http.server`'s own would ask name servers for its name, and there are none."""

    def __init__(self, address: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), Handler)


def main() -> None:
    """Listen everywhere, say so, and stay."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    threads = []
    for address in sys.argv[2:]:
        secure, clear = Server(address, SECURE), Server(address, CLEAR)
        secure.socket = context.wrap_socket(secure.socket, server_side=True)
        for server in (secure, clear):
            threads.append(threading.Thread(target=server.serve_forever))
            threads[-1].start()
    print("ready", flush=True)
    for thread in threads:  # once the main thread has ended, Python 3.12 starts no others
        thread.join()


if __name__ == "__main__":
    main()
