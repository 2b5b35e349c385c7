"""A TCP connection through the proxy, for programs that speak no HTTP: ssh, database clients.

Owns the CONNECT and the copying of bytes. Started by ssh for every connection (`ProxyCommand`), so that it imports the
standard library only: `python -I through.py HOST PORT`. Standard output is the connection's alone.
"""

import base64
import json
import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_VARIABLES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_TIMEOUT = 60.0  # seconds until the proxy has answered; it dials meanwhile
_MOST = 64 * 1024  # bytes of an answer that says no
_PIECE = 64 * 1024
_PORTS = {"http": 80, "https": 443}


class NoWayError(Exception):
    """There is no connection.

    Attributes:
        denied: whether the proxy's policy said no, rather than something having failed.
    """

    def __init__(self, message: str, *, denied: bool = False) -> None:
        super().__init__(message)
        self.denied = denied


@dataclass(frozen=True, slots=True)
class Way:
    """Where the proxy is.

    Attributes:
        secure: whether it speaks TLS.
        authorization: value of `Proxy-Authorization`; empty for none.
    """

    host: str
    port: int
    secure: bool = False
    authorization: str = ""


def way_of(environ: Mapping[str, str]) -> Way:
    """Return the proxy that the environment names.

    Raises:
        NoWayError: it names none, or one that is no HTTP proxy.
    """
    text = next((environ[name] for name in _VARIABLES if environ.get(name)), None)
    if text is None:
        raise NoWayError('no proxy is named: start this behind `outward run`, or after `eval "$(outward env)"`')
    try:
        way = _way(text)
    except ValueError:  # whose message may quote the password
        way = None
    if way is None:
        raise NoWayError(f"{_VARIABLES[0]} holds no URL of an HTTP proxy")
    return way


def _way(text: str) -> Way | None:
    """Return the proxy that a URL names; None for another kind.

    Raises:
        ValueError: it is no URL.
    """
    url = urlsplit(text if "://" in text else f"http://{text}")
    host, port = url.hostname, url.port
    if url.scheme not in _PORTS or not host:
        return None
    user, password = unquote(url.username or ""), unquote(url.password or "")
    secret = base64.b64encode(f"{user}:{password}".encode()).decode() if user or password else ""
    return Way(host, port or _PORTS[url.scheme], url.scheme == "https", f"Basic {secret}" if secret else "")


def tunnel(way: Way, host: str, port: int) -> tuple[socket.socket, bytes]:
    """Return a connection to a host through the proxy, and what the host has said already.

    Args:
        way: the proxy.
        host: a name, or an address without brackets; the proxy resolves it.
        port: TCP port.

    Raises:
        NoWayError: the proxy cannot be reached, or refuses.
    """
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if not target.isascii() or not target.isprintable() or " " in target:
        raise NoWayError("the host's name holds what no name can hold")
    fields = f"Proxy-Authorization: {way.authorization}\r\n" if way.authorization else ""
    try:
        stream = _dial(way)
        stream.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: outward\r\n{fields}\r\n".encode())
        head, rest = _head(stream)
        status = _status(head)
        if not 200 <= status < 300:
            raise _refusal(target, status, rest + _more(stream, _length(head) - len(rest)))
    except OSError as error:
        raise NoWayError(f"the proxy at {way.host}:{way.port}: {error.strerror or error}") from error
    stream.settimeout(None)
    return stream, rest


def _dial(way: Way) -> socket.socket:
    try:
        stream = socket.create_connection((way.host, way.port), _TIMEOUT)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return ssl.create_default_context().wrap_socket(stream, server_hostname=way.host) if way.secure else stream
    except OSError:  # some of TLS's are ValueErrors as well
        raise
    except ValueError as error:  # UnicodeError, of IDNA, is one
        raise NoWayError(f"{_VARIABLES[0]} names a proxy by what is no host's name") from error


def _head(stream: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = stream.recv(_PIECE)
        if not piece or len(data) > _MOST:
            raise NoWayError("the proxy gave no answer")
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def _status(head: bytes) -> int:
    version, _, rest = head.partition(b" ")
    code = rest[:3]
    if not version.startswith(b"HTTP/1.") or not code.isdigit():
        raise NoWayError("what answers is no HTTP proxy")
    return int(code)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and value.strip().isdigit():
            return min(int(value.strip()[:9]), _MOST)
    return 0


def _more(stream: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        piece = stream.recv(length - len(data))
        if not piece:
            break
        data += piece
    return data


def _refusal(target: str, status: int, body: bytes) -> NoWayError:
    """Return what the proxy said, in one sentence or two."""
    try:
        problem = json.loads(body)
        told = [f"{problem['title']} ({problem['reason']})", str(problem["detail"])]
        told += [f"To allow: {problem['suggestion']}"] if problem.get("suggestion") else []
    except (ValueError, LookupError, TypeError, AttributeError):
        return NoWayError(f"{target} was refused by the proxy with status {status}")
    text = ". ".join(each.rstrip(".") for each in told)
    return NoWayError(f"{target}: {''.join(c if c.isprintable() else ' ' for c in text)}", denied=status < 500)


def copy(stream: socket.socket, rest: bytes, read: Callable[[], bytes], write: Callable[[bytes], object]) -> None:
    """Carry bytes both ways until the host has said its last.

    Args:
        stream: the connection.
        rest: what the host has said already.
        read: returns the next bytes for the host, none at the end.
        write: takes bytes from the host.
    """
    threading.Thread(target=_send, args=(stream, read), daemon=True).start()
    try:
        data = rest or stream.recv(_PIECE)
        while data:
            write(data)
            data = stream.recv(_PIECE)
    except OSError:
        return


def _send(stream: socket.socket, read: Callable[[], bytes]) -> None:
    try:
        while piece := read():
            stream.sendall(piece)
        stream.shutdown(socket.SHUT_WR)
    except OSError:
        return


def _say(error: NoWayError) -> None:
    print(f"outward: {error}", file=sys.stderr)


def main(words: list[str], say: Callable[[NoWayError], None] = _say) -> int:
    """Connect standard input and output to HOST PORT; return the exit status: 0, 1 failed, 2 usage, 4 denied."""
    if len(words) != 2 or not words[1].isdecimal():
        print("usage: through.py HOST PORT", file=sys.stderr)
        return 2
    try:
        stream, rest = tunnel(way_of(os.environ), words[0].removeprefix("[").removesuffix("]"), int(words[1]))
    except NoWayError as error:
        say(error)
        return 4 if error.denied else 1
    copy(stream, rest, lambda: os.read(0, _PIECE), _out)
    return 0


def _out(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
