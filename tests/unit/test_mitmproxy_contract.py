"""What the inspect lane relies on of mitmproxy 12.2.3 beyond its public API: a new version must pass this before it is used.

Each test names one reliance and who has it. The engine's behaviour over real sockets is in tests/socket/test_inspect_*.
"""

import inspect
import subprocess
import sys
from collections import deque

import mitmproxy.version
import pytest
from mitmproxy import connection
from mitmproxy.proxy import commands, context, events, layer, tunnel
from mitmproxy.proxy.layers import http
from mitmproxy.proxy.layers.http import _base, _events
from mitmproxy.proxy.layers.tls import TLSLayer
from OpenSSL import SSL

from outward.proxy.inspection.guard import Wait
from outward.proxy.inspection.options import OPTIONS
from outward.proxy.inspection.strict import Inspect, forked


def test_the_version_is_the_one_that_was_read() -> None:
    assert mitmproxy.version.VERSION == "12.2.3"


def client() -> connection.Client:
    return connection.Client(peername=("192.0.2.1", 1), sockname=("192.0.2.2", 2), timestamp_start=0.0)


def a_context() -> context.Context:
    return context.Context(client(), OPTIONS)


def test_a_context_is_a_client_a_server_options_and_layers() -> None:
    """`strict.forked` copies it without its constructor."""
    original = a_context()
    assert vars(original).keys() == {"client", "server", "options", "layers"}
    original.layers.append(object())  # type: ignore[arg-type]
    copy, theirs = forked(original), original.fork()
    assert vars(copy) == vars(theirs)
    assert copy.layers is not original.layers


def test_a_layer_pauses_on_a_blocking_command_and_goes_on_with_its_reply() -> None:
    """`guard.guarded` waits so; what comes meanwhile is kept in order."""
    got: list[object] = []

    class Asking(layer.Layer):
        def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
            got.append(event)
            if isinstance(event, events.Start):
                got.append((yield Wait("test", deque())))  # type: ignore[arg-type]

    subject, other = Asking(a_context()), events.DataReceived(client(), b"x")
    (wait,) = subject.handle_event(events.Start())
    assert isinstance(wait, Wait)
    assert wait.blocking is subject
    assert list(subject.handle_event(other)) == []
    assert list(subject.handle_event(events.HookCompleted(wait, ("answer",)))) == []  # type: ignore[arg-type]
    assert got[1:] == [("answer",), other]


def test_what_is_not_carried_is_not_even_loaded() -> None:
    """`omitted` leaves it out: flaws of h2, hpack and the QUIC stack cannot be reached."""
    code = """
import sys
from outward.proxy.inspection.omitted import OMITTED, omitting
with omitting():
    import outward.proxy.inspection.session
loaded = [name for name in ("h2", "hpack", "aioquic", "wsproto", *OMITTED) if name in sys.modules]
from mitmproxy.proxy.layers import http
print(loaded, issubclass(http.Http2Server, http.HttpLayer))
try:
    http.Http2Server(None)
except RuntimeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[] False", "this part of mitmproxy is not loaded"]


def test_layers_read_no_option_that_is_not_set_to_its_safe_value() -> None:
    """`options.OPTIONS` stands in for mitmproxy's own."""
    for name in ("rawtcp", "http2", "http3", "websocket", "ssl_insecure", "proxy_debug"):
        assert getattr(OPTIONS, name) is False
    assert OPTIONS.connection_strategy == "lazy"
    assert OPTIONS.validate_inbound_headers is True
    with pytest.raises(AttributeError):
        _ = OPTIONS.mode


def test_http_layer_routes_by_these_attributes() -> None:
    """`strict.Inspect` overrides its routing and fills its tables."""
    subject = http.HttpLayer(a_context(), http.HTTPMode.regular)
    assert (subject.connections, subject.streams, subject.command_sources) == ({}, {}, {})
    assert subject.waiting_for_establishment["x"] == []  # type: ignore[index]
    for name in ("event_to_child", "make_stream", "get_connection", "register_connection", "_handle_event"):
        assert callable(getattr(http.HttpLayer, name))
        assert name == "register_connection" or name in vars(Inspect)
    assert list(inspect.signature(http.HttpLayer.get_connection).parameters) == ["self", "event", "reuse"]


def test_a_connection_is_asked_for_by_address_tls_and_via() -> None:
    """`stream.Stream` asks, `strict.Inspect` answers from what is open."""
    asked = http.GetHttpConnection(("a.test", 443), True, None)
    assert asked.blocking is True
    server = connection.Server(address=("a.test", 443))
    assert not asked.connection_spec_matches(server)
    server.tls = True
    assert asked.connection_spec_matches(server)
    assert http.GetHttpConnectionCompleted(asked, (server, None)).reply == (server, None)


def test_http_events_are_told_apart_by_stream() -> None:
    """The two HTTP/1 sides and the stream speak in these."""
    assert _events.RequestData(3, b"x").stream_id == 3
    assert _events.ResponseEndOfMessage(3).stream_id == 3
    error = _events.ResponseProtocolError(3, "why", _events.ErrorCode.GENERIC_SERVER_ERROR)
    assert isinstance(error, _base.HttpEvent)
    assert _base.ReceiveHttp(error).event is error
    assert http.SendHttp(error, client()).event is error
    assert _events.ErrorCode.CLIENT_DISCONNECTED is not _events.ErrorCode.KILL


def test_a_tunnel_queues_for_its_child_until_it_is_open() -> None:
    """`strict._Tls` adds a quicker way for the open state, and leaves the others to mitmproxy."""
    conn = client()
    conn.state = connection.ConnectionState.OPEN
    subject = tunnel.TunnelLayer(context.Context(conn, OPTIONS), conn, conn)
    subject.tunnel_state = tunnel.TunnelState.ESTABLISHING
    event = events.DataReceived(conn, b"x")
    assert list(subject.event_to_child(event)) == []
    assert subject._event_queue == [event]
    for name in ("start_handshake", "receive_handshake_data", "on_handshake_error", "send_close", "_handle_command"):
        assert callable(getattr(tunnel.TunnelLayer, name))


def test_the_tls_layer_works_on_a_memory_connection() -> None:
    """`strict._Tls` makes the connection itself and shakes hands itself; mitmproxy moves the records."""
    subject = TLSLayer(a_context(), client())
    assert subject.tls is None
    source = inspect.getsource(TLSLayer)
    for part in ("bio_read", "bio_write", "def tls_interact", "def receive_data", "def send_data"):
        assert part in source


def test_closing_commands_name_a_connection() -> None:
    """`signals` derives its own ways to close; `TunnelLayer` passes them on, `Session` tells them apart."""
    assert issubclass(commands.CloseConnection, commands.ConnectionCommand)
    assert commands.CloseConnection(client()).connection is not None


def test_openssl_verifies_a_host_that_is_set_on_the_connection() -> None:
    """`contexts.Contexts.connect` uses these, as pyOpenSSL has no public way."""
    for name in (
        "SSL_get0_param",
        "X509_VERIFY_PARAM_set_hostflags",
        "X509_VERIFY_PARAM_set1_host",
        "X509_VERIFY_PARAM_set1_ip",
        "X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS",
        "X509_CHECK_FLAG_NEVER_CHECK_SUBJECT",
    ):
        assert hasattr(SSL._lib, name)
    assert SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))._ssl is not None
