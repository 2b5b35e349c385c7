"""TLS to the proxy: client certificates as identities, over the real process."""

import socket
import ssl
import time
from contextlib import suppress
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness.doorway import OPENED, SPIFFE, connect
from harness.pki import Ca, key_pem, write
from harness.process import Echo, Served
from harness.waiting import PATIENCE, wait_for
from harness.web import Web
from outward.proxy.listener_tls import certificate_names

HANDSHAKE = 4  # seconds


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """A CA for the proxy's own certificate and one for its clients."""
    folder = tmp_path_factory.mktemp("pki")
    server, clients, strangers = trustme.CA(), trustme.CA(), trustme.CA()
    issued = server.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "proxy.key")
    issued.cert_chain_pems[0].write_to_path(folder / "proxy.pem")
    clients.cert_pem.write_to_path(folder / "clients.pem")
    return folder, server, clients, strangers


@pytest.fixture
def echo():
    origin = Echo()
    yield origin
    origin.close()


@pytest.fixture
def served(tmp_path: Path, pki, echo):
    folder, *_ = pki
    config = tmp_path / "outward.yaml"
    config.write_text(
        "version: 1\n"
        f"server:\n  listen: 127.0.0.1:0\n  ops: 127.0.0.1:0\n  state: '{tmp_path}/state'\n"
        f"  tls: {{cert: '{folder}/proxy.pem', key: '{folder}/proxy.key', client_ca: '{folder}/clients.pem'}}\n"
        f"  limits: {{handshake_timeout: {HANDSHAKE}, connections_per_client: 20}}\n"
        "upstream:\n  internal: [127.0.0.1/32]\n  dns: {hosts: {origin.test: [127.0.0.1]}}\n"
        f"groups:\n  bots:\n    allow: [{{host: origin.test, ports: [{echo.port}], tls: false}}]\n"
        f"clients:\n  - {{group: bots, certificate: '{SPIFFE}'}}\n  - {{group: bots, certificate: bot.example}}\n"
    )
    running = Served(config)
    yield running
    running.end()


def test_a_known_certificate_is_its_group(served, pki, echo):
    """And the tunnel carries what it should, there and back, inside the TLS to the proxy."""
    sock, answer = connect(served, pki, echo.port, issuer=pki[2], identity="bot.example")
    assert answer.startswith(OPENED)
    sock.sendall(b"hello")
    assert sock.recv(5) == b"hello"
    sock.close()
    wait_for(lambda: served.events)
    assert served.events[0]["group"] == "bots"


def test_no_certificate_or_an_unknown_name_is_an_unknown_client(served, pki, echo):
    """A certificate of the right CA is not enough."""
    for options in ({}, {"issuer": pki[2], "identity": "other.example"}):
        sock, answer = connect(served, pki, echo.port, **options)
        assert answer.startswith(b"HTTP/1.1 403")
        assert b"unknown_client" in answer
        sock.close()


def test_every_request_of_a_connection_is_judged_by_the_certificate(served, pki, echo):
    """The second one on a kept-alive connection too, which the inspect lane identifies by itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    pki[1].configure_trust(context)
    pki[2].issue_cert("bot.example").configure_cert(context)
    request = f"HEAD http://origin.test:{echo.port}/ HTTP/1.1\r\nHost: origin.test:{echo.port}\r\n\r\n".encode()
    echo.reply = b"HTTP/1.1 204 No Content\r\n\r\n"
    with context.wrap_socket(
        socket.create_connection(served.proxy, timeout=PATIENCE), server_hostname="127.0.0.1"
    ) as sock:
        for _ in range(2):
            sock.sendall(request)
            assert sock.recv(4096).startswith(b"HTTP/1.1 204")
    wait_for(lambda: len(served.events) == 2)
    assert [event["group"] for event in served.events] == ["bots", "bots"]


def test_a_certificate_of_another_ca_ends_the_handshake(served, pki, echo):
    """Nothing is read from such a client, and nothing said to it."""
    answer = b""
    with suppress(ssl.SSLError, ConnectionError):
        _, answer = connect(served, pki, echo.port, issuer=pki[3], identity="bot.example")
    assert answer == b""


def test_plain_http_is_not_answered(served):
    """A client that forgot TLS gets no decision."""
    answer = b""
    with socket.create_connection(served.proxy, timeout=PATIENCE) as sock:
        sock.sendall(b"CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n")
        with suppress(ConnectionError):
            answer = sock.recv(4096)
    assert not answer.startswith(b"HTTP/")
    assert served.events == []


def inner(outer, trusted, request):
    """Speak TLS to the origin through TLS to the proxy, and return the answer."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context(cafile=trusted).wrap_bio(incoming, outgoing, server_hostname="origin.test")

    def pump(step):
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                outer.sendall(outgoing.read())
                incoming.write(outer.recv(65536))

    pump(tls.do_handshake)
    tls.write(request)
    return pump(lambda: tls.read(65536))


@pytest.mark.parametrize(("uri", "status"), [(SPIFFE, b"200"), ("spiffe://example.org/ns/agents/sa/other", None)])
def test_a_spiffe_identity_is_its_group_in_the_inspect_lane(tmp_path, pki, uri, status):
    """The requests inside the inspected TLS, which runs inside the TLS to the proxy, are its client's."""
    folder, *_ = pki
    agents = Ca("agents")
    write(tmp_path / "agents.pem", agents.pem)
    web = Web(tmp_path)
    (web.root / "x").touch()
    config = tmp_path / "outward.yaml"
    config.write_text(
        "version: 1\n"
        f"server:\n  listen: 127.0.0.1:0\n  ops: 127.0.0.1:0\n  state: '{tmp_path}/state'\n"
        f"  tls: {{cert: '{folder}/proxy.pem', key: '{folder}/proxy.key', client_ca: '{tmp_path}/agents.pem'}}\n"
        f"upstream:\n  trust: ['{web.ca}']\n  internal: [127.0.0.1/32]\n"
        "  dns: {hosts: {origin.test: [127.0.0.1]}}\n"
        f"groups:\n  bots:\n    lane: inspect\n    allow: [{{host: origin.test, ports: [{web.port}]}}]\n"
        f"clients:\n  - {{group: bots, certificate: '{SPIFFE}'}}\n"
    )
    served = Served(config)
    try:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        certificate = agents.sign(x509.Name([]), key, name).public_bytes(serialization.Encoding.PEM)
        chain = write(tmp_path / "agent.pem", key_pem(key), certificate)
        sock, answer = connect(served, pki, web.port, chain=chain)
        if status is None:
            assert b"unknown_client" in answer
        else:
            request = f"GET /x HTTP/1.1\r\nHost: origin.test:{web.port}\r\nConnection: close\r\n\r\n".encode()
            assert inner(sock, tmp_path / "state" / "ca.pem", request).startswith(b"HTTP/1.1 " + status)
            wait_for(lambda: served.events)
            (event,) = served.events
            assert (event["group"], event["lane"], event["path"]) == ("bots", "inspect", "/x")
        sock.close()
    finally:
        served.end()
        web.close()


def test_handshakes_that_nobody_finishes_make_room_and_are_cut(served, pki, echo):
    """They hold no more places than other connections do, none of them longer than the timeout, and lock nobody out."""
    began = time.monotonic()
    silent = [socket.create_connection(served.proxy, timeout=PATIENCE) for _ in range(20)]
    sock, answer = connect(served, pki, echo.port, issuer=pki[2], identity="bot.example")
    assert answer.startswith(OPENED)
    sock.close()
    with suppress(ConnectionError):
        assert silent[0].recv(1) == b""  # the oldest has made room at once
    silent[1].setblocking(False)
    with suppress(BlockingIOError):  # while the next one may still go on
        with suppress(ConnectionError):
            silent[1].recv(1)
        assert time.monotonic() - began >= HANDSHAKE
    silent[1].settimeout(PATIENCE)
    for sock in silent[1:]:
        with suppress(ConnectionError):
            assert sock.recv(1) == b""
        sock.close()
    silent[0].close()


def test_names_are_uris_and_dns_names_and_never_the_common_name():
    """SPIFFE identities come first."""
    certificate = {
        "subject": ((("commonName", "bot.example"),),),
        "subjectAltName": (("DNS", "a.example"), ("IP Address", "192.0.2.1"), ("email", "x@y"), ("URI", SPIFFE)),
    }
    assert certificate_names(certificate) == (SPIFFE, "a.example")
    assert certificate_names({"subject": certificate["subject"]}) == ()
    assert certificate_names(None) == ()
