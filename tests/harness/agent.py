"""An agent that tries to get out: reads attempts as JSON lines, answers each with what came of it.

A program of its own, standard library only, so that it can run as any user in any namespace: `agent.py [UID]` gives up
root for that user first. Every answer is a string; `none` starts those where nothing came back.
"""

import ctypes
import json
import os
import socket
import ssl
import subprocess
import sys
import urllib.parse

USUAL = 0.4  # seconds; the networks of the tests are local
PATIENCE = [USUAL]
_NO_NEW_PRIVS, _CLONE_NEWUSER, _CLONE_NEWNET = 38, 0x10000000, 0x40000000


def give_up_root(uid: int) -> None:
    """Become another user, for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    ctypes.CDLL(None).prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)


def tcp(host: str, port: int) -> str:
    """Connect directly."""
    with socket.create_connection((host, port), timeout=PATIENCE[0]) as sock:
        sock.sendall(b"hello")
        return f"got {sock.recv(100).decode()}"


def udp(host: str, port: int) -> str:
    """Send a datagram (for port 443, the first byte of a QUIC initial packet) and wait for an answer."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE[0])
        sock.connect((host, port))
        sock.send(b"\xc3" + bytes(1199))
        return f"got {len(sock.recv(2000))} bytes"


def ping(host: str, port: int) -> str:
    """Send an echo request, as an unprivileged ping does."""
    six = ":" in host
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
    with socket.socket(family, socket.SOCK_DGRAM, protocol) as sock:
        sock.settimeout(PATIENCE[0])
        sock.connect((host, 0))
        sock.send(bytes([128 if six else 8, 0, 0, 0, 0, 0, 0, 1]))
        return f"got {len(sock.recv(2000))} bytes"


def raw(host: str, port: int) -> str:
    """Send a packet of its own making."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        sock.sendto(bytes(28), (host, 0))
        return "sent"


def dns(host: str, port: int) -> str:
    """Ask a name server over UDP for an address."""
    query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07allowed\x04test\x00\x00\x01\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE[0])
        sock.connect((host, port))
        sock.send(query)
        return f"got {len(sock.recv(2000))} bytes"


def name(host: str, port: int) -> str:
    """Resolve a name with the C library."""
    return f"got {socket.getaddrinfo(host, port)[0][4][0]}"


def become(host: str, port: int) -> str:
    """Take the user id `port`, as `setpriv --reuid` does."""
    os.setresuid(port, port, port)
    return "became"


def flush(host: str, port: int) -> str:
    """Remove the firewall."""
    return _command("nft", "flush", "ruleset")


def namespace(host: str, port: int) -> str:
    """Dial out as root of a user and network namespace of one's own."""
    return _command(
        "unshare",
        "-Urn",
        sys.executable,
        "-c",
        f"import socket; socket.create_connection(({host!r}, {port}), {PATIENCE[0]})",
    )


def child(host: str, port: int) -> str:
    """Dial out from a process that was detached from this one."""
    return _command(
        "setsid",
        "-w",
        sys.executable,
        "-c",
        f"import socket; s = socket.create_connection(({host!r}, {port}), {PATIENCE[0]}); s.send(b'hello'); s.recv(9)[0]",
    )


def _command(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    return "got through" if done.returncode == 0 else f"none: {done.stderr.strip()}"


def bind(host: str, port: int) -> str:
    """Listen where the proxy did."""
    sock = socket.create_server((host, port))
    _KEPT.append(sock)
    return "bound"


def connect(host: str, port: int) -> str:
    """Ask the proxy for a tunnel to `host`, send through it, and return the status and what came back."""
    address = PROXY[0]
    with socket.create_connection(address, timeout=60) as sock:
        sock.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        head = sock.recv(4096).decode()
        status = " ".join(head.split(" ")[1:2])
        if status != "200":
            return f"{status} {head.partition('details=')[2].partition(chr(13))[0]}"
        sock.sendall(b"hello")
        return f"200 {sock.recv(100).decode()}"


def secure(host: str, port: int) -> str:
    """Speak TLS to `address/name` without a proxy, and return who signed for the name, and the answer's status and body."""
    address, _, name = host.partition("/")
    context = ssl.create_default_context()
    context.check_hostname = bool(name)
    sock = socket.create_connection((address, port), timeout=60)
    with sock, context.wrap_socket(sock, server_hostname=name or None) as inner:
        issuer = [value for each in inner.getpeercert()["issuer"] for _, value in each]
        return f"{issuer[0].partition(' CA')[0]}: {_fetched(inner, name, port)}"


def plain(host: str, port: int) -> str:
    """Speak HTTP to `address/name` without a proxy, and return the answer's status and body."""
    address, _, name = host.partition("/")
    with socket.create_connection((address, port), timeout=60) as sock:
        return _fetched(sock, name, port)


def say(host: str, port: int) -> str:
    """Send `address/hex digits` as they are, and return the digits of what comes back."""
    address, _, digits = host.partition("/")
    with socket.create_connection((address, port), timeout=60) as sock:
        sock.sendall(bytes.fromhex(digits))
        got = sock.recv(100)
        return f"got {got.hex()}" if got else "none: closed"


def _fetched(sock: socket.socket, name: str, port: int) -> str:
    sock.sendall(f"GET /page HTTP/1.1\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n".encode())
    reply = b"".join(iter(lambda: sock.recv(4096), b"")).decode()
    head, _, body = reply.partition("\r\n\r\n")
    details = head.partition("details=")[2].partition("\r")[0]
    return " ".join([*head.split(" ")[1:2], details or body])


def proxy(host: str, port: int) -> str:
    """Learn where the proxy is."""
    PROXY[:] = [(host, port)]
    return "known"


def patience(host: str, port: int) -> str:
    """Wait `port` seconds for an answer from now on, or the usual time: for attempts that have to succeed."""
    PATIENCE[:] = [port or USUAL]
    return "patient"


_KEPT: list[socket.socket] = []
PROXY: list[tuple[str, int]] = []
ACTS = {
    act.__name__: act
    for act in (
        *(tcp, udp, ping, raw, dns, name, become, flush, namespace, child, bind, connect, proxy, patience),
        *(secure, plain, say),
    )
}


def main() -> None:
    """Try what is asked until the input ends."""
    given = urllib.parse.urlsplit(os.environ.get("HTTPS_PROXY", ""))
    if given.hostname and given.port:
        proxy(given.hostname, given.port)
    if sys.argv[1:]:
        give_up_root(int(sys.argv[1]))
    for line in sys.stdin:
        act, host, port = json.loads(line)
        try:
            answer = ACTS[act](host, port)
        except OSError as error:
            answer = f"none: {error.strerror or error}"
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
