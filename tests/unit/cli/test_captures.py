"""What a jail leads to the proxy, seen from the proxy."""

import json
import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from outward.cli.captures import Captures


@pytest.fixture
def ends() -> Iterator[tuple[Captures, socket.socket]]:
    """The proxy's end, and the jail's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    captures = Captures(ours, [])
    yield captures, theirs
    captures.close()
    theirs.close()


def tell(jail: socket.socket, **message: object) -> None:
    jail.send(json.dumps(message).encode())


def test_a_name_is_known_as_soon_as_it_was_said(ends: tuple[Captures, socket.socket]):
    captures, jail = ends
    tell(jail, name="a.test", address="198.18.0.1")
    assert captures.name_of(ip_address("198.18.0.1"), 443) == "a.test"
    assert captures.name_of(ip_address("198.18.0.2"), 443) is None


def test_who_went_round_is_summed_up_where_it_came_to_nothing(ends: tuple[Captures, socket.socket]):
    captures, jail = ends
    tell(jail, name="a.test", address="198.18.0.1")
    for _ in range(2):
        tell(jail, program="got", address="198.18.0.1", port=443, led=True)
    tell(jail, program="n\x1b[31mc", address="10.0.0.1", port=25, led=False)
    captures.read()
    refused = "outward: 1 connection that did not use the proxy was refused: `n\\u001b[31mc` to 10.0.0.1:25"
    assert list(captures.told([])) == [refused]
    led = "outward: 2 connections that did not use the proxy were led to it: `got` to a.test:443 (2x)"
    assert list(captures.told([("a.test", 443)])) == [led, refused]
    assert captures.as_json()["past_the_proxy"][0] == {
        "program": "got",
        "host": "a.test",
        "port": 443,
        "count": 2,
        "led": True,
    }


def test_listeners_that_come_later_are_adopted(ends: tuple[Captures, socket.socket]):
    captures, jail = ends
    with socket.create_server(("127.0.0.1", 0)) as server:
        message = json.dumps({"program": "x", "address": "10.0.0.1", "port": 8443, "led": True}).encode()
        socket.send_fds(jail, [message], [server.fileno()])
        captures.read()
        assert [each.getsockname() for each in captures.listeners] == [server.getsockname()]


def test_the_end_of_the_jail_is_no_error(ends: tuple[Captures, socket.socket]):
    captures, jail = ends
    jail.close()
    captures.read()
    assert not any(captures.as_json().values())


def test_what_was_refused_or_found_nobody_is_told_with_what_helps(ends: tuple[Captures, socket.socket]):
    captures, jail = ends
    tell(jail, name="a.test", address="198.18.0.1")
    for count in (1, 3):
        tell(jail, address="198.18.0.1", port=443, datagrams=count)
    for address, port in (("127.0.0.1", 6379), ("::1", 6379), ("127.0.0.1", 3000), ("127.0.0.9", 1)):
        tell(jail, program="psql", address=address, port=port, missed=True)
    tell(jail, address="127.0.0.1", port=3000, found=True)
    captures.read()
    datagrams, missed = captures.told([])
    assert datagrams == "outward: 3 datagrams refused, as all but TCP is: a.test:443 (3x)"
    assert "nobody in the jail listens there: `psql` to localhost:6379 (2x), `psql` to 127.0.0.9:1. For a" in missed
    assert missed.endswith("--localhost 6379, or in your own configuration `jail: {localhost: [6379]}`")


def test_localhost_is_meant_at_the_ports_that_are_opened_alone():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    captures = Captures(ours, [], [5432])
    try:
        assert (
            captures.name_of(ip_address("127.0.0.1"), 5432) == captures.name_of(ip_address("::1"), 5432) == "localhost"
        )
        assert captures.name_of(ip_address("127.0.0.1"), 5433) is None
    finally:
        captures.close()
        theirs.close()
