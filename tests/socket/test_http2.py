"""HTTP/2 in the inspect lane on the wire: each stream is judged, answered and recorded by itself; peers that break rules."""

import json
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import trustme

from harness.gates import LIMITS
from harness.grpc_world import NAME, GrpcWorld, grpc_world
from harness.http2_client import Http2Client, Http2Peer, Serving, asking, at, fields, hello, origin
from harness.policies import group, policy, rule
from harness.waiting import wait_for
from outward.core.model import LaneChoice, Verdict
from outward.core.paths import PathGlob
from outward.core.policy import Policy
from outward.core.reasons import Reason
from outward.http2.frames import goaway

OTHER = "other.test"


def allowing(*paths: str) -> Policy:
    globs = tuple(PathGlob(path) for path in paths) or None
    return policy(group(rule(NAME, paths=globs), lane=LaneChoice.INSPECT))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcWorld]:
    limits = replace(LIMITS, head_bytes=16_384)
    with grpc_world(allowing(), tmp_path_factory.mktemp("http2"), limits=limits) as found:
        yield found


@pytest.fixture
def world(running: GrpcWorld) -> Iterator[GrpcWorld]:
    before = running.world.judge.policy
    running.settle()
    yield running
    running.on(lambda: setattr(running.world.judge, "policy", before))


def denied(world: GrpcWorld, reason: Reason) -> str:
    """One denial was recorded, for this reason; return its id."""
    (event,) = wait_for(lambda: [each for each in world.world.events if each.verdict is Verdict.DENY])
    assert event.reason is reason, event.detail
    return event.id


def test_a_request_and_its_answer_pass_without_what_is_for_one_hop(world: GrpcWorld) -> None:
    with origin(world) as server, asking(world, server.port) as client:
        asked = at(
            server,
            "/a?b",
            ("te", "trailers"),
            ("proxy-authorization", "x"),
            ("outward-conversation", "c1"),
            ("x-c", "d"),
        )
        answer = client.answer(client.ask(asked))
        assert (answer.head, answer.body, answer.trailers) == ({":status": "200", "x-a": "b"}, b"hello", {"x-sum": "5"})
        (seen,) = server.connections[0].answers.values()
        assert seen.head == {
            ":method": "GET",
            ":scheme": "https",
            ":authority": f"{NAME}:{server.port}",
            ":path": "/a?b",
            "x-c": "d",
            "te": "trailers",
        }
    (event,) = world.world.events
    assert (event.path, event.status, event.bytes_down, event.conversation) == ("/a", 200, 5, "c1")


def test_a_stream_that_is_denied_leaves_the_others_alone(world: GrpcWorld) -> None:
    world.on(lambda: setattr(world.world.judge, "policy", allowing("/ok/**")))
    with origin(world) as server, asking(world, server.port) as client:
        answer = client.answer(client.ask(at(server, "/no")))
        assert server.accepts == 0
        refused = client.ask(at(server, "/no", ("content-length", "3"), method="POST"), b"abc")
        allowed = client.ask(at(server, "/ok/x"))
        assert client.answer(refused).status == "403"
        assert answer.status == "403"
        assert answer.head["content-type"] == "application/problem+json"
        assert "connection" not in answer.head
        problem = json.loads(answer.body)
        assert (problem["reason"], problem["host"]) == ("path_not_allowed", NAME)
        assert client.answer(allowed).body == b"hello"
        assert [seen.head[":path"] for seen in server.connections[0].answers.values()] == ["/ok/x"]
    assert [event.reason for event in world.world.events].count(Reason.PATH_NOT_ALLOWED) == 2
    assert world.world.events[0].id == answer.head["outward-decision"] == problem["decision_id"]


def test_each_stream_is_judged_by_the_policy_then_in_force(world: GrpcWorld) -> None:
    with origin(world) as server, asking(world, server.port) as client:
        assert client.answer(client.ask(at(server))).status == "200"
        world.on(lambda: setattr(world.world.judge, "policy", allowing("/ok/**")))
        assert client.answer(client.ask(at(server))).status == "403"
        world.on(lambda: setattr(world.world.judge, "policy", policy(group(rule(OTHER), lane=LaneChoice.INSPECT))))
        assert client.answer(client.ask(at(server, "/ok/x"))).status == "403"
    assert [event.reason for event in world.world.events] == [Reason.RULE, Reason.PATH_NOT_ALLOWED, Reason.NO_RULE]


@pytest.mark.parametrize("host", [OTHER, f"{NAME}:1", "u@" + NAME])
def test_another_authority_than_the_tunnels_is_refused(host: str, world: GrpcWorld) -> None:
    with origin(world) as server, asking(world, server.port) as client:
        assert client.answer(client.ask(fields(host=host))).status == ("400" if "@" in host else "403")
        assert server.accepts == 0
    denied(world, Reason.MALFORMED_HOST if "@" in host else Reason.HOST_MISMATCH)


def test_another_server_name_is_told_on_the_stream(world: GrpcWorld) -> None:
    with origin(world) as server, asking(world, server.port, OTHER) as client:
        assert client.answer(client.ask(at(server))).status == "403"
        assert server.accepts == 0
    denied(world, Reason.SNI_MISMATCH)


@pytest.mark.parametrize("bad", [("connection", "close"), ("X-A", "b"), ("a", "b\r\nc: d"), (":path", "/again")])
def test_a_malformed_head_is_refused_on_its_stream(bad: tuple[str, str], world: GrpcWorld) -> None:
    with origin(world) as server, asking(world, server.port) as client:
        answer = client.answer(client.ask(at(server, "/", bad)))
        assert answer.status == "400"
        assert client.answer(client.ask(at(server))).status == "200"
    denied(world, Reason.MALFORMED_REQUEST)


def test_a_head_that_is_a_little_too_long_is_told_so(world: GrpcWorld) -> None:
    with origin(world) as server, asking(world, server.port) as client:
        answer = client.answer(client.ask(at(server, "/", *(("x-a", "b" * 2_000) for _ in range(9)))))
        assert answer.status == "431"
    denied(world, Reason.TOO_LARGE)


def test_a_destination_without_http2_is_refused_in_words(world: GrpcWorld) -> None:
    with origin(world, alpn="http/1.1") as server, asking(world, server.port) as client:
        streams = [client.ask(at(server)), client.ask(at(server))]  # both wait for the same dial
        for stream in streams:
            answer = client.answer(stream)
            assert answer.status == "502"
            assert "does not speak HTTP/2" in json.loads(answer.body)["detail"]
    for event in world.world.events:
        assert event.reason is Reason.UPSTREAM_FAILED
        assert "it does not speak HTTP/2" in (event.detail or "")


def test_a_later_stream_does_not_wait_for_an_earlier_one(world: GrpcWorld) -> None:
    held: list[int] = []

    def respond(connection: Serving, stream: int) -> None:
        if connection.answers[stream].head[":path"] == "/slow":
            held.append(stream)
        else:
            hello(connection, stream)
            for each in held:
                hello(connection, each)

    with origin(world, respond) as server, asking(world, server.port) as client:
        slow = client.ask(at(server, "/slow"))
        wait_for(lambda: held)
        fast = client.answer(client.ask(at(server, "/fast")))
        assert fast.body == b"hello"
        assert client.answer(slow).body == b"hello"
        assert len(server.connections) == 1
    assert [event.path for event in world.world.events] == ["/fast", "/slow"]


def test_a_stream_that_the_destination_resets_is_told(world: GrpcWorld) -> None:
    def respond(connection: Serving, stream: int) -> None:
        if connection.answers[stream].head[":path"] == "/late":
            connection.h2.send_headers(stream, [(":status", "200")])
        connection.h2.reset_stream(stream, 11)
        connection.send()

    with origin(world, respond) as server, asking(world, server.port) as client:
        assert client.answer(client.ask(at(server))).status == "502"  # nothing had come: there is room for words
        assert client.answer(client.ask(at(server, "/late"))).reset == 11
        assert client.answer(client.ask(at(server, "/", ("content-type", "application/grpc")))).reset == 11
    assert all("ENHANCE_YOUR_CALM" in (event.detail or "") for event in world.world.events)


@pytest.mark.parametrize("begun", [True, False])
def test_half_an_answer_does_not_end_without_an_error(begun: bool, world: GrpcWorld) -> None:
    """Clients take a stream that ends with NO_ERROR for whole."""

    def respond(connection: Serving, stream: int) -> None:
        if begun:
            connection.h2.send_headers(stream, [(":status", "200")])
            connection.h2.send_data(stream, b"abc")
        connection.h2.reset_stream(stream, 0)
        connection.send()

    with origin(world, respond) as server, asking(world, server.port) as client:
        assert client.answer(client.ask(at(server, "/", ("content-type", "application/grpc")))).reset == 2


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("late", [True, False])
def test_a_malformed_answer_is_none(ended: bool, late: bool, world: GrpcWorld) -> None:
    """In its head, or behind its body: also where nothing follows."""

    def respond(connection: Serving, stream: int) -> None:
        bad = ("connection", "close")
        connection.h2.send_headers(
            stream, [(":status", "200"), *([] if late else [bad])], end_stream=ended and not late
        )
        if late:
            connection.h2.send_data(stream, b"hello")
            connection.h2.send_headers(stream, [bad], end_stream=True)
        connection.send()

    with origin(world, respond) as server, asking(world, server.port) as client:
        answer = client.answer(client.ask(at(server)))
        assert (answer.status, answer.reset) == (("200", 2) if late else ("502", None))
        (connection,) = server.connections
        wait_for(lambda: connection.answers[1].reset is not None or ended or late)
    (event,) = world.world.events
    assert "HTTP/2 does not allow" in (event.detail or "")


@pytest.mark.parametrize("length", ["9", "2"])
def test_a_body_of_another_length_than_was_said_is_no_answer(length: str, world: GrpcWorld) -> None:
    def respond(connection: Serving, stream: int) -> None:
        connection.h2.send_headers(stream, [(":status", "200"), ("content-length", length)])
        connection.h2.send_data(stream, b"hello")
        connection.h2.send_headers(stream, [("x-sum", "5")], end_stream=True)
        connection.send()

    with origin(world, respond) as server, asking(world, server.port) as client:
        answer = client.answer(client.ask(at(server)))
        assert answer.reset is not None or answer.status == "502"


def test_a_request_whose_body_is_shorter_than_was_said_goes_nowhere_as_a_whole(world: GrpcWorld) -> None:
    with origin(world, lambda _connection, _stream: None) as server, asking(world, server.port) as client:
        stream = client.ask(at(server, "/", ("content-length", "9"), method="POST"), b"abc", end=False)
        client.h2.send_headers(stream, [("x-sum", "5")], end_stream=True)
        client.send()
        assert client.answer(stream).status == "400"
        assert not any(seen.ended for each in server.connections for seen in each.answers.values())
    denied(world, Reason.MALFORMED_REQUEST)


def go_on(peer: Http2Peer, stream: int) -> None:
    """Give the first window back, and what comes from now on."""
    peer.takes = True
    peer.h2.acknowledge_received_data(65_535, stream)
    peer.send()


def test_a_client_that_gives_no_window_back_holds_the_destination(world: GrpcWorld) -> None:
    total = 2 << 20

    def respond(connection: Serving, stream: int) -> None:
        connection.h2.send_headers(stream, [(":status", "200")])
        push(connection, stream)

    left = [total]

    def push(connection: Serving, stream: int) -> None:
        while left[0] and (window := min(connection.h2.local_flow_control_window(stream), 16_384)):
            size = min(window, left[0])
            connection.h2.send_data(stream, bytes(size), end_stream=size == left[0])
            left[0] -= size
        connection.send()

    def on_window(connection: Serving) -> None:
        take = connection.take

        def taking(event: object) -> None:
            take(event)  # type: ignore[arg-type]
            if type(event).__name__ == "WindowUpdated" and connection.answers.get(1):
                push(connection, 1)

        connection.take = taking  # type: ignore[method-assign,assignment]

    def first(connection: Serving, stream: int) -> None:
        on_window(connection)
        respond(connection, stream)

    with origin(world, first) as server, asking(world, server.port) as client:
        client.takes = False
        stream = client.ask(at(server))
        client.until(lambda: len(client.answers[stream].body) == 65_535)  # all that its windows let through
        wait_for(
            lambda: world.on(lambda: [each for up in world.upstreams() for each in up.streams.values() if each._held])
        )
        assert total - left[0] < 1 << 20
        go_on(client, stream)
        assert len(client.answer(stream).body) == total


def test_a_destination_that_gives_no_window_back_holds_the_client(world: GrpcWorld) -> None:
    total, left = 2 << 20, [2 << 20]

    def respond(connection: Serving, _stream: int) -> None:
        connection.takes = False

    with origin(world, respond) as server, asking(world, server.port) as client:
        stream = client.ask(at(server, method="POST"), b"", end=False)

        def push() -> bool:
            while left[0] and (window := min(client.h2.local_flow_control_window(stream), 16_384, left[0])):
                client.h2.send_data(stream, bytes(window), end_stream=window == left[0])
                left[0] -= window
            client.send()
            return not left[0]

        def held() -> bool:
            return world.on(
                lambda: any(each._held - {"early"} for one in world.sessions() for each in one.serving.streams.values())
            )

        def stuck() -> bool:  # nothing may come any more
            client.take_what_came()
            return push() or held()

        wait_for(stuck)
        assert total - left[0] < 1 << 20
        seen = wait_for(lambda: server.connections and server.connections[0].answers.get(stream))
        wait_for(lambda: len(seen.body) == 65_535)
        world.on(lambda: go_on(server.connections[0], stream))
        client.until(push)
        wait_for(lambda: seen.ended)
        assert len(seen.body) == total


def test_what_the_destination_has_no_room_for_waits(world: GrpcWorld) -> None:
    held: list[int] = []

    def respond(connection: Serving, stream: int) -> None:
        connection.h2.update_settings({3: 1})  # MAX_CONCURRENT_STREAMS
        connection.send()
        held.append(stream)
        if stream > 1:
            hello(connection, stream)

    with origin(world, respond) as server, asking(world, server.port) as client:
        first = client.ask(at(server))
        wait_for(lambda: held and world.on(lambda: [each for each in world.upstreams() if not each.room]))
        others = [client.ask(at(server)) for _ in range(3)]
        wait_for(lambda: world.on(lambda: [each for each in world.sessions() if len(each.destinations._waiting) == 3]))
        world.on(lambda: hello(server.connections[0], first))
        for stream in (first, *others):
            assert client.answer(stream).body == b"hello"
        assert (held, server.accepts) == ([1, 3, 5, 7], 1)


def test_a_destination_that_goes_away_is_asked_again_elsewhere(world: GrpcWorld) -> None:
    """Its GOAWAY ends nothing that it has begun; what it has not is told to the client, and never sent twice."""

    def respond(connection: Serving, stream: int) -> None:
        path = connection.answers[stream].head[":path"]
        if path == "/leave":
            connection.send(goaway(stream, 0))
        if path == "/close":
            connection.transport.abort()
        else:
            hello(connection, stream)

    with origin(world, respond) as server, asking(world, server.port) as client:
        assert client.answer(client.ask(at(server, "/leave"))).body == b"hello"
        assert client.answer(client.ask(at(server, "/"))).body == b"hello"
        wait_for(lambda: server.accepts == 2)
        answer = client.answer(client.ask(at(server, "/close")))
        assert (answer.status, server.accepts) == ("502", 2)
        assert client.answer(client.ask(at(server, "/"))).body == b"hello"


def test_a_destination_that_is_not_who_it_should_be_sees_no_request(world: GrpcWorld) -> None:
    with origin(world, context=_of_a_stranger()) as stranger, asking(world, stranger.port) as client:
        assert client.answer(client.ask(at(stranger))).status == "502"
        assert not any(each.answers for each in stranger.connections)
    (event,) = world.world.events
    assert "certificate" in (event.detail or "")


def _of_a_stranger() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert(NAME).configure_cert(context)
    return context


def test_a_client_that_reads_nothing_holds_the_destination(world: GrpcWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its windows promise: what its socket does not take waits at the destination.

    Answers without a body, which no window holds, do not gather either: it asks no more.
    """
    monkeypatch.setattr("outward.proxy.inspection.http2.multiplex._BESIDE", 100)
    total, left = 64 << 20, [64 << 20]

    def push(connection: Serving, stream: int) -> None:
        while left[0] and (size := min(connection.h2.local_flow_control_window(stream), 16_384, left[0])):
            connection.h2.send_data(stream, bytes(size), end_stream=size == left[0])
            left[0] -= size
        connection.send()

    def respond(connection: Serving, stream: int) -> None:
        if connection.answers[stream].head[":path"] == "/short":
            connection.h2.send_headers(stream, [(":status", "204")], end_stream=True)
            connection.send()
            return
        connection.h2.send_headers(stream, [(":status", "200")])
        push(connection, stream)
        take = connection.take

        def taking(event: object) -> None:
            take(event)  # type: ignore[arg-type]
            if type(event).__name__ == "WindowUpdated":
                push(connection, stream)

        connection.take = taking  # type: ignore[method-assign]

    with origin(world, respond) as server, asking(world, server.port) as client:
        client.h2.increment_flow_control_window(1 << 30)
        stream = client.ask(at(server))
        client.h2.increment_flow_control_window(1 << 30, stream)
        client.send()
        wait_for(lambda: world.on(lambda: [each for each in world.sessions() if each.serving.http2.blocked]))
        assert left[0] > total // 2
        wait_for(
            lambda: world.on(lambda: [each for up in world.upstreams() for each in up.streams.values() if each._held])
        )
        asked: list[int] = []

        def deaf() -> bool:
            (serving,) = world.on(lambda: [each.serving for each in world.sessions()])
            if serving.http2.blocked and len(asked) == len(world.world.events):
                asked.append(client.ask(at(server, "/short")))
            return serving._deaf

        wait_for(deaf)


def test_a_destination_that_takes_nothing_gets_no_requests(world: GrpcWorld) -> None:
    """Each would cost it a head, and a cut if its client gives up."""
    with origin(world) as server, asking(world, server.port) as client:
        client.answer(client.ask(at(server)))
        world.on(lambda: [each.congested() for each in world.upstreams()])
        stream = client.ask(at(server))
        wait_for(lambda: world.on(lambda: [each for each in world.sessions() if each.destinations._waiting]))
        world.on(lambda: [each.relieved() for each in world.upstreams()])
        assert client.answer(stream).body == b"hello"


def test_a_client_that_goes_away_is_answered_first(world: GrpcWorld) -> None:
    held: list[tuple[Serving, int]] = []
    with origin(world, lambda *asked: held.append(asked)) as server, asking(world, server.port) as client:
        stream = client.ask(at(server))
        wait_for(lambda: held)
        client.send(goaway(0, 0))
        wait_for(lambda: world.on(lambda: [each for each in world.sessions() if each.serving._closing]))
        world.on(lambda: hello(*held[0]))
        assert client.answer(stream).body == b"hello"
        client.rest()
        assert client.closed


def test_a_judge_that_fails_denies_the_stream_and_leaves_the_others(
    world: GrpcWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    with origin(world) as server, asking(world, server.port) as client:
        with monkeypatch.context() as broken:
            broken.setattr(world.world.judge, "decide_request", lambda _question: 1 / 0)
            assert client.answer(client.ask(at(server))).status == "500"
            assert server.accepts == 0
        assert client.answer(client.ask(at(server))).status == "200"
    denied(world, Reason.INTERNAL_ERROR)


def test_bytes_that_are_not_http2_are_refused_and_recorded(world: GrpcWorld) -> None:
    with origin(world) as server, asking(world, server.port, begin=b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") as client:
        assert client.rest() == 1
    denied(world, Reason.MALFORMED_REQUEST)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


FLOODS = {
    "PING": frame(6, 0, 0, bytes(8)),
    "SETTINGS": frame(4, 0, 0),
    "RST_STREAM": frame(3, 0, 1, bytes(4)),
    "WINDOW_UPDATE": frame(8, 0, 0, b"\0\0\0\x01"),
    "PRIORITY": frame(2, 0, 3, bytes(5)),
    "empty DATA": frame(0, 0, 1),
    "padding": frame(0, 8, 1, b"\x01\0"),
    "unknown": frame(0x55, 0, 0, b"x"),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_of_frames_that_carry_nothing_ends_the_connection(flood: bytes, world: GrpcWorld) -> None:
    with origin(world, lambda _connection, _stream: None) as server, asking(world, server.port) as client:
        client.ask(at(server, method="POST"), None, end=False)
        client.send(flood * 1500)
        assert client.rest() in (11, None) or client.closed
    assert "carry nothing" in wait_for(lambda: [each for each in world.world.events if each.detail])[0].detail


@pytest.mark.parametrize(
    ("bad", "said"),
    [(FLOODS["PING"] * 1500, "carry nothing"), (frame(1, 4, 2, b"\x82\x84\x87\x41\x01a"), "only a push opens")],
)
def test_a_destination_that_floods_or_opens_streams_is_given_up(bad: bytes, said: str, world: GrpcWorld) -> None:
    def respond(connection: Serving, _stream: int) -> None:
        connection.send(bad)

    with origin(world, respond) as server, asking(world, server.port) as client:
        assert client.answer(client.ask(at(server))).status == "502"
        wait_for(lambda: server.connections[0].closed)
    (event,) = world.world.events
    assert said in (event.detail or "")


def test_a_flood_of_opened_and_reset_streams_ends_the_connection(
    world: GrpcWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outward.http2.frames._REFILL", 0)  # else a slow machine might let it pass, and rightly
    world.on(lambda: setattr(world.world.judge, "policy", allowing("/ok/**")))  # a refusal is the least work
    with origin(world, lambda _connection, _stream: None) as server, asking(world, server.port) as client:
        head = client.h2.encoder.encode(at(server))
        client.send(b"".join(frame(1, 5, each, head) + frame(3, 0, each, bytes(4)) for each in range(1, 1401, 2)))
        client.rest()
        assert client.closed
    assert any("carry nothing" in (each.detail or "") for each in world.world.events)


@pytest.mark.parametrize("short", [True, False])
def test_a_flood_of_requests_that_spoil_themselves_ends_the_connection(
    short: bool, world: GrpcWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a request that the destination sees, and sees taken back."""
    monkeypatch.setattr("outward.http2.frames._REFILL", 0)
    with origin(world, lambda _connection, _stream: None) as server, asking(world, server.port) as client:
        encode = client.h2.encoder.encode
        head = encode(at(server, "/", *([("content-length", "9")] if short else []), method="POST"))
        behind = encode([("x-sum", "5")]) if short else b""
        for each in range(1, 201, 2):
            client.send(frame(1, 4 if short else 5, each, head) + frame(0, 0, each, b"abc"))
            if short:
                client.send(frame(1, 5, each, behind))
        client.rest()
        assert client.closed
    assert any("carry nothing" in (each.detail or "") for each in world.world.events)


def test_a_head_without_end_ends_the_connection(world: GrpcWorld) -> None:
    with origin(world) as server, asking(world, server.port) as client:
        client.send(frame(1, 0, 1, b"\0") + frame(9, 0, 1, bytes(16_000)) * 3)
        client.rest()
    denied(world, Reason.TOO_LARGE)


def test_a_compressed_head_that_grows_too_much_ends_the_connection(world: GrpcWorld) -> None:
    with origin(world) as server, asking(world, server.port) as client:
        entry = (
            b"\x40\x01a" + b"\x7f\xa1\x1e" + b"b" * 4_000
        )  # a field that the table keeps, then a byte for each of it
        client.send(frame(1, 5, 1, entry + b"\xbe" * 12_000))
        client.rest()
    denied(world, Reason.TOO_LARGE)


def test_more_streams_than_there_may_be_are_refused_unread(world: GrpcWorld) -> None:
    with origin(world, lambda _connection, _stream: None) as server, asking(world, server.port) as client:
        head = client.h2.encoder.encode(at(server))
        client.sock.sendall(b"".join(frame(1, 5, each, head) for each in range(1, 211, 2)))
        client.h2.highest_outbound_stream_id = 209
        data = b""
        while data.count(frame(3, 0, 209, (7).to_bytes(4))) == 0:
            data += client.sock.recv(65_536)
        assert [
            int.from_bytes(data[i + 5 : i + 9]) for i in range(len(data)) if data[i : i + 5] == b"\0\0\x04\x03\0"
        ] == [201, 203, 205, 207, 209]
        wait_for(lambda: server.connections and len(server.connections[0].answers) == 100)


def test_a_drain_lets_what_is_under_way_end_and_takes_no_more(world: GrpcWorld) -> None:
    held: list[tuple[Serving, int]] = []
    with origin(world, lambda *at: held.append(at)) as server, asking(world, server.port) as client:
        stream = client.ask(at(server))
        wait_for(lambda: held)
        world.on(lambda: [each.finish() for each in world.world.engine._sessions])
        client.sock.sendall(frame(1, 5, 3, client.h2.encoder.encode(at(server))))
        client.h2.receive_data = _patient(client)  # type: ignore[method-assign]
        client.until(lambda: client.goaway is not None)
        assert client.goaway == 0
        world.on(lambda: hello(*held[0]))
        assert client.answer(stream).body == b"hello"
        client.rest()
        assert client.closed
    assert [event.status for event in world.world.events] == [200]


def _patient(client: Http2Client) -> Callable[[bytes], list[object]]:
    """The library reads nothing behind a GOAWAY: take it out."""
    receive = client.h2.receive_data

    def taking(data: bytes) -> list[object]:
        at = data.find(b"\0\0\x08\x07\0\0\0\0\0")
        if at >= 0:
            client.goaway = int.from_bytes(data[at + 13 : at + 17])
            data = data[:at] + data[at + 17 :]
        refused = data.find(frame(3, 0, 3, (7).to_bytes(4)))
        data = data if refused < 0 else data[:refused] + data[refused + 13 :]
        return receive(data)  # type: ignore[return-value]

    return taking
