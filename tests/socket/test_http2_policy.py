"""HTTP/2 in the inspect lane under everything else that a policy can say: secrets, hosted search, grants, deadlines."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from harness.grpc_world import NAME, GrpcWorld, grpc_world
from harness.http2_client import Answer, Serving, asking, at, hello, origin
from harness.policies import group, pattern, policy, rule
from harness.searching import Memory, searchable
from harness.waiting import wait_for
from outward.config.settings import SecretEntry
from outward.core.grants import Grant
from outward.core.model import Grants, LaneChoice, OptIn, Verdict, WebSearch
from outward.core.paths import PathGlob
from outward.core.reasons import Reason
from outward.core.secrets import Injection
from outward.proxy.governance import SearchGovernor
from outward.proxy.leases import Leases
from outward.proxy.search_settings import FileConsent
from outward.search.registry import Registry

VALUE = "ghp_0123456789abcdef"
HELD = "outward-secret-github"
VENDOR = "api.openai.com"
TOKEN = Injection("authorization", "Bearer {github}")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcWorld]:
    with grpc_world(policy(), tmp_path_factory.mktemp("http2")) as found:
        yield found


@pytest.fixture
def world(running: GrpcWorld) -> GrpcWorld:
    running.settle()
    return running


def use(world: GrpcWorld, found: Any) -> None:
    world.on(lambda: setattr(world.world.judge, "policy", found))


@pytest.fixture
def keeping(world: GrpcWorld) -> Iterator[GrpcWorld]:
    """A policy that sets a secret below one path, and on nothing else."""
    secrets = world.world.judge.secrets
    entry = SecretEntry("github", "SECRET", None, (pattern(NAME),))
    world.on(lambda: secrets.use([entry], {"SECRET": VALUE}))
    set_there = replace(rule(NAME, paths=(PathGlob("/v1/**"),)), inject=TOKEN)
    found = group(set_there, rule(NAME, paths=(PathGlob("/public/**"),)), lane=LaneChoice.INSPECT)
    use(world, policy(found, secrets=frozenset({"github"})))
    yield world
    world.on(lambda: secrets.use([]))


def seen_by(connection: Serving) -> list[dict[str, str]]:
    return [each.head for each in connection.answers.values()]


def echoing(connection: Serving, stream: int) -> None:
    """Send the credentials back, in the head and behind the body."""
    given = connection.answers[stream].head.get("authorization", "none")
    connection.h2.send_headers(stream, [(":status", "200"), ("x-given", given)])
    as_name = given.lower().replace(" ", "-")
    connection.h2.send_headers(stream, [("grpc-message", given), (as_name, "x")], end_stream=True)
    connection.send()


def test_a_secret_is_set_where_its_rule_says_and_comes_back_masked(keeping: GrpcWorld) -> None:
    with origin(keeping, echoing) as server, asking(keeping, server.port) as client:
        inside = client.answer(client.ask(at(server, "/v1/x", ("authorization", f"Bearer {HELD}"))))
        outside = client.answer(client.ask(at(server, "/public/x")))
        (connection,) = server.connections  # one, for both
        given = [head.get("authorization") for head in seen_by(connection)]
        assert given == [f"Bearer {VALUE}", None]
        assert inside.head["x-given"] == f"Bearer {HELD}"
        assert inside.trailers == {"grpc-message": f"Bearer {HELD}"}  # a name that holds one goes nowhere
        assert outside.head["x-given"] == "none"


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/public/x", ("authorization", f"Bearer {HELD}")),
        ("/v1/x", ("x-other", HELD)),
        ("/v1/x", ("authorization", "Bearer mine")),
        (f"/v1/{HELD}", ("x-a", "b")),
        ("/v1/x", ("cookie", f"a={HELD}")),
    ],
)
def test_a_placeholder_anywhere_else_is_refused(path: str, more: tuple[str, str], keeping: GrpcWorld) -> None:
    with origin(keeping, echoing) as server, asking(keeping, server.port) as client:
        assert client.answer(client.ask(at(server, path, more))).status == "403"
        assert server.accepts == 0
    (event,) = keeping.world.events
    assert event.reason is Reason.SECRET_MISDIRECTED
    assert VALUE not in repr(event)


def test_a_secret_in_a_field_behind_the_request_goes_nowhere(keeping: GrpcWorld) -> None:
    def at_end(connection: Serving, stream: int) -> None:
        take = connection.take

        def taking(event: Any) -> None:
            take(event)
            if connection.answers[stream].ended:
                connection.take = take  # type: ignore[method-assign]
                hello(connection, stream)

        connection.take = taking  # type: ignore[method-assign]

    with origin(keeping, at_end) as server, asking(keeping, server.port) as client:
        stream = client.ask(at(server, "/public/x", method="POST"), b"abc", end=False)
        client.h2.send_headers(stream, [("authorization", HELD)], end_stream=True)
        client.send()
        assert client.answer(stream).status == "200"
        (seen,) = server.connections[0].answers.values()
        assert seen.trailers == {}


def vendors(world: GrpcWorld, settings: WebSearch) -> Memory:
    told = Memory()
    use(world, searchable(settings, VENDOR))
    consent = FileConsent(lambda: world.world.judge.policy)
    governor = SearchGovernor(world.world.judge, Registry(), consent, told, 1 << 20)
    world.on(lambda: setattr(world.world.engine.parts, "governor", governor))
    return told


ANSWER = {
    "object": "response",
    "status": "completed",
    "output": [{"type": "web_search_call", "id": "w", "action": {"type": "search", "query": "q", "sources": []}}],
}


def as_vendor(connection: Serving, stream: int) -> None:
    take = connection.take

    def taking(event: Any) -> None:
        take(event)
        if connection.answers[stream].ended:
            connection.take = take  # type: ignore[method-assign]
            body = json.dumps(ANSWER).encode()
            head = [(":status", "200"), ("content-type", "application/json"), ("content-length", str(len(body)))]
            connection.h2.send_headers(stream, head)
            connection.h2.send_data(stream, body, end_stream=True)
            connection.send()

    connection.take = taking  # type: ignore[method-assign]


def searched(world: GrpcWorld, kind: str = "application/json", path: str = "/v1/responses") -> tuple[Answer, Any]:
    """Ask the vendor for a search; return its answer, and the body that it got."""
    asked = {"model": "m", "input": "hi", "tools": [{"type": "web_search"}, {"type": "function", "name": "f"}]}
    body = json.dumps(asked).encode()
    head = [("content-type", kind), ("content-length", str(len(body)))]
    with origin(world, as_vendor, name=VENDOR) as server, asking(world, server.port, name=VENDOR) as client:
        stream = client.ask(at(server, path, *head, method="POST", name=VENDOR), body)
        answer = client.answer(stream)
        seen = [each for connection in server.connections for each in connection.answers.values()]
    assert not seen or seen[0].head["content-length"] == str(len(seen[0].body))
    return answer, json.loads(seen[0].body) if seen else None


def test_a_search_is_narrowed_and_told_as_in_http1(world: GrpcWorld) -> None:
    told = vendors(world, WebSearch(enabled=True, opt_in=OptIn.ASSUMED))
    answer, sent = searched(world)
    assert (answer.status, json.loads(answer.body)) == ("200", ANSWER)
    assert sent["tools"][0]["filters"]["allowed_domains"] == ["docs.example.com", "example.org"]
    wait_for(lambda: told.audits)


def test_a_search_that_is_off_is_taken_out_as_in_http1(world: GrpcWorld) -> None:
    vendors(world, WebSearch())
    answer, sent = searched(world)
    assert answer.status == "200"
    assert [tool["type"] for tool in sent["tools"]] == ["function"]


def test_a_vendors_grpc_is_denied_in_the_words_of_grpc(world: GrpcWorld) -> None:
    vendors(world, WebSearch(enabled=True))
    answer, sent = searched(world, "application/grpc", "/v1.Unknown/Search")
    assert sent is None
    assert (answer.status, answer.head["grpc-status"], answer.body) == ("200", "7", b"")
    (event,) = world.world.events
    assert str(event.reason) in answer.head["grpc-message"]
    assert answer.head["outward-decision"] == event.id


def test_a_grant_that_ends_takes_its_streams_with_it(world: GrpcWorld) -> None:
    use(world, policy(group(grants=Grants.ALLOWED, lane=LaneChoice.INSPECT)))
    leases = world.on(lambda: Leases(world.world.judge))
    with origin(world, lambda _connection, _stream: None) as server:
        now = round(time.time() * 1000)
        grant = Grant("g1", "dev", NAME, server.port, None, None, made=now, until=now + 60_000)
        world.on(lambda: leases.use([grant]))
        with asking(world, server.port) as client:
            client.ask(at(server))
            wait_for(lambda: server.connections and server.connections[0].answers)
            world.on(lambda: leases.use([]))
            client.rest()
            assert client.closed
        wait_for(lambda: server.connections[0].closed)
    (event,) = wait_for(lambda: list(world.world.events))
    assert event.verdict is Verdict.ALLOW
    world.on(leases.close)


def session_of(world: GrpcWorld) -> Any:
    """The one connection of a client, as seen in the proxy's thread."""
    (session,) = wait_for(
        lambda: world.on(lambda: [each for each in world.world.engine._sessions if hasattr(each.serving, "streams")])
    )
    return session


def waiting(world: GrpcWorld, kind: str) -> list[Any]:
    return world.on(lambda: list(getattr(world.world.engine.waits, kind)))


@pytest.fixture
def plain(world: GrpcWorld) -> GrpcWorld:
    use(world, policy(group(rule(NAME), lane=LaneChoice.INSPECT)))
    return world


def test_a_stream_that_does_not_move_is_ended(plain: GrpcWorld) -> None:
    with origin(plain, lambda _connection, _stream: None) as server, asking(plain, server.port) as client:
        stream = client.ask(at(server))
        seen = wait_for(lambda: server.connections and server.connections[0].answers.get(1))
        (moved,) = plain.on(lambda: list(session_of_streams(plain)))
        assert moved in waiting(plain, "idle")
        plain.on(moved.expired)
        assert client.answer(stream).status == "504"
        wait_for(lambda: seen.reset is not None)
        assert moved not in waiting(plain, "idle")
    (event,) = plain.world.events
    assert (event.reason, event.status) == (Reason.TIMEOUT, 504)


def session_of_streams(world: GrpcWorld) -> Iterator[Any]:
    return (stream for each in world.world.engine._sessions for stream in getattr(each.serving, "streams", {}).values())


def test_a_connection_that_does_not_move_is_ended_with_its_streams(plain: GrpcWorld) -> None:
    with origin(plain, lambda _connection, _stream: None) as server, asking(plain, server.port) as client:
        stream = client.ask(at(server))
        wait_for(lambda: server.connections and server.connections[0].answers)
        plain.on(session_of(plain).expired)
        assert client.answer(stream).status == "504"
        assert client.rest() == 0
        assert client.closed


def test_pings_are_no_movement(plain: GrpcWorld) -> None:
    with origin(plain) as server, asking(plain, server.port) as client:
        assert client.answer(client.ask(at(server))).status == "200"
        session = session_of(plain)
        plain.on(lambda: setattr(session, "touched", False))
        client.h2.ping(b"12345678")
        client.send()
        answered: list[object] = []
        client.take = lambda event: answered.extend([event] if type(event).__name__ == "PingAckReceived" else [])  # type: ignore[method-assign]
        client.until(lambda: answered)
        assert plain.on(lambda: session.touched) is False
        assert session in waiting(plain, "idle")


def test_a_head_that_does_not_end_in_time_is_refused(plain: GrpcWorld) -> None:
    with origin(plain) as server, asking(plain, server.port) as client:
        client.sock.sendall(b"\0\0\x01\x01\0\0\0\0\x01\x82")  # HEADERS without END_HEADERS
        (alarm,) = wait_for(lambda: waiting(plain, "heads"))
        plain.on(alarm.expired)
        assert client.rest() == 1
    (event,) = wait_for(lambda: list(plain.world.events))
    assert event.reason is Reason.TIMEOUT
