"""`jail: {localhost: […]}`: one port of this machine's localhost, through the proxy; what else is dialled there is told."""

import json
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.jails import needs_jail
from harness.process import OUTWARD, environment
from outward.cli.main import main

pytestmark = [
    needs_jail,
    pytest.mark.slow,
]

INSIDE = """
import errno, json, select, socket, sys
port, web, closed = map(int, sys.argv[1:])

def spoken(host):  # by a server that speaks first, as databases do
    with socket.create_connection((host, port), 10) as sock:
        first = sock.recv(100)
        sock.sendall(b"word")
        return (first + sock.recv(100)).decode()

def http(name):
    with socket.create_connection(("127.0.0.1", web), 10) as sock:
        sock.sendall(f"GET / HTTP/1.1\\r\\nHost: {name}:{web}\\r\\nConnection: close\\r\\n\\r\\n".encode())
        return sock.makefile().readline().split(" ")[1]

def later():  # as event loops connect
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", port))
        select.select([], [sock], [], 10)
        sock.settimeout(10)
        return sock.recv(100).decode()

def refused(host, at):
    try:
        socket.create_connection((host, at), 10).close()
    except OSError as error:
        return errno.errorcode[error.errno]

said = {"spoken": [spoken(host) for host in ("127.0.0.1", "localhost", "::1")], "later": later()}
said["http"] = [http(name) for name in ("127.0.0.1", "localhost", "other.test")]
with socket.create_server(("127.0.0.1", port)) as own, socket.create_connection(("127.0.0.1", port), 10) as mine:
    said["own"] = own.accept()[0].getpeername() == mine.getsockname()
said["again"] = spoken("127.0.0.1")
said["refused"] = [refused(*each) for each in (("127.0.0.1", closed), ("127.0.0.2", port), ("127.0.0.1", 443))]
said["six"] = refused("2001:db8::1", 443)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
    datagrams.sendto(b"x", ("192.0.2.1", 4433))
with socket.create_server(("127.0.0.1", 0)) as server:
    late = server.getsockname()
refused(*late)
with socket.create_server(late):
    said["late"] = refused(*late)
print(json.dumps(said))
"""


def served(answer: bytes, *, first: bytes = b"") -> socket.socket:
    """A service of this machine's, on its loopback alone, that may speak first, and answers one word."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                accepted, _ = server.accept()
            except OSError:
                return  # it is over
            with accepted:
                accepted.sendall(first)
                if accepted.recv(1000):
                    accepted.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def ports() -> Iterator[list[int]]:
    """The ports of a service that speaks first, of one that speaks HTTP, and of one that nobody opens to the jail."""
    servers = [
        served(b"world", first=b"hello "),
        served(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        served(b"closed"),
    ]
    yield [server.getsockname()[1] for server in servers]
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_one_port_of_this_machines_localhost_is_opened(tmp_path: Path, ports: list[int]) -> None:
    """It is reached by every name of localhost, judged and recorded; what the command listens on goes before."""
    spoken, web, closed = ports
    config = tmp_path / "outward.yaml"
    config.write_text(f"version: 1\ngroups: {{local: {{}}}}\njail: {{localhost: [{spoken}]}}\n")
    options = ["--config", config, "--localhost", str(web)]
    done = subprocess.run(
        [OUTWARD, "run", "--jail", *options, "--", sys.executable, "-c", INSIDE, *map(str, ports)],
        env=environment() | {"XDG_STATE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "spoken": ["hello world"] * 3,
        "later": "hello ",
        "http": ["200", "200", "403"],
        "own": True,
        "again": "hello world",
        "refused": ["ECONNREFUSED"] * 3,
        "six": "ENETUNREACH",
        "late": None,
    }
    first, *_ = lines = done.stderr.splitlines()
    opened = f"{spoken} ({config}:3), {web} (--localhost)"
    assert first == f"outward: the jail reaches this machine's localhost on port {opened}"
    told = "\n".join(lines)
    assert "1 connection that did not use the proxy was refused: `python" in told
    assert "to [2001:db8::1]:443" in told
    assert "outward: 1 datagram refused, as all but TCP is: 192.0.2.1:4433" in told
    missed = next(line for line in lines if "nobody in the jail listens there: " in line)
    assert f"to localhost:{closed}," in missed
    assert f"--localhost {closed}" in missed
    assert missed.count("to ") == 3  # not the one that came late
    assert "  other.test:" in told
    records = sqlite3.connect(f"{(tmp_path / 'outward/run/records.sqlite').as_uri()}?mode=ro", uri=True)
    try:
        rows = records.execute(
            "SELECT host, port, count(*) FROM events WHERE verdict = 'allow' GROUP BY 1, 2 ORDER BY 1, 2"
        )
        assert list(rows) == [("127.0.0.1", web, 1), *sorted([("localhost", spoken, 5), ("localhost", web, 1)])]
    finally:
        records.close()


def test_without_a_jail_there_is_nothing_to_open(tmp_path: Path) -> None:
    """All of localhost is open then; who asks for a port has meant something else."""
    found = CliRunner().invoke(main, ["run", "--localhost", "5432", "--", "true"])
    assert found.exit_code == 2
    assert "give --jail" in found.output
