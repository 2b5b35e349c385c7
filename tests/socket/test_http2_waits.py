"""What waits on a connection of HTTP/2: requests for room, bodies for windows, frames for their rest."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import pytest

from harness.grpc_world import NAME, GrpcWorld, grpc_world
from harness.http2_client import Answer, Http2Client, Http2Peer, Serving, asking, at, hello, origin
from harness.policies import LOOPBACK, group, pattern, policy, rule
from harness.waiting import PATIENCE, wait_for
from outward.config.settings import SecretEntry
from outward.core.model import LaneChoice, Stage, Verdict
from outward.core.paths import PathGlob
from outward.core.policy import Policy
from outward.core.reasons import Reason
from outward.core.secrets import Injection
from outward.http2.frames import goaway
from outward.proxy.answer import Linger
from outward.proxy.deadlines import Deadlines
from outward.proxy.inspection import greeting
from outward.proxy.inspection.budget import Places

VALUE = "ghp_0123456789abcdef"
SECRET = SecretEntry("github", "SECRET", None, (pattern(NAME),))


def allowing(host: str = NAME) -> Policy:
    return policy(group(rule(host), lane=LaneChoice.INSPECT))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcWorld]:
    with grpc_world(allowing(), tmp_path_factory.mktemp("http2")) as found:
        yield found


@pytest.fixture
def world(running: GrpcWorld) -> Iterator[GrpcWorld]:
    before = running.world.judge.policy
    running.settle()
    yield running
    running.on(lambda: setattr(running.world.judge, "policy", before))


@pytest.fixture
def keeping(world: GrpcWorld) -> Iterator[GrpcWorld]:
    """A policy that sets a secret on each request."""
    judge = world.world.judge
    sets = replace(rule(NAME), inject=Injection("authorization", "Bearer {github}"))
    found = policy(group(sets, lane=LaneChoice.INSPECT), secrets=frozenset({"github"}))
    world.on(lambda: (judge.secrets.use([SECRET], {"SECRET": VALUE}), setattr(judge, "policy", found)))
    yield world
    world.on(lambda: judge.secrets.use([]))


def burst(client: Http2Client, heads: Iterable[list[tuple[str, str]]], rest: bytes = b"") -> list[int]:
    """Send requests at once, and the beginning of another; return their streams."""
    streams = []
    for head in heads:
        streams.append(client.h2.get_next_available_stream_id())
        client.answers[streams[-1]] = Answer()
        client.h2.send_headers(streams[-1], head, end_stream=True)
    client.send(rest)
    return streams


def head_alarms(world: GrpcWorld) -> list[bool]:
    """For each client's connection: whether it is held to finish what it has begun."""
    return world.on(lambda: [each._head in list(each.engine.waits.heads) for each in world.sessions()])


@pytest.mark.parametrize(("rest", "owed"), [(b"", False), (b"\0\0", True)])
def test_a_client_owes_the_rest_of_a_frame_and_not_what_waits_for_our_turn(
    rest: bytes, owed: bool, world: GrpcWorld
) -> None:
    held: list[int] = []
    with origin(world, lambda _connection, stream: held.append(stream)) as server, asking(world, server.port) as client:
        burst(client, [at(server)] * 40, rest)
        wait_for(lambda: len(held) == 40)
        assert head_alarms(world) == [owed]


def test_a_client_that_is_refused_is_held_to_nothing_more(world: GrpcWorld) -> None:
    with origin(world) as server, asking(world, server.port) as client:
        client.send((1 << 20).to_bytes(3) + b"\x01" + bytes(5))  # begins a frame that is too long
        wait_for(lambda: world.world.events)
        assert head_alarms(world) == [False]


@pytest.mark.parametrize(("most", "of_one"), [(2, 9), (9, 2)])
def test_streams_of_all_connections_are_bounded_in_all_and_for_a_client(
    most: int, of_one: int, world: GrpcWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As connections are: what each may hold in memory is no more than what one of HTTP/1.1 may."""
    monkeypatch.setattr(world.world.engine, "streams", Places(most, of_one))
    held: list[tuple[Serving, int]] = []
    with (
        origin(world, lambda *asked: held.append(asked)) as server,
        asking(world, server.port) as one,
        asking(world, server.port) as other,
    ):
        first = one.ask(at(server))
        wait_for(lambda: len(held) == 1)
        other.ask(at(server))
        wait_for(lambda: len(held) == 2)
        assert other.answer(other.ask(at(server))).status == "503"
        (event,) = world.world.events
        assert (event.reason, event.verdict) == (Reason.OVERLOADED, Verdict.DENY)
        world.on(lambda: hello(*held[0]))
        one.answer(first)
        one.ask(at(server))
        wait_for(lambda: len(held) == 3)
    wait_for(lambda: world.on(lambda: world.world.engine.streams.taken) == 0)


def leaves(connection: Serving, stream: int) -> None:
    connection.send(goaway(stream, 0))
    hello(connection, stream)


def goes(connection: Serving, _stream: int) -> None:
    assert connection.transport is not None
    connection.transport.abort()


def takes_more(connection: Serving, _stream: int) -> None:
    connection.h2.update_settings({3: 5})
    connection.send()


@pytest.fixture
def crowded(world: GrpcWorld) -> Iterator[tuple[Http2Client, int, Callable[[], tuple[Serving, int]]]]:
    """A request that waits for the room of another one: the client, its stream, and what answers the other."""
    held: list[tuple[Serving, int]] = []

    def respond(connection: Serving, stream: int) -> None:
        if held:
            hello(connection, stream)
        else:
            connection.h2.update_settings({3: 1})  # MAX_CONCURRENT_STREAMS
            connection.send()
        held.append((connection, stream))

    with origin(world, respond) as server, asking(world, server.port) as client:
        client.ask(at(server))
        wait_for(lambda: held and world.on(lambda: [each for each in world.upstreams() if not each.room]))
        second = client.ask(at(server))
        wait_for(lambda: world.on(lambda: any(each.destinations._waiting for each in world.sessions())))
        yield client, second, lambda: held[0]


def test_what_was_refused_while_it_waited_stays_so(
    crowded: tuple[Http2Client, int, Callable[..., tuple[Serving, int]]], world: GrpcWorld
) -> None:
    """No other policy makes an allowed request of it: it has been answered, or is about to be."""

    def change() -> Reason | None:
        (session,) = (each for each in world.sessions() if each.destinations._waiting)
        exchange = session.destinations._waiting[0].exchange
        exchange.refuse(Reason.TIMEOUT, Stage.RESPONSE)
        world.world.judge.policy = allowing()
        session.destinations.freed()
        reason: Reason | None = exchange.event.reason
        return reason

    assert world.on(change) is Reason.TIMEOUT


@pytest.mark.parametrize("act", [goes, leaves, takes_more])
def test_what_waits_for_room_goes_on_when_there_is_some(
    act: Callable[[Serving, int], None],
    crowded: tuple[Http2Client, int, Callable[..., tuple[Serving, int]]],
    world: GrpcWorld,
) -> None:
    client, second, first = crowded
    world.on(lambda: act(*first()))
    assert client.answer(second).body == b"hello"


@pytest.mark.parametrize(
    ("found", "reason"),
    [(allowing("other.test"), Reason.NO_RULE), (replace(allowing(), clients=()), Reason.UNKNOWN_CLIENT)],
)
def test_what_waited_for_room_is_not_sent_if_the_policy_denies_it_by_then(
    found: Policy,
    reason: Reason,
    crowded: tuple[Http2Client, int, Callable[..., tuple[Serving, int]]],
    world: GrpcWorld,
) -> None:
    client, second, first = crowded
    world.on(lambda: setattr(world.world.judge, "policy", replace(found, generation="after")))
    world.on(lambda: hello(*first()))
    assert client.answer(second).status == "403"
    assert len(first()[0].answers) == 1
    (event,) = [each for each in world.world.events if each.reason is reason]
    assert event.generation == "after"


def test_what_waited_for_room_goes_another_way_if_its_client_is_of_another_group_by_then(
    crowded: tuple[Http2Client, int, Callable[..., tuple[Serving, int]]], world: GrpcWorld
) -> None:
    client, second, first = crowded
    moved = policy(group(rule(NAME), path="other", lane=LaneChoice.INSPECT))
    world.on(lambda: setattr(world.world.judge, "policy", moved))
    world.on(lambda: hello(*first()))
    assert client.answer(second).body == b"hello"
    assert len(first()[0].answers) == 1  # a connection serves one group
    assert "other" in [event.group for event in world.world.events]


def rotate(world: GrpcWorld) -> None:
    world.world.judge.secrets.use([SECRET], {"SECRET": "ghp_new_56789abcdef"})


def set_none(world: GrpcWorld) -> None:
    world.world.judge.secrets.use([])
    world.world.judge.policy = allowing()


@pytest.mark.parametrize(("change", "given"), [(rotate, "Bearer ghp_new_56789abcdef"), (set_none, None)])
def test_what_waited_for_room_carries_the_secrets_that_are_in_force_by_then(
    change: Callable[[GrpcWorld], None],
    given: str | None,
    keeping: GrpcWorld,
    crowded: tuple[Http2Client, int, Callable[..., tuple[Serving, int]]],
) -> None:
    client, second, first = crowded
    keeping.on(lambda: change(keeping))
    keeping.on(lambda: hello(*first()))
    assert client.answer(second).body == b"hello"
    assert [seen.head.get("authorization") for seen in first()[0].answers.values()] == [f"Bearer {VALUE}", given]


def test_what_waited_for_room_is_not_sent_if_a_search_in_it_would_be_judged_by_then(
    crowded: tuple[Http2Client, int, Callable[..., tuple[Serving, int]]], world: GrpcWorld
) -> None:
    client, second, first = crowded
    world.on(lambda: setattr(world.world.judge, "policy", replace(allowing(), vendor_of=lambda _host: "openai")))
    world.on(lambda: hello(*first()))
    assert client.answer(second).status == "403"
    assert len(first()[0].answers) == 1
    assert Reason.WEB_SEARCH_UNINSPECTABLE in [event.reason for event in world.world.events]


def test_a_request_that_is_answered_before_its_rest_could_be_sent_leaves_the_destination(world: GrpcWorld) -> None:
    """Else its stream would count there for as long as the connection stands, until there is room for none."""
    held: list[tuple[Serving, int]] = []

    def respond(connection: Serving, stream: int) -> None:
        connection.takes = False
        held.append((connection, stream))

    def answer() -> None:
        connection, stream = held[0]
        connection.h2.send_headers(stream, [(":status", "413")], end_stream=True)
        connection.send()

    with origin(world, respond) as server, asking(world, server.port) as client:
        small = client.ask(at(server, method="POST"), bytes(10_000))  # of the connection's window
        wait_for(lambda: held and held[0][0].answers[small].ended)
        world.on(answer)
        assert client.answer(small).status == "413"
        held.clear()
        stream = client.ask(at(server, method="POST"), b"", end=False)
        for left in (45_000, 30_000, 15_000, 0):
            client.h2.send_data(stream, bytes(15_000), end_stream=not left)
        client.send()
        wait_for(lambda: held)
        wait_for(
            lambda: world.on(lambda: [one for up in world.upstreams() for one in up.streams.values() if one._sent])
        )
        world.on(answer)
        assert client.answer(stream).status == "413"
        wait_for(lambda: held[0][0].answers[stream].reset is not None)


@pytest.mark.parametrize("order", [("/open/x", "/shut/x"), ("/shut/x", "/open/x")])
def test_who_waits_for_a_dial_is_not_refused_for_the_rule_of_another(order: tuple[str, str], world: GrpcWorld) -> None:
    shut, opens = (PathGlob("/shut/**"),), (PathGlob("/open/**"),)
    rules = rule(NAME, paths=shut), rule(NAME, paths=opens, addresses=(LOOPBACK,))
    found = replace(policy(group(*rules, lane=LaneChoice.INSPECT)), internal=())
    world.on(lambda: setattr(world.world.judge, "policy", found))
    with origin(world) as server, asking(world, server.port) as client:
        streams = burst(client, [at(server, path) for path in order])
        got = {path: client.answer(stream).status for path, stream in zip(order, streams, strict=True)}
    assert got == {"/open/x": "200", "/shut/x": "403"}


def beside(connection: Serving, stream: int, head: list[tuple[str, str]], body: bytes) -> None:
    """Answer a request; the first one waits for `/go`."""
    if connection.answers[stream].head[":path"] == "/go":
        hello(connection, 1)
    elif stream > 1:
        connection.h2.send_headers(stream, head)
        connection.h2.send_data(stream, body, end_stream=True)
    connection.send()


@pytest.mark.parametrize(
    ("method", "status", "length"), [("GET", "304", "55"), ("HEAD", "200", "55"), ("GET", "204", "0")]
)
def test_an_answer_without_a_body_may_end_with_an_empty_piece(
    method: str, status: str, length: str, world: GrpcWorld
) -> None:
    """Its Content-Length is that of another answer (RFC 9110 8.6)."""
    head = [(":status", status), ("content-length", length)]
    with (
        origin(world, lambda *asked: beside(*asked, head, b"")) as server,
        asking(world, server.port) as client,
    ):
        first, stream = client.ask(at(server)), client.ask(at(server, "/x", method=method))
        client.h2.streams[stream]._initialize_content_length = lambda _headers: None  # the library minds
        answer = client.answer(stream)
        assert (answer.status, answer.reset, answer.ended) == (status, None, True)
        client.ask(at(server, "/go"))
        assert client.answer(first).body == b"hello"
        assert server.accepts == 1


@pytest.mark.parametrize("length", ["4", "2", "x"])
def test_a_wrong_length_of_an_answer_ends_no_other_stream(length: str, world: GrpcWorld) -> None:
    head = [(":status", "200"), ("content-length", length)]
    with (
        origin(world, lambda *asked: beside(*asked, head, b"abc")) as server,
        asking(world, server.port) as client,
    ):
        first, stream = client.ask(at(server)), client.ask(at(server, "/x"))
        answer = client.answer(stream)
        assert answer.status == "502" or answer.reset == 2
        client.ask(at(server, "/go"))
        assert client.answer(first).body == b"hello"
        assert server.accepts == 1


@pytest.mark.parametrize("length", ["4", "2"])
def test_a_wrong_length_of_a_request_ends_no_other_stream(length: str, world: GrpcWorld) -> None:
    """What is more than was said goes nowhere: somebody might take it for another request."""

    def respond(connection: Serving, stream: int) -> None:
        if connection.answers[stream].head[":path"] == "/go":
            hello(connection, 1)

    with origin(world, respond) as server, asking(world, server.port) as client:
        first = client.ask(at(server))
        wait_for(lambda: server.connections and server.connections[0].answers)
        stream = client.ask(at(server, "/x", ("content-length", length), method="POST"), b"", end=False)
        wait_for(lambda: server.connections[0].answers.get(stream))
        client.h2.send_data(stream, b"abc", end_stream=True)
        client.send()
        assert client.answer(stream).status == "400"
        seen = server.connections[0].answers[stream]
        wait_for(lambda: seen.reset is not None)
        assert len(seen.body) <= int(length)
        client.ask(at(server, "/go"))
        assert client.answer(first).body == b"hello"


def push(peer: Http2Peer, streams: Iterable[int]) -> None:
    """Send on each stream what its window lets through."""
    for stream in streams:
        while window := min(peer.h2.local_flow_control_window(stream), 16_384):
            peer.h2.send_data(stream, bytes(window))
    peer.send()


MANY = 8  # streams that nobody reads


def test_answers_that_a_client_does_not_read_stop_no_other(world: GrpcWorld) -> None:
    def respond(connection: Serving, stream: int) -> None:
        if connection.answers[stream].head[":path"] == "/small":
            hello(connection, stream)
        else:
            connection.h2.send_headers(stream, [(":status", "200")])
            connection.send()

    def stuck() -> bool:
        (connection,) = server.connections
        push(connection, streams)
        held = [each for up in world.upstreams() for each in up.streams.values() if each._held]
        return len(held) == MANY

    with origin(world, respond) as server, asking(world, server.port) as client:
        client.takes = False
        client.h2.increment_flow_control_window(1 << 30)
        streams = [client.ask(at(server)) for _ in range(MANY)]
        wait_for(lambda: server.connections and len(server.connections[0].answers) == MANY)
        wait_for(lambda: world.on(stuck))
        small = client.ask(at(server, "/small"))
        assert client.answer(small).body == b"hello"
        client.until(lambda: all(len(client.answers[each].body) == 65_535 for each in streams))  # and no more


def test_requests_that_a_destination_does_not_read_stop_no_other(world: GrpcWorld) -> None:
    def respond(connection: Serving, stream: int) -> None:
        connection.takes = False
        if connection.answers[stream].head[":path"] == "/small":
            connection.h2.increment_flow_control_window(1 << 20)
            hello(connection, stream)

    def stuck() -> bool:
        client.take_what_came()
        push(client, streams)
        held = world.on(
            lambda: [
                each for one in world.sessions() for each in one.serving.streams.values() if each._held - {"early"}
            ]
        )
        return len(held) == MANY

    with origin(world, respond) as server, asking(world, server.port) as client:
        streams = [client.ask(at(server, method="POST"), b"", end=False) for _ in range(MANY)]
        wait_for(stuck)
        small = client.ask(at(server, "/small", method="POST"), b"x" * 1000)
        assert client.answer(small).body == b"hello"


def test_two_clients_at_once_wait_for_the_same_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module stands in `sys.modules` before it is there: whoever imports it meanwhile waits, and so would the loop."""
    go = threading.Event()
    monkeypatch.setattr(greeting, "import_module", lambda _name: go.wait(PATIENCE))
    monkeypatch.setattr(greeting, "_loaded", threading.Event(), raising=False)

    async def twice() -> None:
        first, second = greeting.load_http2(), greeting.load_http2()
        go.set()
        assert not isinstance(first, bool)
        assert not isinstance(second, bool)
        assert await first
        assert await second
        assert greeting.load_http2() is True

    asyncio.run(twice())


def test_a_refused_client_that_is_gone_already_just_ends() -> None:
    asyncio.run(_refused_and_gone())


async def _refused_and_gone() -> None:
    ended = asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        accepted, _ = listening.accept()
    accepted.setblocking(False)
    transport, _ = await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, accepted)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # says nothing more but RST
    client.close()
    deadlines = Deadlines(PATIENCE)
    Linger(transport, deadlines, ended.set)
    await asyncio.wait_for(ended.wait(), PATIENCE)
    assert not list(deadlines)
    deadlines.close()
